//! One connection, several handles and several fibers.

use alloc::sync::Arc;
use core::time::Duration;
use std::io::{Read, Write};

use fiber_io::{Shutdown, StaleReason, TcpListener, TcpStream};
use fiber_sched::{scope, sleep, spawn};

use crate::support::{everywhere, listener, pair};

fn assert_shareable<T: Send + Sync + Unpin + 'static>() {}

#[test]
fn streams_and_listeners_go_to_any_worker() {
    assert_shareable::<TcpStream>();
    assert_shareable::<TcpListener>();
}

#[test]
fn a_clone_writes_while_the_original_reads() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let peer = spawn(move || {
            let mut byte = [0; 2];
            assert_eq!(client.read(&mut byte).unwrap(), 1);
            assert_eq!(byte[0], 1);
            client.write_all(&[2]).unwrap();
        });
        let mut clone = server.try_clone().unwrap();
        let writer = spawn(move || clone.write_all(&[1]).unwrap());
        let mut byte = [0; 2];
        assert_eq!(server.read(&mut byte).unwrap(), 1);
        assert_eq!(byte[0], 2);
        writer.join().unwrap();
        peer.join().unwrap();
    });
}

#[test]
fn two_clones_that_read_share_the_bytes() {
    everywhere(|| {
        let (mut client, mut first) = pair();
        let mut second = first.try_clone().unwrap();
        let readers = scope(|scope| {
            let read = |stream: &mut TcpStream| {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                byte[0]
            };
            let one = scope.spawn(move || read(&mut first));
            let other = scope.spawn(move || read(&mut second));
            client.write_all(&[1]).unwrap();
            client.write_all(&[2]).unwrap();
            [one.join().unwrap(), other.join().unwrap()]
        });
        assert!(readers == [1, 2] || readers == [2, 1], "{readers:?}");
    });
}

#[test]
fn two_clones_that_write_both_get_through() {
    everywhere(|| {
        let (mut client, first) = pair();
        let second = first.try_clone().unwrap();
        let writers = [(first, 1), (second, 2)]
            .map(|(mut stream, byte)| spawn(move || stream.write_all(&[byte]).unwrap()));
        let mut bytes = [0; 2];
        client.read_exact(&mut bytes).unwrap();
        bytes.sort_unstable();
        assert_eq!(bytes, [1, 2]);
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(client.read(&mut bytes).unwrap(), 0);
    });
}

#[test]
fn a_reader_and_a_writer_share_one_handle() {
    everywhere(|| {
        let (client, server) = pair();
        let (client, server) = (Arc::new(client), server);
        let echo = spawn(move || {
            let mut bytes = [0; 64];
            loop {
                match (&server).read(&mut bytes).unwrap() {
                    0 => return,
                    read => (&server).write_all(&bytes[..read]).unwrap(),
                }
            }
        });
        let writing = Arc::clone(&client);
        let writer = spawn(move || {
            for number in 0..50u8 {
                (&*writing).write_all(&[number; 100]).unwrap();
            }
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        (&*client).read_to_end(&mut all).unwrap();
        assert!(
            all.iter()
                .copied()
                .eq((0..50).flat_map(|number| [number; 100]))
        );
        writer.join().unwrap();
        echo.join().unwrap();
    });
}

#[test]
fn shutting_down_the_writing_half_leaves_the_reading_half() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        assert!(client.write(&[1]).is_err());
        server.write_all(&[9]).unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [9]);
    });
}

#[test]
fn shutting_down_wakes_a_reader_of_a_clone() {
    everywhere(|| {
        let (_client, server) = pair();
        let mut clone = server.try_clone().unwrap();
        let reader = spawn(move || clone.read(&mut [0]).unwrap());
        sleep(Duration::from_millis(1));
        server.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
    });
}

#[test]
fn dropping_a_handle_does_not_disturb_a_clone_that_reads() {
    everywhere(|| {
        let (mut client, server) = pair();
        let mut clone = server.try_clone().unwrap();
        let reader = spawn(move || {
            let mut byte = [0];
            clone.read_exact(&mut byte).unwrap();
            byte
        });
        sleep(Duration::from_millis(1));
        drop(server);
        client.write_all(&[5]).unwrap();
        assert_eq!(reader.join().unwrap(), [5]);
    });
}

#[test]
fn a_closed_id_is_stale_for_every_call() {
    everywhere(|| {
        let (client, server) = pair();
        drop(TcpStream::from_id(server.id()).unwrap());
        let kinds = [
            (&server).read(&mut [0]).unwrap_err().to_string(),
            (&server).write(&[0]).unwrap_err().to_string(),
            server.peer_addr().unwrap_err().to_string(),
            server.nodelay().unwrap_err().to_string(),
            server.try_clone().unwrap_err().to_string(),
            server.shutdown(Shutdown::Both).unwrap_err().to_string(),
        ];
        for kind in kinds {
            assert!(kind.contains("stale"), "{kind}");
        }
        drop(client);
    });
}

#[test]
fn an_id_of_another_kind_is_refused() {
    everywhere(|| {
        let listener = listener();
        let refused = TcpStream::from_id(listener.id()).unwrap_err();
        assert_eq!(refused.reason, StaleReason::WrongNamespace);
        listener.local_addr().unwrap();
    });
}

#[test]
fn giving_up_charge_leaves_the_connection_open() {
    everywhere(|| {
        let (mut client, server) = pair();
        let id = server.into_id();
        client.write_all(&[1]).unwrap();
        let mut server = TcpStream::from_id(id).unwrap();
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [1]);
    });
}

//! Limits of time, options, and fibers that are cancelled while they read.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::io::{ErrorKind, Read, Write};

use fiber_core::Context;
use fiber_io::{IoErrorKind, TcpStream};
use fiber_sched::{ExitReason, mask, sleep, spawn, spawn_local, timeout, unmask};

use crate::support::{everywhere, listener, pair, simulated};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn limits_are_read_as_they_were_set() {
    everywhere(|| {
        let (stream, _server) = pair();
        assert_eq!(stream.read_timeout().unwrap(), None);
        assert_eq!(stream.write_timeout().unwrap(), None);
        stream.set_read_timeout(Some(SHORT)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        assert_eq!(stream.read_timeout().unwrap(), Some(SHORT));
        assert_eq!(stream.write_timeout().unwrap(), Some(LONG));
        let clone = stream.try_clone().unwrap();
        stream.set_read_timeout(None).unwrap();
        assert_eq!(stream.read_timeout().unwrap(), None);
        assert_eq!(clone.read_timeout().unwrap(), Some(SHORT));
        assert_eq!(clone.write_timeout().unwrap(), Some(LONG));
    });
}

#[test]
fn a_limit_of_zero_is_refused() {
    everywhere(|| {
        let (stream, _server) = pair();
        let errors = [
            stream.set_read_timeout(Some(Duration::ZERO)).unwrap_err(),
            stream.set_write_timeout(Some(Duration::ZERO)).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), IoErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_read_gives_up_at_its_limit_and_the_stream_still_works() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        server.set_read_timeout(Some(SHORT)).unwrap();
        let mut bytes = [0; 10];
        assert_eq!(
            server.read(&mut bytes).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        assert_eq!(server.readable().unwrap_err().kind(), IoErrorKind::TimedOut);
        server.set_read_timeout(Some(LONG)).unwrap();
        client.write_all(b"hello world").unwrap();
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello worl");
        server.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(server.read(&mut bytes).unwrap(), 1);
        assert_eq!(
            server.read(&mut bytes).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
    });
}

#[test]
fn bytes_that_come_before_the_limit_are_read() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        server.set_read_timeout(Some(LONG)).unwrap();
        let writer = spawn(move || {
            sleep(Duration::from_millis(1));
            client.write_all(b"x").unwrap();
            client
        });
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop(writer.join().unwrap());
    });
}

#[test]
fn the_limit_of_an_exact_read_counts_for_all_of_it() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"abc").unwrap();
        server.set_read_timeout(Some(SHORT)).unwrap();
        let error = server.read_exact(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_write_gives_up_at_its_limit_when_the_peer_does_not_read() {
    everywhere(|| {
        let (mut client, _server) = pair();
        client.set_write_timeout(Some(SHORT)).unwrap();
        let error = client.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn in_virtual_time_a_read_waits_for_its_limit_and_no_longer() {
    simulated(|| {
        let (_client, mut server) = pair();
        let now = || Context::with(|context| context.unwrap().now());
        server.set_read_timeout(Some(LONG)).unwrap();
        let before = now();
        assert_eq!(
            server.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        let waited = now().saturating_since(before);
        assert!(waited >= LONG && waited < LONG + SHORT, "{waited:?}");
    });
}

#[test]
fn small_writes_can_be_sent_at_once() {
    everywhere(|| {
        let (stream, _server) = pair();
        assert!(!stream.nodelay().unwrap());
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
        stream.set_nodelay(false).unwrap();
        assert!(!stream.nodelay().unwrap());
    });
}

#[test]
fn the_hop_limit_is_read_as_it_was_set() {
    everywhere(|| {
        let listener = listener();
        listener.set_ttl(100).unwrap();
        assert_eq!(listener.ttl().unwrap(), 100);
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_ttl(101).unwrap();
        assert_eq!(stream.ttl().unwrap(), 101);
    });
}

#[test]
fn a_healthy_socket_has_no_error_pending() {
    everywhere(|| {
        let listener = listener();
        assert_eq!(listener.take_error().unwrap(), None);
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(stream.take_error().unwrap(), None);
    });
}

#[test]
fn a_cancelled_reader_unwinds_and_the_stream_still_works() {
    everywhere(|| {
        let (mut client, server) = pair();
        let mut clone = server.try_clone().unwrap();
        let reader = spawn(move || clone.read(&mut [0]).map(drop));
        sleep(Duration::from_millis(1));
        reader.cancel();
        assert!(matches!(reader.join(), Err(ExitReason::Cancelled(_))));
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        (&server).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    });
}

#[test]
fn memory_that_a_cancelled_read_was_lent_is_left_alone_once_it_is_back() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let is_back = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&is_back);
        let reader = spawn(move || {
            mask(|| {
                let mut lent = [7; 64];
                let left = unmask(|| server.read(&mut lent));
                assert!(left.is_err(), "nothing was sent");
                lent.fill(8);
                tell.store(true, Ordering::Release);
                // What comes now finds nobody who reads.
                sleep(Duration::from_millis(2));
                assert_eq!(lent, [8; 64]);
                server.read_exact(&mut lent).unwrap();
                lent
            })
        });
        sleep(Duration::from_millis(1));
        reader.cancel();
        while !is_back.load(Ordering::Acquire) && !reader.is_finished() {
            sleep(Duration::from_millis(1));
        }
        client.write_all(&[9; 64]).unwrap();
        match reader.join() {
            Ok(read) => assert_eq!(read, [9; 64]),
            // It was cancelled before it had begun.
            Err(ended) => assert!(matches!(ended, ExitReason::Cancelled(_)), "{ended}"),
        }
    });
}

#[test]
fn a_cancel_that_nobody_here_asked_for_disturbs_nobody() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        let id = server.id();
        let reader = spawn_local(move || {
            let mut byte = [0];
            server.read_exact(&mut byte).map(|()| byte)
        });
        sleep(Duration::from_millis(1));
        // What a worker does that hears late of the closing of a descriptor with the same number.
        Context::with(|context| {
            let context = context.unwrap();
            let raw = context.env().id_space().enter(id, None).unwrap().raw();
            context.cancel_requests_on(raw);
        });
        sleep(Duration::from_millis(1));
        client.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), *b"x");
    });
}

#[test]
fn a_timeout_around_a_read_unwinds_it_and_the_stream_still_works() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        assert!(timeout(SHORT, || server.read(&mut [0])).is_err());
        client.write_all(b"x").unwrap();
        let read = timeout(LONG, || {
            let mut byte = [0];
            server.read_exact(&mut byte).map(|()| byte)
        });
        assert_eq!(read.unwrap().unwrap(), *b"x");
    });
}

#[test]
fn a_cancelled_acceptor_loses_no_connection() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let clone = listener.try_clone().unwrap();
        let acceptor = spawn(move || clone.accept().map(|(stream, _)| stream));
        let client = spawn(move || TcpStream::connect(address).unwrap());
        acceptor.cancel();
        let mut client = client.join().unwrap();
        let mut server = match acceptor.join() {
            Ok(stream) => stream.unwrap(),
            Err(_) => listener.accept().unwrap().0,
        };
        client.write_all(b"x").unwrap();
        assert_eq!(server.read(&mut [0; 2]).unwrap(), 1);
    });
}

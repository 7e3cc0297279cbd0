//! The traits for code without std, and the kinds of error that std has no name for.

use core::time::Duration;

use fiber_io::{IoErrorKind, Read, TcpListener, TcpStream, Write};
use fiber_sched::{sleep, spawn};

use crate::support::{everywhere, listener, pair};

#[test]
fn the_traits_without_std_do_the_same() {
    everywhere(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"abc").unwrap();
        let mut three = [0; 3];
        server.read_exact(&mut three).unwrap();
        assert_eq!(&three, b"abc");
        assert_eq!((&server).write(b"d").unwrap(), 1);
        assert_eq!((&client).read(&mut three).unwrap(), 1);
        assert_eq!(client.write_vectored(&[&[], b"e"]).unwrap(), 1);
        assert_eq!(server.read_vectored(&mut [&mut [], &mut three]).unwrap(), 1);
        assert_eq!(three[0], b'e');
        drop(client);
        let error = server.read_exact(&mut three).unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::UnexpectedEof);
    });
}

/// Whether the closing or the waiting was first decides between these two.
fn assert_closed(kind: IoErrorKind) {
    assert!(
        matches!(kind, IoErrorKind::Closed | IoErrorKind::Stale),
        "{kind:?}"
    );
}

#[test]
fn closing_a_stream_wakes_whoever_reads_it() {
    everywhere(|| {
        let (_client, server) = pair();
        let id = server.id();
        let reader = spawn(move || (&server).read(&mut [0]).unwrap_err().kind());
        sleep(Duration::from_millis(1));
        drop(TcpStream::from_id(id).unwrap());
        assert_closed(reader.join().unwrap());
    });
}

#[test]
fn closing_a_stream_wakes_whoever_is_stuck_in_writing_to_it() {
    everywhere(|| {
        let (client, _server) = pair();
        let id = client.id();
        let writer = spawn(move || (&client).write_all(&vec![0; 64 << 20]).unwrap_err().kind());
        sleep(Duration::from_millis(1));
        drop(TcpStream::from_id(id).unwrap());
        assert_closed(writer.join().unwrap());
    });
}

#[test]
fn closing_a_listener_wakes_whoever_accepts_from_it() {
    everywhere(|| {
        let listener = listener();
        let id = listener.id();
        let acceptor = spawn(move || listener.accept().unwrap_err().kind());
        sleep(Duration::from_millis(1));
        drop(TcpListener::from_id(id).unwrap());
        assert_closed(acceptor.join().unwrap());
    });
}

//! What is ready, what is not, and where that cannot be known.

use core::time::Duration;
use std::{
    io::{Read, Write},
    thread,
};

use fiber_core::{
    choose,
    operation::{Operation, timeout},
};
use fiber_io::{IoErrorKind, TcpListener, TcpStream};
use fiber_sched::spawn;

use crate::{
    LONG, MOMENT, settle,
    support::{everywhere, listener, on_linux, pair, run},
};

fn is_readable(stream: &TcpStream, within: Duration) -> bool {
    let ready = stream.readable_operation().perform_timeout(within);
    ready.is_ok_and(|ready| ready.is_ok())
}

fn is_writable(stream: &TcpStream, within: Duration) -> bool {
    let ready = stream.writable_operation().perform_timeout(within);
    ready.is_ok_and(|ready| ready.is_ok())
}

#[test]
fn a_listener_is_acceptable_once_somebody_has_connected_and_accepts_them_once() {
    everywhere(|| {
        let listener = listener();
        let waits = |listener: &TcpListener| {
            listener
                .acceptable_operation()
                .perform_timeout(MOMENT)
                .is_err()
                && listener.accept_operation().perform_timeout(MOMENT).is_err()
                && listener.try_accept().unwrap().is_none()
        };
        assert!(waits(&listener));
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let acceptable = listener.acceptable_operation().perform_timeout(LONG);
        acceptable.unwrap().unwrap();
        let (_server, peer) = listener.accept_operation().perform().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(waits(&listener), "one connection was accepted twice");
        settle();
    });
}

#[test]
fn an_accept_that_waits_gives_the_connection_when_it_comes() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let client = spawn(move || TcpStream::connect(address).unwrap());
        let (server, peer) = listener.accept_operation().perform().unwrap();
        let client = client.join().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        (&client).write_all(b"x").unwrap();
        (&server).read_exact(&mut [0]).unwrap();
        assert!(listener.try_accept().unwrap().is_none());
    });
}

#[test]
fn a_new_connection_can_be_written_to_until_it_is_full_and_then_read() {
    everywhere(|| {
        let (client, server) = pair();
        assert!(is_writable(&client, LONG));
        assert!(!is_readable(&client, MOMENT) && !is_readable(&server, MOMENT));
        let mut sent = 0;
        let bytes = [7; 1 << 16];
        // Also what is on its way takes room, until it has arrived.
        while is_writable(&client, MOMENT) {
            while let Some(count) = client.try_write(&bytes).unwrap() {
                sent += count;
            }
        }
        assert!(is_readable(&server, LONG) && is_writable(&server, LONG));
        assert!(!is_readable(&client, MOMENT));
        let reader = spawn(move || {
            let mut into = [0; 1 << 16];
            while sent > 0 {
                server.readable_operation().perform().unwrap();
                if let Some(count) = server.try_read(&mut into).unwrap() {
                    assert!(count > 0, "the stream has not ended");
                    sent -= count;
                }
            }
            server
        });
        client.writable_operation().perform().unwrap();
        let server = reader.join().unwrap();
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), None);
        drop(client);
        server.readable_operation().perform().unwrap();
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), Some(0), "the end");
        settle();
    });
}

#[test]
fn a_try_waits_for_nothing() {
    everywhere(|| {
        let (client, server) = pair();
        let tried = server.readable_operation().try_perform();
        let operation = tried.expect_err("nothing has been sent");
        assert_eq!(crate::in_flight(), 0, "a try asks for nothing");
        (&client).write_all(b"x").unwrap();
        operation.perform().unwrap();
        let read = choose! {
            ready = server.readable_operation() => ready.is_ok(),
            else => false,
        };
        assert!(read, "it is still there");
    });
}

#[test]
fn what_was_closed_before_is_stale_and_a_plain_thread_is_told_what_it_lacks() {
    on_linux(|| {
        let (client, server) = pair();
        let (closed, listener) = (client.readable_operation(), listener());
        let accept = listener.accept_operation();
        drop((client, listener));
        assert_eq!(closed.perform().unwrap_err().kind(), IoErrorKind::Stale);
        assert_eq!(accept.perform().unwrap_err().kind(), IoErrorKind::Stale);
        let (here, too) = (server.readable_operation(), server.writable_operation());
        let told = thread::spawn(move || {
            choose! {
                told = here => told,
                () = timeout(LONG) => Ok(()),
            }
        });
        let told = told.join().unwrap().unwrap_err();
        assert_eq!(told.kind(), IoErrorKind::NoRuntime);
        let foreign = thread::spawn(move || {
            let linux = host_linux::Linux::new(host_linux::Config::default()).unwrap();
            run(linux, 1, || {
                let told = too.perform().unwrap_err();
                assert_eq!(told.kind(), IoErrorKind::ForeignRuntime);
            });
        });
        foreign.join().unwrap();
    });
}

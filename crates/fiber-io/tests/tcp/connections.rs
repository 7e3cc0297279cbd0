//! How connections come to be: binding, connecting, accepting, names of both ends.

use alloc::rc::Rc;
use core::{cell::Cell, net::SocketAddr, time::Duration};
use std::io::{Read, Write};

use fiber_io::{IoErrorKind, TcpListener, TcpStream};
use fiber_sched::{scope, spawn};
use host_sim::{Action, Network, Sim};

use crate::support::{each_family, everywhere, listener, pair, pair_at, run};

/// An address where somebody has listened, and nobody does any more.
fn deserted() -> SocketAddr {
    let address = listener().local_addr().unwrap();
    // The closing is done by the end of the worker's turn, and these need at least one.
    drop(pair());
    address
}

#[test]
fn an_address_of_another_host_cannot_be_bound() {
    everywhere(|| {
        let error = TcpListener::bind("192.0.2.1:9999").unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::AddrNotAvailable);
    });
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    everywhere(|| {
        let error = TcpStream::connect(deserted()).unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::ConnectionRefused);
    });
}

#[test]
fn bytes_pass_in_both_directions_over_both_families() {
    everywhere(|| {
        each_family(|address| {
            let (mut client, mut server) = pair_at(address);
            let mut byte = [0];
            client.write_all(&[144]).unwrap();
            server.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [144]);
            server.write_all(&[99]).unwrap();
            client.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [99]);
        });
    });
}

#[test]
fn a_connection_knows_the_addresses_of_both_ends() {
    everywhere(|| {
        each_family(|address| {
            let listener = TcpListener::bind(address).unwrap();
            let at = listener.local_addr().unwrap();
            assert_eq!(at.ip(), address.ip());
            assert_ne!(at.port(), 0);
            let client = TcpStream::connect(at).unwrap();
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(client.peer_addr().unwrap(), at);
            assert_eq!(server.local_addr().unwrap(), at);
            assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
            assert_eq!(peer, client.local_addr().unwrap());
        });
    });
}

#[test]
fn a_server_serves_one_connection_after_the_other() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let clients = spawn(move || {
            for number in 0..10u8 {
                TcpStream::connect(address)
                    .unwrap()
                    .write_all(&[number])
                    .unwrap();
            }
        });
        for (number, stream) in (0..10u8).zip(listener.incoming()) {
            let mut byte = [0];
            stream.unwrap().read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number]);
        }
        clients.join().unwrap();
    });
}

#[test]
fn connections_that_are_open_at_the_same_time_do_not_mix() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        scope(|scope| {
            for number in 0..10u8 {
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&[number; 3]).unwrap();
                    let mut echo = [0; 3];
                    stream.read_exact(&mut echo).unwrap();
                    assert_eq!(echo, [number; 3]);
                });
            }
            for stream in listener.incoming().take(10) {
                let mut stream = stream.unwrap();
                scope.spawn(move || {
                    let mut bytes = [0; 3];
                    stream.read_exact(&mut bytes).unwrap();
                    stream.write_all(&bytes).unwrap();
                });
            }
        });
    });
}

#[test]
fn an_address_can_be_bound_once_at_a_time() {
    everywhere(|| {
        each_family(|address| {
            let first = TcpListener::bind(address).unwrap();
            let at = first.local_addr().unwrap();
            let error = TcpListener::bind(at).unwrap_err();
            assert_eq!(error.kind(), IoErrorKind::AddrInUse);
            drop(first);
            let again = TcpListener::bind(at).unwrap();
            assert_eq!(again.local_addr().unwrap(), at);
        });
    });
}

#[test]
fn the_first_address_that_can_be_bound_is() {
    everywhere(|| {
        let taken = listener();
        let addresses = [taken.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap()];
        let second = TcpListener::bind(&addresses[..]).unwrap();
        assert_ne!(second.local_addr().unwrap(), addresses[0]);
    });
}

#[test]
fn the_first_address_that_answers_is_connected_to() {
    everywhere(|| {
        let listener = listener();
        let here = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[deserted(), here][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), here);
    });
}

#[test]
fn two_fibers_accept_from_clones_of_one_listener() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let other = listener.try_clone().unwrap();
        assert_eq!(other.local_addr().unwrap(), address);
        let acceptors = [listener, other].map(|listener| {
            spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"x").unwrap();
            })
        });
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).unwrap();
            assert_eq!(stream.read(&mut [0; 2]).unwrap(), 1);
        }
        for acceptor in acceptors {
            acceptor.join().unwrap();
        }
    });
}

#[test]
fn an_accept_gives_up_at_its_limit_and_the_listener_still_works() {
    everywhere(|| {
        let listener = listener();
        listener
            .set_accept_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), IoErrorKind::TimedOut);
        let limit = listener.accept_timeout().unwrap();
        assert_eq!(limit, Some(Duration::from_millis(5)));
        listener.set_accept_timeout(None).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    });
}

#[test]
fn a_limit_of_zero_for_connecting_is_refused() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::InvalidInput);
        TcpStream::connect_timeout(&address, Duration::from_secs(60)).unwrap();
    });
}

#[test]
fn connecting_across_a_partition_gives_up_at_its_limit() {
    for seed in 0..8 {
        let mut sim = Sim::new(seed).network(Network::lan());
        let far = sim.node("far", |env| {
            run(env, 1, || {
                let listener = TcpListener::bind("0.0.0.0:80").unwrap();
                listener
                    .set_accept_timeout(Some(Duration::from_secs(60)))
                    .unwrap();
                let _ = listener.accept();
            });
        });
        let waited = Rc::new(Cell::new(false));
        let seen = Rc::clone(&waited);
        let near = sim.node("near", move |env| {
            let clock = env.clone();
            run(env, 1, move || {
                let before = clock.now();
                let limit = Duration::from_millis(500);
                let error =
                    TcpStream::connect_timeout(&(far.address(), 80).into(), limit).unwrap_err();
                assert_eq!(error.kind(), IoErrorKind::TimedOut);
                let waited = clock.now().saturating_since(before);
                assert!(waited >= limit && waited < limit * 2, "{waited:?}");
            });
            seen.set(true);
        });
        sim.at(Duration::ZERO, Action::Partition(far, near));
        sim.until(near).run().expect_finished();
        assert!(waited.get());
    }
}

#[test]
fn without_a_runtime_nothing_is_opened() {
    let error = TcpListener::bind("127.0.0.1:0").unwrap_err();
    assert_eq!(error.kind(), IoErrorKind::NoRuntime);
    let error = TcpStream::connect("127.0.0.1:9").unwrap_err();
    assert_eq!(error.kind(), IoErrorKind::NoRuntime);
    assert!(error.to_string().contains("Runtime::run"), "{error}");
}

//! Streams that outlive the fiber, the thread or the runtime that made them.

use alloc::sync::Arc;
use std::{
    io::{Read, Write},
    sync::{Mutex, mpsc},
    thread,
};

use fiber_core::env::SharedEnv;
use fiber_io::{IoErrorKind, TcpListener, TcpStream};
use fiber_sched::{Runtime, spawn};
use host_linux::{Config, Io, Linux};
use host_sim::Sim;

use crate::support::{everywhere, listener, on_linux, pair, run};

fn left_over(env: SharedEnv) -> (TcpListener, TcpStream, TcpStream) {
    let main = || {
        let (client, server) = pair();
        (listener(), client, server)
    };
    Runtime::builder(env).workers(1).run(main).unwrap()
}

fn assert_dead((listener, client, server): (TcpListener, TcpStream, TcpStream)) {
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        IoErrorKind::NoRuntime
    );
    assert_eq!(
        client.peer_addr().unwrap_err().kind(),
        IoErrorKind::NoRuntime
    );
    drop((listener, client, server));
}

#[test]
fn what_is_left_when_a_runtime_ends_can_be_dropped() {
    for driver in [Io::Ring, Io::Poll] {
        if let Ok(linux) = Linux::new(Config::default().io(driver)) {
            assert_dead(left_over(linux));
        }
    }
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let mut sim = Sim::new(3);
    let node = sim.node("node", move |env| {
        let left = left_over(env);
        *keep.lock().unwrap() = Some(left);
    });
    sim.until(node).run().expect_finished();
    assert_dead(kept.lock().unwrap().take().unwrap());
}

#[test]
fn what_is_left_is_stale_in_the_next_runtime() {
    let linux = Linux::new(Config::default().io(Io::Poll)).unwrap();
    let (listener, client, server) = left_over(linux.clone());
    Runtime::builder(linux)
        .workers(1)
        .run(move || {
            let other = pair();
            assert_eq!(listener.accept().unwrap_err().kind(), IoErrorKind::Stale);
            assert_eq!(client.peer_addr().unwrap_err().kind(), IoErrorKind::Stale);
            drop((listener, client, server));
            other.0.peer_addr().unwrap();
            other.1.peer_addr().unwrap();
        })
        .unwrap();
}

#[test]
fn a_stream_can_be_dropped_on_a_plain_thread() {
    on_linux(|| {
        let (client, mut server) = pair();
        let thread = thread::spawn(move || drop(client));
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        thread.join().unwrap();
    });
}

#[test]
fn a_stream_can_be_dropped_on_another_fiber() {
    everywhere(|| {
        let (client, mut server) = pair();
        let dropper = spawn(move || drop(client));
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        dropper.join().unwrap();
    });
}

#[test]
fn fibers_that_are_blocked_when_main_ends_are_unwound() {
    everywhere(|| {
        let (client, server) = pair();
        let listener = listener();
        drop(spawn(move || (&client).read(&mut [0]).map(drop)));
        drop(spawn(move || {
            (&server).read_to_end(&mut Vec::new()).map(drop)
        }));
        drop(spawn(move || listener.accept().map(drop)));
    });
}

#[test]
fn what_was_dropped_makes_room_for_what_is_opened_next() {
    for seed in 0..8 {
        let mut sim = Sim::new(seed).descriptors_max(3);
        let node = sim.node("node", |env| {
            run(env, 1, || {
                let listener = listener();
                let address = listener.local_addr().unwrap();
                for _ in 0..20 {
                    let client = TcpStream::connect(address).unwrap();
                    let (server, _) = listener.accept().unwrap();
                    let error = TcpStream::connect(address).unwrap_err();
                    assert_eq!(error.kind(), IoErrorKind::TooManyDescriptors);
                    drop((client, server));
                }
            });
        });
        sim.until(node).run().expect_finished();
    }
}

#[test]
fn two_thousand_connections_in_a_row_leave_nothing_behind() {
    let linux = Linux::new(Config::default().io(Io::Poll)).unwrap();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    run(linux, 1, move || {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let before = open();
        for _ in 0..2_000 {
            drop(TcpStream::connect(address).unwrap());
            drop(listener.accept().unwrap());
        }
        assert!(
            open() <= before + 4,
            "{before} descriptors became {}",
            open()
        );
    });
}

#[test]
fn a_stream_of_another_runtime_is_refused_and_can_be_cloned() {
    for driver in [Io::Ring, Io::Poll] {
        let Ok(linux) = Linux::new(Config::default().io(driver)) else {
            continue;
        };
        let other = Arc::clone(&linux);
        Runtime::builder(linux)
            .workers(1)
            .run(move || {
                let (mut client, server) = pair();
                let there = Runtime::builder(other).workers(1);
                let reader = thread::spawn(move || {
                    let read = there.run(move || {
                        let refused = (&server).read(&mut [0]).unwrap_err();
                        let mut here = server.try_clone().unwrap();
                        let mut byte = [0];
                        (refused.to_string(), here.read(&mut byte).unwrap(), byte)
                    });
                    read.unwrap()
                });
                client.write_all(b"x").unwrap();
                let (refused, read, byte) = reader.join().unwrap();
                assert!(refused.contains("another runtime"), "{refused}");
                assert_eq!((read, byte), (1, *b"x"));
            })
            .unwrap();
    }
}

#[test]
fn a_closed_listener_refuses_at_once() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), IoErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_stream_of_another_runtime_is_refused_and_its_clone_is_not() {
    let (give, taken) = mpsc::channel::<TcpStream>();
    let (done, ended) = mpsc::channel::<()>();
    let owner = thread::spawn(move || {
        let linux = Linux::new(Config::default().io(Io::Poll)).unwrap();
        let main = move || {
            let (client, mut server) = pair();
            server.write_all(b"x").unwrap();
            give.send(client).unwrap();
            ended.recv().unwrap();
        };
        Runtime::builder(linux).workers(1).run(main).unwrap();
    });
    let mut stream = taken.recv().unwrap();
    let linux = Linux::new(Config::default().io(Io::Poll)).unwrap();
    let main = move || {
        let error = stream.read(&mut [0]).unwrap_err();
        let cause = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<fiber_io::Error>());
        assert_eq!(cause.unwrap().kind(), IoErrorKind::ForeignRuntime);
        let mut byte = [0];
        assert_eq!(stream.try_clone().unwrap().read(&mut byte).unwrap(), 1);
        assert_eq!(&byte, b"x");
    };
    Runtime::builder(linux).workers(1).run(main).unwrap();
    done.send(()).unwrap();
    owner.join().unwrap();
}

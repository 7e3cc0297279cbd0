//! Connections whose fibers have not started: idle, they hold no stack.

use alloc::vec::Vec;
use std::io::{Read, Write};

use fiber_io::{IoErrorKind, TcpStream, signal};
use fiber_sched::{ExitReason, JoinHandle, Runtime, sleep, spawn_when};

use crate::{
    MOMENT, settle,
    support::{everywhere, listener, on_linux, pair, run, simulated},
};

fn stacks_in_use() -> usize {
    Runtime::current().unwrap().stats().stacks.in_use()
}

/// So many connections: the ends that connected, and fibers that wait for the first byte at the
/// other ends.
fn idle(count: usize) -> (Vec<TcpStream>, Vec<JoinHandle<u8>>) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let connections = (0..count).map(|_| {
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let waits = spawn_when(server.readable_operation(), move |ready| {
            ready.unwrap();
            let mut byte = [0];
            assert_eq!(server.try_read(&mut byte).unwrap(), Some(1));
            (&server).write_all(&byte).unwrap();
            byte[0]
        });
        (client, waits)
    });
    connections.unzip()
}

fn many_idle_connections(count: usize) {
    let before = stacks_in_use();
    let (mut clients, waiting) = idle(count);
    sleep(MOMENT);
    assert!(stacks_in_use() <= before, "they hold stacks");
    assert!(waiting.iter().all(|fiber| !fiber.is_finished()));
    let (talkers, silent) = waiting.into_iter().partition::<Vec<_>, _>({
        let mut index = 0;
        move |_| {
            index += 1;
            index % 2 == 1
        }
    });
    for (client, fiber) in clients.iter_mut().step_by(2).zip(talkers) {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(fiber.join().unwrap(), b'x');
    }
    for fiber in &silent {
        fiber.cancel();
    }
    for fiber in silent {
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
    }
    settle();
}

#[test]
fn a_thousand_idle_connections_hold_no_stack() {
    on_linux(|| many_idle_connections(200));
    for seed in 0..2 {
        let mut sim = host_sim::Sim::new(seed).descriptors_max(4096);
        let node = sim.node("node", |env| run(env, 2, || many_idle_connections(1000)));
        sim.until(node).run().expect_finished();
    }
}

#[test]
fn a_connection_is_accepted_before_its_fiber_starts_and_closed_if_that_never_does() {
    everywhere(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let waits = spawn_when(listener.accept_operation(), |accepted| {
            let (mut stream, _) = accepted.unwrap();
            stream.write_all(b"hello").unwrap();
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        waits.join().unwrap();
        // Either it is accepted and served or closed, or nobody has taken it.
        let waits = spawn_when(listener.accept_operation(), drop);
        sleep(MOMENT);
        let mut client = TcpStream::connect(address).unwrap();
        waits.cancel();
        let taken = waits.join();
        drop(listener);
        let end = client.read(&mut [0; 5]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?} after {taken:?}");
        settle();
    });
}

#[test]
fn a_signal_starts_a_fiber() {
    simulated(|| {
        let signals = signal::Signals::new(&[signal::Signal::Terminate]).unwrap();
        let told = spawn_when(signals.wait_operation(), Result::unwrap);
        sleep(MOMENT);
        assert!(!told.is_finished());
        signal::raise(signal::Signal::Terminate).unwrap();
        assert_eq!(told.join().unwrap(), signal::Signal::Terminate);
    });
}

#[test]
fn a_close_starts_it_with_the_error() {
    everywhere(|| {
        let (_client, server) = pair();
        let told = spawn_when(server.readable_operation(), |ready| {
            ready.unwrap_err().kind()
        });
        sleep(MOMENT);
        drop(server);
        // Whether the closing or the waiting was first decides between these two.
        let told = told.join().unwrap();
        assert!(
            matches!(told, IoErrorKind::Closed | IoErrorKind::Stale),
            "{told:?}"
        );
        settle();
    });
}

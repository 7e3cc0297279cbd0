//! Signals in every world: who is told, what ends a wait, and what an unwanted one does.
//!
//! Each test that runs on Linux has a signal of its own, so that they can share a process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

extern crate alloc;

#[path = "tcp/support.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod support;

use alloc::{collections::BTreeSet, rc::Rc, sync::Arc};
use core::{
    cell::Cell,
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use std::io::{ErrorKind, Read, Write};

use fiber_io::{
    IoErrorKind, TcpListener, TcpStream,
    signal::{Signal, Signals, raise},
};
use fiber_sched::{ExitReason, sleep, spawn, timeout};
use host_sim::{Action, Outcome, Sim};

use support::{everywhere, run, simulated};

const LONG: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(5);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_signal_ends_a_wait_that_began_before_it() {
    everywhere(|| {
        let signals = Signals::new(&[Signal::User1]).unwrap();
        let waiter = spawn(move || timeout(LONG, || signals.wait()).unwrap());
        sleep(MOMENT);
        raise(Signal::User1).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), Signal::User1);
    });
}

#[test]
fn a_wait_gives_up_when_its_time_is_over_and_the_handle_still_works() {
    everywhere(|| {
        let signals = Signals::new(&[Signal::User2]).unwrap();
        timeout(MOMENT, || signals.wait()).unwrap_err();
        assert_eq!(signals.try_wait().unwrap(), None);
        raise(Signal::User2).unwrap();
        assert_eq!(
            timeout(LONG, || signals.wait()).unwrap().unwrap(),
            Signal::User2
        );
    });
}

#[test]
fn a_fiber_that_waits_can_be_cancelled() {
    everywhere(|| {
        let signals = Arc::new(Signals::new(&[Signal::Hangup]).unwrap());
        let waiting = Arc::clone(&signals);
        let waiter = spawn(move || waiting.wait());
        sleep(MOMENT);
        waiter.cancel();
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        raise(Signal::Hangup).unwrap();
        assert_eq!(
            timeout(LONG, || signals.wait()).unwrap().unwrap(),
            Signal::Hangup
        );
    });
}

#[test]
fn a_close_ends_a_wait_and_makes_the_handle_stale() {
    everywhere(|| {
        let signals = Arc::new(Signals::new(&[Signal::Quit]).unwrap());
        let waiting = Arc::clone(&signals);
        let waiter = spawn(move || waiting.wait());
        sleep(MOMENT);
        fiber_core::id::close(signals.id()).unwrap();
        let ended = timeout(LONG, || waiter.join()).unwrap().unwrap();
        // Whether the closing or the waiting was first decides between these two.
        let told = ended.unwrap_err().kind();
        assert!(
            matches!(told, IoErrorKind::Closed | IoErrorKind::Stale),
            "{told:?}"
        );
        assert_eq!(signals.wait().unwrap_err().kind(), IoErrorKind::Stale);
        assert_eq!(signals.try_wait().unwrap_err().kind(), IoErrorKind::Stale);
    });
}

#[test]
fn every_handle_that_wants_a_signal_is_told_of_it() {
    everywhere(|| {
        let (one, two) = (
            Signals::new(&[Signal::Interrupt]).unwrap(),
            Signals::new(&[Signal::Interrupt, Signal::Quit]).unwrap(),
        );
        raise(Signal::Interrupt).unwrap();
        for signals in [one, two] {
            let told = timeout(LONG, || signals.wait()).unwrap().unwrap();
            assert_eq!(told, Signal::Interrupt);
        }
    });
}

#[test]
fn no_signals_at_all_are_refused() {
    everywhere(|| {
        let refused = Signals::new(&[]).unwrap_err();
        assert_eq!(refused.kind(), IoErrorKind::InvalidInput);
        assert!(refused.to_string().contains("at least one"));
    });
}

#[test]
fn a_signal_that_comes_again_unread_is_merged_and_another_keeps_its_place() {
    simulated(|| {
        let signals = Signals::new(&[Signal::User1, Signal::Terminate]).unwrap();
        for _ in 0..1000 {
            raise(Signal::User1).unwrap();
        }
        raise(Signal::Terminate).unwrap();
        raise(Signal::User1).unwrap();
        sleep(MOMENT);
        assert_eq!(signals.try_wait().unwrap(), Some(Signal::User1));
        assert_eq!(signals.try_wait().unwrap(), Some(Signal::Terminate));
        assert_eq!(signals.try_wait().unwrap(), None);
    });
}

#[test]
fn a_signal_that_nobody_wants_ends_its_node_and_no_other() {
    for signal in Signal::ALL {
        let mut sim = Sim::new(1);
        let reached = Rc::new(Cell::new(false));
        let end = Rc::clone(&reached);
        let victim = sim.node("victim", move |env| {
            run(env, 1, || {
                // Wanted no longer.
                drop(Signals::new(&Signal::ALL).unwrap());
                sleep(LONG);
            });
            end.set(true);
        });
        let other = sim.node("other", |env| run(env, 1, || sleep(LONG)));
        sim.at(seconds(1), Action::Signal(victim, signal));
        let outcome = sim.until(other).run().expect_finished();
        assert_eq!(outcome.abandoned.nodes, 1, "{outcome}");
        assert!(!reached.get(), "{signal} did nothing");
        let text = format!("{signal} to {}", victim.address());
        assert!(
            outcome.faults.iter().any(|fault| fault.ends_with(&text)),
            "{outcome}"
        );
    }
}

#[test]
fn a_node_that_sends_itself_a_signal_that_it_does_not_want_ends() {
    let mut sim = Sim::new(1);
    sim.node("victim", |env| {
        run(env, 2, || {
            raise(Signal::Terminate).unwrap();
            sleep(LONG);
            panic!("it lives on");
        });
    });
    let outcome = sim.run().expect_finished();
    assert_eq!(outcome.abandoned.nodes, 1, "{outcome}");
}

#[test]
fn a_restarted_node_hears_nothing_of_what_was_sent_before() {
    let mut sim = Sim::new(1);
    let node = sim.node("node", |env| {
        run(env, 1, || {
            let signals = Signals::new(&[Signal::User1]).unwrap();
            timeout(seconds(4), || signals.wait()).unwrap_err();
        });
    });
    sim.at(seconds(2), Action::Kill(node));
    sim.at(seconds(3), Action::Signal(node, Signal::User1));
    sim.at(seconds(4), Action::Restart(node));
    sim.until(node).run().expect_finished();
}

/// Echoes lines until it is told to end; then it takes no new connection, and ends when those
/// that it has are over.
fn serve_until_terminated() {
    let signals = Signals::new(&[Signal::Terminate, Signal::Interrupt]).unwrap();
    let listener = Arc::new(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap());
    let accepting = Arc::clone(&listener);
    let acceptor = spawn(move || {
        let mut sessions = Vec::new();
        while let Ok((stream, _)) = accepting.accept() {
            sessions.push(spawn(move || echo(stream)));
        }
        sessions
    });
    assert_eq!(signals.wait().unwrap(), Signal::Terminate);
    fiber_core::id::close(listener.id()).unwrap();
    for session in acceptor.join().unwrap() {
        session.join().unwrap();
    }
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 100];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        stream.write_all(&bytes[..count]).unwrap();
    }
}

/// What a client sees of a server that is told to end after a second.
fn drain(seed: u64) -> Outcome {
    let mut sim = Sim::new(seed);
    let refused = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&refused);
    let server = sim.node("server", |env| run(env, 2, serve_until_terminated));
    let address = server.address();
    let client = sim.node("client", move |env| {
        run(env, 2, || {
            sleep(Duration::from_millis(500));
            let mut stream = TcpStream::connect((address, 80)).unwrap();
            for round in 0..10_u8 {
                let mut answer = [0; 8];
                stream.write_all(&[round; 8]).unwrap();
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round; 8], "answered, and whole");
                sleep(Duration::from_millis(200));
            }
            // It drains: we are served, and nobody else.
            let late = TcpStream::connect((address, 80)).unwrap_err();
            let late = std::io::Error::from(late).kind();
            assert_eq!(late, ErrorKind::ConnectionRefused);
            seen.fetch_add(1, Ordering::Relaxed);
        });
    });
    sim.at(seconds(1), Action::Signal(server, Signal::Terminate));
    // Both end: without it, the run goes on until every node has finished.
    let _ = client;
    let outcome = sim.run().expect_finished();
    assert_eq!(
        refused.load(Ordering::Relaxed),
        1,
        "the client has seen the end"
    );
    assert_eq!(outcome.abandoned.nodes, 0, "{outcome}");
    outcome
}

#[test]
fn a_server_that_is_told_to_end_answers_what_it_has_taken_and_ends() {
    let hashes: BTreeSet<_> = (0..20).map(|seed| drain(seed).hash).collect();
    assert_eq!(hashes.len(), 20, "each seed is a run of its own");
}

#[test]
fn the_same_seed_is_the_same_run_with_signals_in_it() {
    for seed in 0..5 {
        assert_eq!(drain(seed).hash, drain(seed).hash);
    }
}

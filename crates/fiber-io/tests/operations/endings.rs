//! Closed, cancelled, killed: an arm ends with its descriptor, its fiber and its node.

use alloc::{rc::Rc, sync::Arc};
use core::{cell::Cell, time::Duration};
use std::io::Write;

use fiber_core::{
    choose,
    operation::{Latch, Operation, timeout},
};
use fiber_io::{IoErrorKind, TcpListener, TcpStream};
use fiber_sched::{ExitReason, sleep, spawn};
use host_sim::{Action, Sim};

use crate::{
    LONG, MOMENT, settle,
    support::{everywhere, listener, pair, run},
};

#[test]
fn a_close_ends_the_wait_and_the_next_socket_of_that_number_is_not_touched() {
    everywhere(|| {
        for wait in [MOMENT, Duration::ZERO, MOMENT, Duration::ZERO, MOMENT] {
            let old = listener();
            let (ready, accept) = (old.acceptable_operation(), old.accept_operation());
            let waiters = [
                spawn(move || ready.perform().unwrap_err().kind()),
                spawn(move || accept.perform().unwrap_err().kind()),
            ];
            sleep(wait);
            drop(old);
            let new = listener();
            let address = new.local_addr().unwrap();
            let client = TcpStream::connect(address).unwrap();
            for waiter in waiters {
                let told = waiter.join().unwrap();
                assert!(matches!(told, IoErrorKind::Closed | IoErrorKind::Stale));
            }
            let (_, peer) = new
                .accept_operation()
                .perform_timeout(LONG)
                .unwrap()
                .unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
        settle();
    });
}

#[test]
fn a_listener_whose_arm_has_lost_can_be_closed_and_its_address_is_free() {
    everywhere(|| {
        let mut listener = listener();
        let address = listener.local_addr().unwrap();
        for _ in 0..5 {
            choose! {
                _ = listener.accept_operation() => panic!("nobody connects"),
                () = timeout(MOMENT) => {}
            }
            drop(listener);
            listener = TcpListener::bind(address).unwrap();
        }
        settle();
    });
}

#[test]
fn a_cancel_meets_the_bytes_it_waits_for_and_one_of_the_two_is_told() {
    host_sim::check(1000, |mut sim| {
        let workers = u16::try_from(sim.seed() % 2).unwrap() + 1;
        let node = sim.node("node", move |env| {
            run(env, workers, || {
                let (client, server) = pair();
                let server = Arc::new(server);
                for micros in 0..4 {
                    let (reader, span) = (Arc::clone(&server), Duration::from_micros(micros));
                    let door = Arc::new(Latch::new());
                    let opener = Arc::clone(&door);
                    let waiter = spawn(move || {
                        choose! {
                            ready = reader.readable_operation() => ready.unwrap(),
                            () = door.wait_operation("a door") => {}
                        }
                    });
                    let other = spawn(move || {
                        sleep(span);
                        opener.open();
                    });
                    sleep(span);
                    (&client).write_all(b"x").unwrap();
                    waiter.cancel();
                    match waiter.join() {
                        Ok(()) | Err(ExitReason::Cancelled(_)) => {}
                        other => panic!("{other:?}"),
                    }
                    other.join().unwrap();
                    server.readable_operation().perform().unwrap();
                    assert_eq!(server.try_read(&mut [0; 8]).unwrap(), Some(1));
                }
                settle();
            });
        });
        sim.until(node).run()
    });
}

#[test]
fn arms_end_with_their_runtime() {
    everywhere(|| {
        let (_client, server) = pair();
        let listener = listener();
        for _ in 0..10 {
            let (ready, accept) = (server.readable_operation(), listener.accept_operation());
            drop(spawn(move || {
                choose! {
                    _ = ready => {}
                    _ = accept => {}
                }
            }));
        }
        sleep(MOMENT);
        // The ids outlive this fiber; whoever waits is cancelled.
        let _ = (server.into_id(), listener.into_id());
    });
}

#[test]
fn a_killed_node_takes_its_arms_along() {
    for seed in 0..50 {
        let mut sim = Sim::new(seed);
        let reached = Rc::new(Cell::new(false));
        let end = Rc::clone(&reached);
        let victim = sim.node("victim", move |env| {
            run(env, 2, || {
                let listener = Arc::new(listener());
                for _ in 0..20 {
                    let listener = Arc::clone(&listener);
                    drop(spawn(move || {
                        loop {
                            choose! {
                                _ = listener.accept_operation() => {}
                                () = timeout(Duration::from_micros(50)) => {}
                            }
                        }
                    }));
                }
                sleep(LONG);
            });
            end.set(true);
        });
        let other = sim.node("other", |env| run(env, 1, || sleep(Duration::from_secs(2))));
        sim.at(Duration::from_millis(3 + seed), Action::Kill(victim));
        let outcome = sim.until(other).run().expect_finished();
        assert_eq!(outcome.abandoned.nodes, 1, "{outcome}");
        assert!(!reached.get());
    }
}

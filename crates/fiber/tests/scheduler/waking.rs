//! What it takes to wake a fiber that lives on another worker, in counted calls of the kernel, and
//! many fibers that sleep.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use fiber::{
    FiberBuilder, JoinHandle, Runtime, Stats, WorkerId, core::time::now, sleep_until, spawn,
    sync::channel::rendezvous, yield_now,
};

use crate::support::{Count, on_linux};

const ROUND_TRIPS: u64 = 300;

fn on<T: Send + 'static>(worker: u16, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let builder = FiberBuilder::new().worker(WorkerId(worker));
    builder.spawn(body).unwrap()
}

/// Asks on worker 0 and answers on worker 1: each message wakes a fiber on the other one.
fn converse() -> [JoinHandle<()>; 2] {
    let (question, asked) = rendezvous();
    let (answer, answered) = rendezvous();
    let answering = on(1, move || {
        for value in asked.iter() {
            answer.send(value).unwrap();
        }
    });
    let asking = on(0, move || {
        for number in 0..ROUND_TRIPS {
            question.send(number).unwrap();
            assert_eq!(answered.recv(), Ok(number));
        }
    });
    [asking, answering]
}

fn join(fibers: [JoinHandle<()>; 2]) {
    for fiber in fibers {
        fiber.join().unwrap();
    }
}

fn stats() -> Stats {
    Runtime::current().unwrap().stats()
}

/// How often workers were rung up, how often that was not needed, and what their turns have called
/// the kernel for.
fn counted(before: &Stats, after: &Stats) -> (u64, u64, u64) {
    let mut sums = (0, 0, 0);
    for (before, after) in before.workers.iter().zip(&after.workers) {
        sums.0 += after.wakes_sent - before.wakes_sent;
        sums.1 += after.wakes_elided - before.wakes_elided;
        sums.2 += after.enters - before.enters;
    }
    sums
}

#[test]
fn a_worker_that_is_awake_is_woken_for_without_a_call_of_the_kernel() {
    on_linux(2, || {
        let over = Arc::new(AtomicBool::new(false));
        let awake = Count::default();
        let keepers = [0, 1].map(|worker| {
            let (over, awake) = (Arc::clone(&over), awake.clone());
            on(worker, move || {
                awake.add();
                while !over.load(Ordering::Relaxed) {
                    yield_now();
                }
            })
        });
        while awake.get() < keepers.len() {
            yield_now();
        }

        let before = stats();
        join(converse());
        let after = stats();
        over.store(true, Ordering::Relaxed);
        join(keepers);

        let (rung, needless, calls) = counted(&before, &after);
        assert_eq!((rung, calls), (0, 0), "{after}");
        assert!(needless >= ROUND_TRIPS, "{needless}: {after}");
    });
}

#[test]
fn a_worker_that_sleeps_is_rung_up_no_more_than_once_for_each_message() {
    on_linux(2, || {
        let before = stats();
        join(converse());
        let after = stats();
        let (rung, needless, _) = counted(&before, &after);
        // Each trip has two messages; starting and joining the fibers wakes, too.
        assert!(rung <= 2 * ROUND_TRIPS + 10, "{after}");
        assert!(rung + needless >= ROUND_TRIPS, "{after}");
    });
}

#[test]
fn sleepers_that_end_near_each_other_wake_their_worker_once() {
    on_linux(1, || {
        let start = now() + Duration::from_millis(500);
        let sleepers: Vec<_> = (0..1000)
            .map(|number| {
                let end = start + Duration::from_micros(100) * number;
                spawn(move || {
                    sleep_until(end);
                    assert!(now() >= end);
                })
            })
            .collect();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        let sleeps = stats().workers[0].sleeps;
        assert!(sleeps < 400, "{sleeps} times, to wake 1000 within 100 ms");
    });
}

//! How a run ends, with whatever is left.

use alloc::sync::Arc;
use core::time::Duration;
use std::{sync::Mutex, thread};

use fiber::{Drain, ExitReason, Runtime, SpawnError, park, sleep, spawn, spawn_any, yield_now};
use host_linux::{Config, Linux};
use host_sim::Sim;

use crate::support::{Count, WORKERS};

/// Counts its end.
struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Fibers that have not started, that wait for ever, and that spawn while they end.
fn leave_much_behind(ended: &Count) {
    for _ in 0..50 {
        let counted = Counted(ended.clone());
        drop(spawn_any(move || {
            let _counted = counted;
            park();
        }));
    }
    yield_now();
    for _ in 0..50 {
        let (counted, more) = (Counted(ended.clone()), Counted(ended.clone()));
        drop(spawn(move || {
            let _counted = counted;
            drop(spawn(move || drop(more)));
            sleep(Duration::MAX);
        }));
    }
}

#[test]
fn what_is_left_when_main_returns_is_cancelled_and_ends() {
    for workers in WORKERS {
        let ended = Count::default();
        let seen = ended.clone();
        let env = Linux::new(Config::default()).unwrap();
        Runtime::builder(env)
            .workers(workers)
            .run(move || leave_much_behind(&ended))
            .unwrap();
        assert_eq!(seen.get(), 150);
    }
    host_sim::check(1000, |mut sim: Sim| {
        let workers = WORKERS[usize::try_from(sim.seed() % 3).unwrap()];
        sim.node("only", move |env| {
            let ended = Count::default();
            let seen = ended.clone();
            Runtime::builder(env)
                .workers(workers)
                .run(move || leave_much_behind(&ended))
                .unwrap();
            assert_eq!(seen.get(), 150);
        });
        sim.run()
    });
}

#[test]
fn spawning_without_a_runtime_is_an_error_that_says_where_to_spawn() {
    let error = fiber::FiberBuilder::new().spawn(|| ()).unwrap_err();
    assert_eq!(error, SpawnError::NoRuntime);
    assert!(error.to_string().contains("Runtime::run"), "{error}");
    assert!(Runtime::current().is_none());
}

#[test]
fn fibers_run_on_the_threads_of_their_workers_alone() {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&threads);
    let foreign = Arc::new(Mutex::new(Vec::new()));
    let outside = Arc::clone(&foreign);
    let env = Linux::new(Config::default()).unwrap();
    Runtime::builder(env)
        .workers(2)
        .run(move || {
            let runtime = Runtime::current().unwrap();
            thread::scope(|scope| {
                let spawner = scope.spawn(|| {
                    outside.lock().unwrap().push(thread::current().id());
                    let fibers: Vec<_> = (0..100)
                        .map(|_| {
                            let threads = Arc::clone(&threads);
                            let note = move || threads.lock().unwrap().push(thread::current().id());
                            runtime.spawn(note).unwrap()
                        })
                        .collect();
                    // A plain thread joins, too: it blocks.
                    for fiber in fibers {
                        fiber.join().unwrap();
                    }
                });
                while !spawner.is_finished() {
                    yield_now();
                }
            });
        })
        .unwrap();
    let (seen, foreign) = (seen.lock().unwrap(), foreign.lock().unwrap());
    assert_eq!(seen.len(), 100);
    assert!(!seen.contains(&foreign[0]));
}

#[test]
fn plain_threads_spawn_in_storms_and_each_fiber_runs_once() {
    let ran = Count::default();
    let seen = ran.clone();
    let env = Linux::new(Config::default()).unwrap();
    Runtime::builder(env)
        .workers(2)
        .drain(Drain::Wait)
        .run(move || {
            let storms: Vec<_> = (0..4)
                .map(|_| {
                    let (ran, runtime) = (ran.clone(), Runtime::current().unwrap());
                    thread::spawn(move || {
                        for _ in 0..10_000 {
                            let ran = ran.clone();
                            drop(runtime.spawn(move || ran.add()).unwrap());
                        }
                    })
                })
                .collect();
            while storms.iter().any(|storm| !storm.is_finished()) {
                sleep(Duration::from_millis(1));
            }
        })
        .unwrap();
    assert_eq!(seen.get(), 40_000);
}

#[test]
fn a_run_that_is_over_takes_no_more_fibers() {
    let env = Linux::new(Config::default()).unwrap();
    let runtime = Runtime::builder(env)
        .workers(2)
        .run(|| Runtime::current().unwrap())
        .unwrap();
    assert_eq!(runtime.spawn(|| ()).unwrap_err(), SpawnError::Ended);
    assert_eq!(runtime.stats().live, 0);
}

/// Spawned while the run ends: each is told that it is too late, or ends, in whatever way.
#[test]
fn plain_threads_that_spawn_while_a_run_ends_lose_nothing() {
    for drain in [Drain::Wait, Drain::CancelRest] {
        for _ in 0..50 {
            let (handed, runtimes) = std::sync::mpsc::channel::<Runtime>();
            let spawner = thread::spawn(move || {
                let runtime = runtimes.recv().unwrap();
                let mut fibers = Vec::new();
                while let Ok(fiber) = runtime.spawn(|| ()) {
                    fibers.push(fiber);
                    if fibers.len() > 10_000 {
                        break;
                    }
                }
                for fiber in fibers {
                    match fiber.join() {
                        Ok(()) | Err(ExitReason::Cancelled(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
            let env = Linux::new(Config::default()).unwrap();
            Runtime::builder(env)
                .workers(2)
                .drain(drain)
                .run(move || {
                    handed.send(Runtime::current().unwrap()).unwrap();
                    yield_now();
                })
                .unwrap();
            spawner.join().unwrap();
        }
    }
}

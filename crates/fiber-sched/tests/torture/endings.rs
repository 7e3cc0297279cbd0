//! Ends of runs, with several workers, outsiders and broken hosts.

use alloc::sync::Arc;
use core::{
    hint,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{panic::catch_unwind, sync::Mutex, thread};

use fiber_core::{
    Id,
    env::{StackClass, WorkerId},
    script::{Script, ScriptEnv, SeededChooser},
};
use fiber_sched::{
    Drain, Fiber, FiberBuilder, JoinHandle, Process, RunError, Runtime, blocking, charge,
    checkpoint, current, mask, park, park_timeout, sleep, spawn, spawn_local, timeout, yield_now,
};

use crate::{
    faulty::Faulty,
    support::{Ledger, MILLI, OnDrop, run},
};

#[test]
fn a_runtime_runs_inside_of_a_fiber_of_another() {
    run(|| {
        let outer = current().unwrap();
        let inner_env = ScriptEnv::with(Script::new().outsiders());
        let sum: u32 = Runtime::builder(inner_env)
            .workers(2)
            .run(|| {
                outer.unpark();
                let inner = current().unwrap();
                let waker = spawn(move || inner.unpark());
                park();
                waker.join().unwrap();
                (0..10)
                    .map(|index| spawn(move || index).join().unwrap())
                    .sum()
            })
            .unwrap();
        assert_eq!(sum, 45);
        park();
        sleep(MILLI);
    });
}

#[test]
fn handles_outlive_their_runtime() {
    let fibers: Vec<Fiber> = run(|| {
        let ended = spawn(|| ());
        let fibers = vec![current().unwrap(), ended.fiber().clone()];
        ended.join().unwrap();
        fibers
    });
    for fiber in fibers {
        fiber.unpark();
        fiber.cancel();
        assert!(fiber.is_finished() && fiber.is_started() && fiber.id().is_some());
    }
}

#[test]
fn plain_threads_may_wake_and_cancel_while_the_runtime_ends() {
    for round in 0..50 {
        let env = ScriptEnv::with(Script::new().outsiders());
        let (sender, receiver) = std::sync::mpsc::channel::<Fiber>();
        let outsider = thread::spawn(move || {
            for fiber in receiver {
                fiber.unpark();
                let _ = (fiber.is_started(), fiber.id(), fiber.is_finished());
                fiber.unpark();
                fiber.cancel();
            }
        });
        Runtime::builder(env)
            .workers(1 + round % 3)
            .drain(if round % 2 == 0 {
                Drain::Wait
            } else {
                Drain::CancelRest
            })
            .run(move || {
                for _ in 0..20 {
                    let fiber = spawn(|| {
                        loop {
                            park();
                            checkpoint();
                        }
                    });
                    sender.send(fiber.fiber().clone()).unwrap();
                }
            })
            .unwrap();
        outsider.join().unwrap();
    }
}

#[test]
fn several_workers_always_find_out_that_all_are_asleep() {
    for round in 0..300 {
        let result = Runtime::builder(ScriptEnv::new())
            .workers(2 + round % 2)
            .closed_world()
            .run(|| {
                let fibers: Vec<JoinHandle<()>> = (0..4)
                    .map(|_| {
                        spawn(|| {
                            yield_now();
                            park();
                        })
                    })
                    .collect();
                for fiber in &fibers {
                    fiber.fiber().unpark();
                }
                for fiber in fibers {
                    fiber.join().unwrap();
                }
                park();
            });
        let Err(RunError::AllAsleep(report)) = result else {
            panic!("round {round}: {result:?}")
        };
        assert_eq!(report.fibers.len(), 1, "round {round}: {report}");
    }
}

#[test]
fn fibers_that_cannot_be_cancelled_are_abandoned_in_a_closed_world() {
    for workers in 1..4 {
        let ledger = Ledger::default();
        let books = ledger.clone();
        let result = Runtime::builder(ScriptEnv::new())
            .workers(workers)
            .closed_world()
            .run(move || {
                let entry = books.entry();
                drop(spawn(move || {
                    let _entry = entry;
                    mask(|| {
                        loop {
                            park();
                        }
                    });
                }));
                sleep(MILLI);
            });
        assert!(result.is_ok(), "{result:?}");
        let dropped = ledger.0.1.load(Ordering::SeqCst);
        assert!(dropped <= 1, "leaked, or ended before it was masked");
    }
}

#[test]
fn a_worker_without_a_port_ends_the_run_with_its_error() {
    for no_port in 0..3 {
        let mut env = Faulty::new();
        env.no_port = Some(no_port);
        let result = Runtime::builder(Arc::new(env))
            .workers(3)
            .run(|| unreachable!("no fiber runs before every worker can"));
        assert!(matches!(result, Err(RunError::Env(_))), "{result:?}");
    }
}

#[test]
fn a_main_that_never_runs_and_panics_in_its_drop_does_so_at_the_caller() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as planned");
        }
    }
    for no_port in 0..2 {
        let mut env = Faulty::new();
        env.no_port = Some(no_port);
        let run = Runtime::builder(Arc::new(env)).workers(2);
        let captured = Panics;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            run.run(move || {
                let _captured = captured;
            })
        }));
        assert!(caught.is_err(), "{caught:?}");
    }
}

#[test]
fn workers_that_cannot_be_started_end_the_run_with_the_error_and_drop_its_main() {
    let mut env = Faulty::new();
    env.no_threads = true;
    let ledger = Ledger::default();
    let entry = ledger.entry();
    let result = Runtime::builder(Arc::new(env)).workers(3).run(move || {
        let _entry = entry;
        unreachable!("no worker runs");
    });
    let result: Result<(), RunError> = result;
    assert!(matches!(result, Err(RunError::Env(_))), "{result:?}");
    ledger.assert_balanced(1);
}

#[test]
fn a_port_that_breaks_before_main_has_begun_ends_the_run_with_its_error() {
    for _ in 0..50 {
        let env = Faulty::new();
        env.broken.store(true, Ordering::SeqCst);
        let result: Result<(), RunError> = Runtime::builder(Arc::new(env)).workers(3).run(|| {
            loop {
                park();
            }
        });
        assert!(matches!(result, Err(RunError::Host(_))), "{result:?}");
    }
}

#[test]
fn a_broken_port_ends_the_run_with_its_error_and_drops_what_has_not_started() {
    for workers in 1..4 {
        let env = Faulty::new();
        let broken = Arc::clone(&env.broken);
        let ledger = Ledger::default();
        let books = ledger.clone();
        let result = Runtime::builder(Arc::new(env))
            .workers(workers)
            .run(move || {
                for _ in 0..200 {
                    let entry = books.entry();
                    drop(spawn(move || drop(entry)));
                    let entry = books.entry();
                    drop(spawn_local(move || drop(entry)));
                }
                broken.store(true, Ordering::SeqCst);
                park();
            });
        assert!(matches!(result, Err(RunError::Host(_))), "{result:?}");
        ledger.assert_balanced(400);
    }
}

#[test]
fn a_run_that_breaks_waits_for_the_helpers_that_borrow_from_its_caller() {
    for _ in 0..20 {
        let mut env = Faulty::new();
        env.free_helpers = true;
        let (broken, failed) = (Arc::clone(&env.broken), Arc::clone(&env.failed));
        let ended = AtomicBool::new(false);
        let result = Runtime::builder(Arc::new(env)).workers(1).run(|| {
            broken.store(true, Ordering::SeqCst);
            blocking(|| {
                while !failed.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                // Of its own processor time, so that a busy machine takes little longer.
                (0..100_000).for_each(|_| hint::spin_loop());
                ended.store(true, Ordering::SeqCst);
            });
        });
        assert!(matches!(result, Err(RunError::Host(_))), "{result:?}");
        assert!(ended.into_inner(), "it borrows, and the borrow is over");
    }
}

#[test]
fn destructors_may_spawn_while_the_runtime_drains() {
    let ledger = Ledger::default();
    let books = ledger.clone();
    run(move || {
        for _ in 0..10 {
            let books = books.clone();
            drop(spawn(move || {
                let _last_words = OnDrop(|| {
                    let (one, other) = (books.entry(), books.entry());
                    drop(spawn(move || drop(one)));
                    let _ = spawn_local(move || drop(other)).join();
                });
                sleep(Duration::MAX);
            }));
        }
        sleep(MILLI);
    });
    ledger.assert_balanced(20);
}

/// A tree of fibers that sleep, join, time out, cancel each other and panic, by their numbers.
fn tree(number: u64, depth: u32, ledger: &Ledger, seen: &Arc<Mutex<Vec<Fiber>>>) {
    let _entry = ledger.entry();
    seen.lock().unwrap().extend(current());
    let children: Vec<_> = (0..depth)
        .map(|child| {
            let (ledger, seen) = (ledger.clone(), Arc::clone(seen));
            let number = number * 31 + u64::from(child) + 1;
            spawn(move || tree(number, depth - 1, &ledger, &seen))
        })
        .collect();
    let _last_words = OnDrop(|| {
        if number.is_multiple_of(5) {
            sleep(MILLI);
        }
    });
    match number % 7 {
        0 => drop(timeout(Duration::from_millis(number % 3), park)),
        1 => sleep(Duration::from_millis(number % 4)),
        2 => {
            let seen = seen.lock().unwrap().clone();
            if let Some(victim) = seen.iter().zip(0..11).find(|(_, at)| *at == number % 11) {
                victim.0.cancel();
            }
        }
        3 if number % 2 == 1 => panic!("as planned"),
        4 => mask(|| park_timeout(MILLI)),
        5 => return drop(children),
        _ => yield_now(),
    }
    for child in children {
        if timeout(MILLI * 3, || child.join().is_ok()).is_err() {
            break;
        }
    }
}

#[test]
fn trees_of_fibers_end_whatever_they_do_to_each_other() {
    for seed in 0..60 {
        let script = Script::new().chooser(SeededChooser::new(seed));
        let ledger = Ledger::default();
        let books = ledger.clone();
        let result = Runtime::builder(ScriptEnv::with(script))
            .workers(1 + (seed % 3) as u16)
            .drain(if seed % 2 == 0 {
                Drain::Wait
            } else {
                Drain::CancelRest
            })
            .closed_world()
            .run(move || tree(seed, 4, &books, &Arc::default()));
        assert!(
            matches!(
                result,
                Ok(()) | Err(RunError::Panicked(_) | RunError::Cancelled(_))
            ),
            "seed {seed}: {result:?}"
        );
        let made = ledger.0.0.load(Ordering::SeqCst);
        ledger.assert_balanced(made);
    }
}

#[test]
fn a_fiber_is_asked_about_itself_while_it_starts_elsewhere() {
    let env = ScriptEnv::new();
    Runtime::builder(env)
        .workers(2)
        .run(|| {
            for _ in 0..200 {
                let fiber = spawn(|| ());
                while !fiber.fiber().is_started() && !fiber.is_finished() {
                    yield_now();
                }
                fiber.join().unwrap();
            }
        })
        .unwrap();
}

/// Waits on its thread, without letting anybody else of this worker run.
fn spin_until(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

#[test]
fn nobody_finds_a_fiber_that_a_broken_run_has_dropped() {
    for _ in 0..20 {
        let env = Faulty::new();
        let broken = Arc::clone(&env.broken);
        let named: Arc<Mutex<Option<Id>>> = Arc::default();
        let told = Arc::clone(&named);
        let result: Result<(), RunError> =
            Runtime::builder(Arc::new(env)).workers(2).run(move || {
                let (begun, theirs) = (AtomicBool::new(false), Arc::clone(&told));
                let begun = Arc::new(begun);
                let begins = Arc::clone(&begun);
                let is_broken = Arc::clone(&broken);
                let there = FiberBuilder::new().worker(WorkerId(1)).spawn(move || {
                    begins.store(true, Ordering::SeqCst);
                    spin_until(|| is_broken.load(Ordering::SeqCst));
                    // Named where the worker will be abandoned, queued where nobody takes it.
                    let elsewhere = FiberBuilder::new().worker(WorkerId(0));
                    let dropped = elsewhere.spawn(|| unreachable!("its worker is gone"));
                    let id = dropped.unwrap().fiber().id();
                    *theirs.lock().unwrap() = id;
                    mask(|| {
                        loop {
                            park();
                        }
                    });
                });
                drop(there.unwrap());
                spin_until(|| begun.load(Ordering::SeqCst));
                broken.store(true, Ordering::SeqCst);
                spin_until(|| told.lock().unwrap().is_some());
                // When its budget is spent the port is next, before anybody looks at a queue.
                loop {
                    charge();
                }
            });
        assert!(matches!(result, Err(RunError::Host(_))), "{result:?}");
        let id = named.lock().unwrap().expect("it was named");
        assert!(Fiber::of_id(id).is_err(), "it was freed");
    }
}

/// A process that makes a process that makes a process, and so on, each of which waits.
fn line_of(processes: usize, told: &std::sync::mpsc::Sender<Process>) {
    if processes == 0 {
        let last = Process::current().expect("this is one");
        told.send(last).expect("it is listened to");
    } else {
        let told = told.clone();
        let next = Process::builder().stack(StackClass::K64);
        drop(next.spawn(move || line_of(processes - 1, &told)).unwrap());
    }
    park();
}

const LINE: usize = 2_000;
/// Too small for a call for each one of a line.
const SMALL: usize = 96 << 10;

#[test]
fn a_long_line_of_processes_ends_on_a_small_stack_when_a_run_breaks() {
    let env = Faulty::new();
    let broken = Arc::clone(&env.broken);
    let run = move || {
        let (tell, told) = std::sync::mpsc::channel();
        let result: Result<(), RunError> =
            Runtime::builder(Arc::new(env)).workers(1).run(move || {
                let line = Process::builder().stack(StackClass::K64);
                drop(line.spawn(move || line_of(LINE, &tell)).unwrap());
                loop {
                    yield_now();
                    if told.try_recv().is_ok() {
                        broken.store(true, Ordering::SeqCst);
                    }
                }
            });
        assert!(matches!(result, Err(RunError::Host(_))), "{result:?}");
    };
    let small = thread::Builder::new().stack_size(SMALL);
    small.spawn(run).unwrap().join().unwrap();
}

#[test]
fn the_last_of_a_long_line_of_processes_is_dropped_on_a_small_stack() {
    let last = run(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let line = Process::builder().stack(StackClass::K64);
        let first = line.spawn(move || line_of(LINE, &tell)).unwrap();
        let last = loop {
            yield_now();
            if let Ok(last) = told.try_recv() {
                break last;
            }
        };
        first.cancel("over");
        first.join().unwrap_err();
        last
    });
    assert!(last.has_ended());
    let small = thread::Builder::new().stack_size(SMALL);
    small.spawn(move || drop(last)).unwrap().join().unwrap();
}

//! Drops, panics and cancels of single fibers.

use alloc::sync::Arc;
use core::{
    cell::Cell,
    mem,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::{panic::catch_unwind, thread};

use fiber_core::{
    Context,
    env::StackClass,
    fiber::ExitReason,
    script::{Script, ScriptEnv, SeededChooser},
};
use fiber_sched::{
    FiberBuilder, Runtime, charge, checkpoint, current, no_suspend, park, scope, sleep, spawn,
    timeout, yield_now,
};

use crate::{
    faulty::Faulty,
    support::{Ledger, MILLI, OnDrop, run},
};

#[test]
fn closures_that_are_dropped_unstarted_may_panic_and_park() {
    let ledger = Ledger::default();
    let entries = [ledger.entry(), ledger.entry()];
    let [first, second] = entries;
    run(move || {
        let panics = OnDrop(move || {
            let _first = &first;
            panic!("as planned");
        });
        let parks = OnDrop(move || {
            let _second = &second;
            sleep(MILLI);
            yield_now();
        });
        let (one, other) = (spawn(move || drop(panics)), spawn(move || drop(parks)));
        one.cancel();
        other.cancel();
        assert!(matches!(one.join(), Err(ExitReason::Cancelled(_))));
        assert!(matches!(other.join(), Err(ExitReason::Cancelled(_))));
    });
    ledger.assert_balanced(2);
}

#[test]
fn a_closure_without_a_stack_is_dropped_and_its_joiner_told() {
    let env = Faulty::new();
    env.no_stacks.store(true, Ordering::SeqCst);
    let big = || FiberBuilder::new().stack(StackClass::M1);
    Runtime::builder(Arc::new(env))
        .workers(1)
        .closed_world()
        .run(|| {
            let ledger = Ledger::default();
            let entry = ledger.entry();
            let quiet = big().spawn(move || drop(entry)).unwrap();
            let panics = OnDrop(|| panic!("as planned"));
            let loud = big().spawn(move || drop(panics)).unwrap();
            // Nobody could wake a worker that parks itself.
            let parks = OnDrop(|| sleep(MILLI));
            let stuck = big().spawn(move || drop(parks)).unwrap();
            let waits = OnDrop(|| spawn(|| 1).join().map(drop).unwrap());
            let joins = big().spawn(move || drop(waits)).unwrap();
            for fiber in [quiet, loud, stuck, joins] {
                assert!(matches!(fiber.join(), Err(ExitReason::NoStack(_))));
            }
            ledger.assert_balanced(1);
        })
        .unwrap();
}

#[test]
fn fibers_that_park_while_they_unwind_do_not_keep_others_from_being_cancelled() {
    for seed in 0..32 {
        let script = Script::new().chooser(SeededChooser::new(seed));
        let ledger = Ledger::default();
        let books = ledger.clone();
        Runtime::builder(ScriptEnv::with(script))
            .workers(1)
            .closed_world()
            .run(move || {
                for index in 0..8_u32 {
                    let entry = books.entry();
                    drop(spawn(move || {
                        let _entry = entry;
                        let _slow = OnDrop(|| {
                            for step in 0..3 {
                                sleep(MILLI * (step + 1));
                            }
                        });
                        let _ = timeout(MILLI * 7, || sleep(Duration::MAX));
                        sleep(MILLI * index);
                        park();
                    }));
                }
                sleep(MILLI * 9);
            })
            .unwrap();
        ledger.assert_balanced(8);
    }
}

#[test]
fn a_timeout_that_expires_while_another_fiber_unwinds_is_not_lost() {
    run(|| {
        let slow = spawn(|| {
            let _slow = OnDrop(|| sleep(MILLI * 10));
            park();
        });
        yield_now();
        slow.cancel();
        assert!(timeout(MILLI, park).is_err());
        let _ = slow.join();
    });
}

#[test]
fn payloads_whose_drops_panic_end_nothing_but_themselves() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            if !thread::panicking() {
                std::panic::panic_any(Self);
            }
        }
    }
    run(|| {
        drop(spawn(|| std::panic::panic_any(Loud)));
        drop(spawn(|| Loud));
        let kept = spawn(|| std::panic::panic_any(Loud));
        sleep(MILLI);
        match kept.join() {
            Err(ExitReason::Panicked(payload)) => mem::forget(payload),
            _ => panic!("it panicked"),
        }
    });
}

#[test]
fn detached_results_may_park_in_their_drops_even_when_their_fiber_was_cancelled() {
    let ledger = Ledger::default();
    let books = ledger.clone();
    run(move || {
        for cancelled in [false, true] {
            let entry = books.entry();
            let fiber = spawn(move || {
                if cancelled {
                    current().unwrap().cancel();
                }
                OnDrop(move || {
                    let _entry = &entry;
                    sleep(MILLI);
                })
            });
            drop(fiber);
        }
        sleep(MILLI * 5);
        books.assert_balanced(2);
    });
    ledger.assert_balanced(2);
}

#[test]
fn a_join_that_is_cancelled_as_its_fiber_ends_drops_the_result_once() {
    for seed in 0..200 {
        let script = Script::new().chooser(SeededChooser::new(seed));
        let ledger = Ledger::default();
        let books = ledger.clone();
        Runtime::builder(ScriptEnv::with(script))
            .workers(1 + (seed % 3) as u16)
            .closed_world()
            .run(move || {
                let entry = books.entry();
                let worker = spawn(move || {
                    sleep(MILLI);
                    checkpoint();
                    entry
                });
                let joiner = spawn(move || worker.join().map(drop).is_ok());
                sleep(MILLI);
                joiner.cancel();
                let _ = joiner.join();
            })
            .unwrap();
        ledger.assert_balanced(1);
    }
}

#[test]
fn forgotten_handles_leak_memory_and_nothing_else() {
    run(|| {
        mem::forget(spawn(|| 1));
        mem::forget(spawn(|| sleep(Duration::MAX)));
        mem::forget(current());
        let number = 7;
        let seen = AtomicUsize::new(0);
        scope(|s| {
            mem::forget(s.spawn(|| {
                sleep(MILLI);
                seen.store(number, Ordering::SeqCst);
            }));
        });
        assert_eq!(seen.load(Ordering::SeqCst), 7);
        yield_now();
    });
}

#[test]
fn a_scope_that_could_not_wait_does_not_begin() {
    run(|| {
        let ran = Cell::new(false);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            no_suspend(|| scope(|_| ran.set(true)));
        }));
        assert!(caught.is_err());
        assert!(!ran.get());
        scope(|s| drop(s.spawn(|| sleep(MILLI))));
    });
    assert!(catch_unwind(|| scope(|_| ())).is_err());
}

#[test]
fn a_scope_remembers_a_panicked_child_until_its_handle_is_joined_or_dropped() {
    run(|| {
        scope(|s| {
            let broken = s.spawn(|| panic!("as planned"));
            for _ in 0..100 {
                s.spawn(yield_now).join().unwrap();
            }
            assert!(broken.join().is_err());
        });
        let caught = catch_unwind(|| {
            scope(|s| {
                drop(s.spawn(|| panic!("as planned")));
                for _ in 0..100 {
                    s.spawn(yield_now).join().unwrap();
                }
            });
        });
        assert!(caught.is_err());
    });
}

#[test]
fn calls_that_do_not_wait_are_legal_inside_of_no_suspend() {
    let work = || {
        let done = spawn(|| 1);
        drop(spawn(yield_now));
        // A simulated scheduler may let the caller go on before others have had their turn.
        while !done.is_finished() {
            yield_now();
        }
        no_suspend(|| {
            for _ in 0..1000 {
                charge();
                checkpoint();
            }
            assert_eq!(done.join().unwrap(), 1);
        });
    };
    run(work);
    for seed in 0..16 {
        let script = Script::new().chooser(SeededChooser::new(seed));
        Runtime::builder(ScriptEnv::with(script))
            .workers(1)
            .run(work)
            .unwrap();
    }
}

#[test]
fn a_report_cannot_be_suspended_halfway() {
    run(|| {
        drop(spawn(|| sleep(MILLI)));
        yield_now();
        let caught = catch_unwind(|| {
            Context::with(|context| context.unwrap().report(|_| sleep(MILLI * 2)));
        });
        assert!(caught.is_err());
        sleep(MILLI * 2);
    });
}

//! What spawn, join, sleep, scope, timeout, cancel and the end of a run promise, in a
//! scripted world.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

extern crate alloc;

use alloc::{rc::Rc, sync::Arc};
use core::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use std::sync::Mutex;

use fiber_core::{Context, fiber::ExitReason, script::ScriptEnv};
use fiber_sched::{
    Drain, FiberBuilder, RunError, Runtime, checkpoint, current, is_cancelled, mask, no_suspend,
    park, park_timeout, scope, sleep, spawn, spawn_local, timeout, yield_now,
};

fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    Runtime::builder(ScriptEnv::new())
        .workers(1)
        .closed_world()
        .run(main)
        .expect("the run succeeds")
}

fn now() -> Duration {
    Context::with(|context| Duration::from_nanos(context.unwrap().now().as_nanos()))
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn run_gives_the_value_of_its_main_fiber() {
    let local = 1;
    assert_eq!(run(|| local + 1), 2);
}

#[test]
fn join_gives_the_value_of_a_fiber_that_has_or_has_not_ended() {
    run(|| {
        let early = spawn(|| 1);
        yield_now();
        assert!(early.is_finished());
        let late = spawn(|| {
            sleep(Duration::from_secs(1));
            2
        });
        assert_eq!((early.join().unwrap(), late.join().unwrap()), (1, 2));
    });
}

#[test]
fn fibers_start_in_the_order_in_which_they_were_spawned() {
    run(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let fibers: Vec<_> = (0..10)
            .map(|index| {
                let order = Arc::clone(&order);
                spawn(move || order.lock().unwrap().push(index))
            })
            .collect();
        for fiber in fibers {
            fiber.join().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_panic_is_given_to_the_joiner_and_ends_that_fiber_alone() {
    run(|| {
        let broken = spawn(|| panic!("as planned"));
        let whole = spawn(|| 7);
        match broken.join() {
            Err(ExitReason::Panicked(payload)) => assert_eq!(payload.message(), Some("as planned")),
            other => panic!("{other:?}"),
        }
        assert_eq!(whole.join().unwrap(), 7);
    });
}

#[test]
fn a_panic_of_the_main_fiber_is_an_error_of_the_run() {
    let result = Runtime::builder(ScriptEnv::new())
        .workers(1)
        .run(|| panic!("as planned"));
    assert!(
        matches!(&result, Err(RunError::Panicked(payload))
            if payload.message() == Some("as planned")),
        "{result:?}"
    );
}

#[test]
fn local_fibers_share_what_cannot_be_sent() {
    run(|| {
        let shared = Rc::new(Cell::new(0));
        let fibers: Vec<_> = (0..10)
            .map(|_| {
                let shared = Rc::clone(&shared);
                spawn_local(move || {
                    let before = shared.get();
                    shared.set(before + 1);
                    yield_now();
                    Rc::strong_count(&shared) > 1
                })
            })
            .collect();
        for fiber in fibers {
            assert!(fiber.join().unwrap());
        }
        assert_eq!(shared.get(), 10);
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines_after_exactly_one_virtual_second() {
    run(|| {
        let start = now();
        let order = Rc::new(RefCell::new(Vec::new()));
        let fibers: Vec<_> = (1..=100_u64)
            .rev()
            .map(|index| {
                let order = Rc::clone(&order);
                spawn_local(move || {
                    sleep(Duration::from_millis(index * 10));
                    order.borrow_mut().push(index);
                })
            })
            .collect();
        for fiber in fibers {
            fiber.join().unwrap();
        }
        assert_eq!(*order.borrow(), (1..=100).collect::<Vec<_>>());
        assert_eq!(now() - start, Duration::from_secs(1));
    });
}

#[test]
fn ten_thousand_fibers_chain_and_finish() {
    fn chain(left: u32, done: Arc<AtomicUsize>) {
        if left > 0 {
            drop(spawn(move || chain(left - 1, done)));
        } else {
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
    let done = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&done);
    let env = ScriptEnv::new();
    Runtime::builder(env)
        .workers(1)
        .drain(Drain::Wait)
        .run(move || chain(10_000, done))
        .unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn the_rest_is_cancelled_when_the_main_fiber_ends() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (started, unstarted) = (Counted(Arc::clone(&drops)), Counted(Arc::clone(&drops)));
    run(move || {
        drop(spawn(move || {
            let _started = started;
            sleep(Duration::MAX);
        }));
        yield_now();
        drop(spawn(move || drop(unstarted)));
    });
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn draining_by_waiting_lets_the_rest_finish() {
    let done = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&done);
    let env = ScriptEnv::new();
    Runtime::builder(env)
        .workers(1)
        .drain(Drain::Wait)
        .run(move || {
            for _ in 0..10 {
                let done = Arc::clone(&done);
                drop(spawn(move || {
                    sleep(Duration::from_secs(3));
                    done.fetch_add(1, Ordering::SeqCst);
                }));
            }
        })
        .unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 10);
}

#[test]
fn a_cancelled_fiber_unwinds_at_its_park_and_its_joiner_is_told() {
    run(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        let fiber = spawn(move || {
            let _counted = counted;
            sleep(Duration::MAX);
            unreachable!("it was cancelled");
        });
        yield_now();
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_fiber_that_was_cancelled_before_it_ran_never_runs() {
    run(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ran);
        let fiber = spawn(move || ran.store(true, Ordering::SeqCst));
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert!(!seen.load(Ordering::SeqCst));
    });
}

#[test]
fn a_cancel_waits_until_the_mask_is_left_and_then_for_the_next_point() {
    run(|| {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let fiber = spawn(move || {
            mask(|| {
                current().unwrap().cancel();
                yield_now();
                steps.lock().unwrap().push("masked");
            });
            steps.lock().unwrap().push("unmasked");
            assert!(is_cancelled());
            checkpoint();
            steps.lock().unwrap().push("never");
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(*seen.lock().unwrap(), ["masked", "unmasked"]);
    });
}

#[test]
fn a_loop_that_catches_unwinds_is_cancelled_at_every_park() {
    run(|| {
        let fiber = spawn(|| {
            let mut caught = 0;
            while caught < 3 {
                let result = std::panic::catch_unwind(|| sleep(Duration::MAX));
                caught += usize::from(result.is_err());
            }
            caught
        });
        yield_now();
        fiber.cancel();
        assert_eq!(fiber.join().unwrap(), 3);
    });
}

#[test]
fn a_timeout_unwinds_its_body_and_lets_a_faster_one_return() {
    run(|| {
        let start = now();
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        let slow = timeout(Duration::from_secs(2), move || {
            let _counted = counted;
            sleep(Duration::MAX);
        });
        assert!(slow.is_err());
        assert_eq!(
            (now() - start, drops.load(Ordering::SeqCst)),
            (Duration::from_secs(2), 1)
        );
        let fast = timeout(Duration::from_secs(2), || {
            sleep(Duration::from_secs(1));
            5
        });
        assert_eq!(fast, Ok(5));
    });
}

#[test]
fn the_outer_of_two_timeouts_unwinds_both_and_the_inner_only_itself() {
    run(|| {
        let outer = timeout(Duration::from_secs(1), || {
            timeout(Duration::from_secs(5), || sleep(Duration::MAX)).is_err()
        });
        assert!(outer.is_err());
        let outer = timeout(Duration::from_secs(5), || {
            timeout(Duration::from_secs(1), || sleep(Duration::MAX)).is_err()
        });
        assert_eq!(outer, Ok(true));
        sleep(Duration::from_secs(10));
    });
}

#[test]
fn unpark_leaves_one_token_and_wakes_a_parked_fiber() {
    run(|| {
        current().unwrap().unpark();
        current().unwrap().unpark();
        park();
        let start = now();
        park_timeout(Duration::from_secs(1));
        assert_eq!(now() - start, Duration::from_secs(1));
        let fiber = spawn(park);
        yield_now();
        fiber.fiber().unpark();
        fiber.join().unwrap();
    });
}

#[test]
fn a_fiber_that_joins_itself_is_told_so() {
    run(|| {
        let (own, handle) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(false)));
        let (place, seen) = (Rc::clone(&own), Rc::clone(&handle));
        let fiber = spawn_local(move || {
            let own: fiber_sched::JoinHandle<()> = place.borrow_mut().take().unwrap();
            seen.set(matches!(own.join(), Err(ExitReason::Deadlock(_))));
        });
        *own.borrow_mut() = Some(fiber);
        yield_now();
        assert!(handle.get());
    });
}

#[test]
fn a_circle_is_found_among_hundreds_who_wait() {
    run(|| {
        let waiting = || {
            let long = spawn(park);
            (long.fiber().clone(), spawn(move || long.join()))
        };
        let others: Vec<_> = (0..600).map(|_| waiting()).collect();
        let (slot, seen) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(None)));
        let (place, told) = (Rc::clone(&slot), Rc::clone(&seen));
        let first = spawn_local(move || {
            while place.borrow().is_none() {
                yield_now();
            }
            let second: fiber_sched::JoinHandle<()> = place.borrow_mut().take().unwrap();
            told.set(Some(matches!(second.join(), Err(ExitReason::Deadlock(_)))));
        });
        let second = spawn_local(move || first.join().unwrap());
        for _ in 0..20 {
            yield_now();
        }
        *slot.borrow_mut() = Some(second);
        while seen.get().is_none() {
            yield_now();
        }
        assert_eq!(seen.get(), Some(true));
        for (fiber, waiter) in others {
            fiber.unpark();
            waiter.join().unwrap().unwrap();
        }
    });
}

#[test]
fn scoped_fibers_borrow_and_end_before_the_scope_does() {
    run(|| {
        let mut numbers = vec![1, 2, 3];
        let total = AtomicUsize::new(0);
        let sum: usize = scope(|s| {
            let handles: Vec<_> = numbers
                .iter()
                .map(|&number| {
                    let total = &total;
                    s.spawn(move || {
                        sleep(Duration::from_secs(number as u64));
                        total.fetch_add(number, Ordering::SeqCst);
                        number
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap())
                .sum()
        });
        numbers.push(4);
        assert_eq!((sum, total.load(Ordering::SeqCst)), (6, 6));
    });
}

#[test]
fn a_scope_whose_body_panics_cancels_its_fibers_and_waits_for_them() {
    run(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            scope(|s| {
                drop(s.spawn(move || {
                    let _counted = counted;
                    sleep(Duration::MAX);
                }));
                yield_now();
                panic!("as planned");
            });
        }));
        assert!(caught.is_err());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_scope_with_a_panicked_fiber_panics_unless_it_was_joined() {
    run(|| {
        let joined = scope(|s| s.spawn(|| panic!("as planned")).join().is_err());
        assert!(joined);
        let caught = std::panic::catch_unwind(|| {
            scope(|s| drop(s.spawn(|| panic!("as planned"))));
        });
        assert!(caught.is_err());
    });
}

#[test]
fn nothing_that_can_wake_anybody_ends_a_closed_world_with_a_report() {
    let result = Runtime::builder(ScriptEnv::new())
        .workers(2)
        .closed_world()
        .run(|| {
            let stuck = FiberBuilder::new().name("stuck").spawn(park).unwrap();
            let _ = stuck.join();
        });
    let Err(RunError::AllAsleep(report)) = result else {
        panic!("{result:?}")
    };
    let mut lines: Vec<_> = report
        .fibers
        .iter()
        .map(|fiber| (fiber.name.as_deref(), fiber.waiting_for))
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, [(Some("main"), "join"), (Some("stuck"), "unpark")]);
    assert!(report.to_string().contains("basic.rs"));
}

#[test]
fn a_park_inside_of_no_suspend_panics_and_names_the_reason() {
    run(|| {
        let caught = spawn(|| no_suspend(|| sleep(Duration::from_secs(1)))).join();
        let Err(ExitReason::Panicked(payload)) = caught else {
            panic!("{caught:?}")
        };
        let message = payload.message().unwrap();
        assert!(
            message.contains("no_suspend, from ") && message.ends_with(": sleep"),
            "{message}"
        );
        no_suspend(|| 1);
        sleep(Duration::from_secs(1));
    });
}

#[test]
fn spawning_outside_of_a_runtime_is_an_error() {
    let _env = ScriptEnv::new();
    assert!(FiberBuilder::new().spawn(|| 1).is_err());
}

#[test]
fn fibers_of_two_workers_take_turns() {
    let env = ScriptEnv::new();
    let total = Runtime::builder(env)
        .workers(2)
        .run(|| {
            let turn = Arc::new(AtomicUsize::new(0));
            let fibers: Vec<_> = (0..4)
                .map(|me| {
                    let turn = Arc::clone(&turn);
                    spawn(move || {
                        for _ in 0..2_000 {
                            while turn.load(Ordering::SeqCst) % 4 != me {
                                yield_now();
                            }
                            turn.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            for fiber in fibers {
                fiber.join().unwrap();
            }
            turn.load(Ordering::SeqCst)
        })
        .unwrap();
    assert_eq!(total, 8_000);
}

#[test]
fn runtimes_end_and_begin_again_a_hundred_times() {
    let env = ScriptEnv::new();
    for round in 0..100 {
        let value = Runtime::builder(env.clone()).workers(2).run(|| {
            (0..10)
                .map(|index| spawn(move || index).join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(value.unwrap(), 45, "round {round}");
    }
}

#[test]
fn a_scoped_fiber_has_the_name_that_it_was_given() {
    run(|| {
        let local = String::from("borrowed");
        scope(|s| {
            let named = FiberBuilder::new().name("worker bee");
            let handle = named
                .spawn_scoped(s, || (current().unwrap().to_string(), local.len()))
                .unwrap();
            let (name, len) = handle.join().unwrap();
            assert!(name.contains("worker bee"), "{name}");
            assert_eq!(len, 8);
        });
    });
}

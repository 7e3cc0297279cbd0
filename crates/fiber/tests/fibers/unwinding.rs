//! Waiting in a destructor that runs because of a panic or a cancel: what others of the same thread
//! see of it, which is nothing.

use alloc::{rc::Rc, sync::Arc};
use core::{cell::Cell, panic::AssertUnwindSafe, time::Duration};
use std::{
    panic::{catch_unwind, resume_unwind},
    sync::Mutex,
    thread::panicking,
};

use fiber::{
    Drain, ExitReason, FiberBuilder, JoinHandle, Runtime, StackClass, checkpoint, current, park,
    sleep, spawn, spawn_local, yield_now,
};
use host_linux::{Config, Linux};

use crate::support::{Count, in_worlds, on_linux, run_to_the_end};

const MS: Duration = Duration::from_millis(1);

/// On one worker, so that all fibers share its thread; in the worlds sometimes on more.
fn everywhere(main: fn()) {
    in_worlds(200, main);
    assert!(!panicking(), "what was raised here is caught");
    on_linux(1, main);
    assert!(!panicking(), "what was raised here is caught");
}

/// Does something as it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Unwinds and does `body` meanwhile, without a message.
fn unwind_through(body: impl FnMut()) {
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _on_drop = OnDrop(body);
        resume_unwind(Box::new(()));
    }));
    assert!(unwound.is_err());
}

/// A fiber of this worker that parks while it unwinds until somebody unparks it.
fn parks_in_its_unwinding() -> JoinHandle<()> {
    let suspended = Rc::new(Cell::new(false));
    let seen = Rc::clone(&suspended);
    let fiber = spawn_local(move || {
        unwind_through(|| {
            assert!(panicking());
            seen.set(true);
            park();
            assert!(panicking(), "it still unwinds");
        });
        assert!(!panicking(), "it has caught that");
    });
    while !suspended.get() {
        yield_now();
    }
    fiber
}

fn ends(fiber: JoinHandle<()>) {
    fiber.fiber().unpark();
    fiber.join().unwrap();
    assert!(!panicking());
}

#[test]
fn other_fibers_of_the_thread_do_not_look_as_if_they_panicked() {
    everywhere(|| {
        let fiber = parks_in_its_unwinding();
        assert!(!panicking());
        ends(fiber);
    });
}

#[test]
fn a_lock_of_std_that_another_fiber_unlocks_is_not_poisoned() {
    everywhere(|| {
        let mutex = Mutex::new(());
        let guard = mutex.lock().unwrap();
        let fiber = parks_in_its_unwinding();
        drop(guard);
        assert!(!mutex.is_poisoned());
        ends(fiber);
    });
}

#[test]
fn a_lock_of_std_that_another_fiber_holds_as_it_panics_is_poisoned() {
    everywhere(|| {
        let fiber = parks_in_its_unwinding();
        let mutex = Arc::new(Mutex::new(()));
        let other = spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                let _guard = mutex.lock().unwrap();
                resume_unwind(Box::new("as planned"));
            }
        });
        assert!(matches!(other.join(), Err(ExitReason::Panicked(_))));
        assert!(mutex.is_poisoned());
        assert!(!panicking());
        ends(fiber);
    });
}

#[test]
fn our_own_lock_is_not_poisoned_by_another_fiber_and_by_a_panic_it_is() {
    everywhere(|| {
        let (innocent, half_done) = (fiber::sync::Mutex::new(()), fiber::sync::Mutex::new(()));
        let guard = innocent.lock().unwrap();
        let fiber = parks_in_its_unwinding();
        drop(guard);
        assert!(innocent.lock().is_ok());
        unwind_through(|| assert!(panicking()));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = half_done.lock().unwrap();
            resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err() && half_done.is_poisoned());
        ends(fiber);
    });
}

#[test]
fn ten_thousand_waits_in_destructors_leave_nothing_behind() {
    on_linux(1, || {
        for round in 0..10_000 {
            let fiber = spawn(move || {
                unwind_through(|| match round % 2 {
                    0 => yield_now(),
                    _ => park(),
                });
                assert!(!panicking());
            });
            yield_now();
            assert!(!panicking());
            ends(fiber);
        }
    });
    assert!(!panicking());
}

#[test]
fn two_that_wait_in_their_unwinding_go_on_in_either_order() {
    everywhere(|| {
        for first in 0..2 {
            let mut fibers = vec![parks_in_its_unwinding(), parks_in_its_unwinding()];
            assert!(!panicking());
            ends(fibers.remove(first));
            ends(fibers.remove(0));
        }
    });
}

#[test]
fn unwindings_inside_of_each_other_are_set_aside_together() {
    everywhere(|| {
        let fiber = spawn_local(|| {
            unwind_through(|| {
                unwind_through(|| {
                    unwind_through(park);
                    assert!(panicking(), "two are left");
                    yield_now();
                });
                assert!(panicking(), "one is left");
                yield_now();
                assert!(panicking(), "one is left");
            });
            assert!(!panicking());
        });
        let other = parks_in_its_unwinding();
        assert!(!panicking());
        fiber.fiber().unpark();
        yield_now();
        assert!(!panicking());
        ends(other);
        fiber.join().unwrap();
        assert!(!panicking());
    });
}

#[test]
fn another_fiber_hears_of_a_cancel_at_once() {
    everywhere(|| {
        let fiber = parks_in_its_unwinding();
        let points: [fn(); 4] = [
            park,
            checkpoint,
            || sleep(MS * 1_000_000),
            || fiber::sync::Latch::new().wait(),
        ];
        for point in points {
            let other = spawn(move || {
                current().unwrap().cancel();
                point();
                unreachable!("it was cancelled");
            });
            assert!(matches!(other.join(), Err(ExitReason::Cancelled(_))));
        }
        ends(fiber);
    });
}

#[test]
fn a_cancelled_fiber_waits_in_its_destructors() {
    everywhere(|| {
        let fiber = spawn(|| {
            let _first = OnDrop(|| {
                sleep(MS);
                assert!(panicking());
            });
            let _second = OnDrop(|| assert_eq!(spawn(panicking).join().ok(), Some(false)));
            park();
        });
        sleep(MS);
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert!(!panicking());
    });
}

#[test]
fn a_run_inside_of_an_unwinding_cancels_its_fibers() {
    let mut runs = 0;
    unwind_through(|| {
        assert!(panicking());
        for workers in [1, 2] {
            let env = Linux::new(Config::default()).unwrap();
            run_to_the_end(env, workers, || {
                assert!(!panicking());
                let waits = spawn(park);
                yield_now();
                waits.cancel();
                assert!(matches!(waits.join(), Err(ExitReason::Cancelled(_))));
                ends(parks_in_its_unwinding());
            });
            assert!(panicking(), "the run is over, the unwinding is not");
            runs += 1;
        }
        host_sim::check(3, |mut sim| {
            sim.node("only", |env| {
                run_to_the_end(env, 2, || {
                    assert!(!panicking());
                    ends(parks_in_its_unwinding());
                });
            });
            sim.run()
        });
        assert!(panicking(), "the world is over, the unwinding is not");
    });
    assert!(!panicking());
    assert_eq!(runs, 2);
}

#[test]
fn a_run_may_cancel_the_rest_in_the_middle_of_an_unwinding() {
    let ended = Count::default();
    let seen = ended.clone();
    let env = Linux::new(Config::default()).unwrap();
    let builder = Runtime::builder(env).workers(1).drain(Drain::CancelRest);
    let run = builder.run(move || {
        let fiber = parks_in_its_unwinding();
        let rest = spawn(move || {
            let _ended = OnDrop(|| seen.add());
            park();
        });
        yield_now();
        drop(rest);
        fiber.fiber().unpark();
    });
    run.unwrap();
    assert!(!panicking());
    assert_eq!(ended.get(), 1);
}

#[test]
fn the_smallest_stack_is_enough() {
    on_linux(1, || {
        let fiber = FiberBuilder::new().stack(StackClass::K16).spawn(|| {
            unwind_through(|| unwind_through(yield_now));
        });
        fiber.unwrap().join().unwrap();
        assert!(!panicking());
    });
}

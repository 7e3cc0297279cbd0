//! Operations that are made when they are performed.

use alloc::sync::Arc;
use core::{cell::Cell, time::Duration};

use fiber::{
    ExitReason, JoinHandle, catch_unwind, choose,
    operation::{
        BoxedOperation, Latch, Nack, Operation, always, choose_dyn, guard, guard_dyn, guard_with,
        never, timeout, try_perform, with_nack_dyn,
    },
    sleep, spawn,
    sync::{Mutex, channel},
    yield_now,
};

use crate::support::{Count, on_both, on_linux};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_guard_knows_whether_its_performer_waits_or_only_tries() {
    on_linux(1, || {
        let seen = Cell::new(None);
        let asks = || {
            guard_with(|how| {
                seen.set(Some(how.is_try()));
                never::<()>()
            })
        };
        assert!(try_perform(asks()).is_err());
        assert_eq!(seen.take(), Some(true));
        assert!(asks().perform_timeout(Duration::ZERO).is_err());
        assert_eq!(seen.take(), Some(false));
    });
}

#[test]
fn guards_run_before_anything_is_tried_and_may_wait() {
    on_both(|| {
        let (sender, receiver) = channel::bounded(1);
        let value = choose! {
            value = receiver.recv_operation() => value.unwrap(),
            value = guard(|| {
                sleep(MS);
                sender.send(7).unwrap();
                never()
            }) => value,
        };
        assert_eq!(value, 7);
    });
}

#[test]
fn a_guard_that_is_not_performed_does_not_run_and_a_tried_one_not_twice() {
    on_linux(1, || {
        let ran = Count::default();
        let make = || {
            let ran = ran.clone();
            guard(move || {
                ran.add();
                never::<()>()
            })
        };
        drop(make());
        assert_eq!(ran.get(), 0);
        let tried = try_perform(make()).unwrap_err();
        assert_eq!(ran.get(), 1);
        assert!(try_perform(tried).is_err());
        assert_eq!(ran.get(), 1);
    });
}

#[test]
fn what_is_done_about_losing_is_done_before_the_winner_goes_on() {
    on_both(|| {
        let told = Cell::new(0);
        let after = choose! {
            seen = always(()).wrap(|()| told.get()) => seen,
            () = never().wrap_abort(|| told.set(told.get() + 1)) => unreachable!(),
            () = timeout(Duration::from_secs(9)).wrap_abort(|| {
                yield_now();
                told.set(told.get() + 10);
            }) => unreachable!(),
        };
        assert_eq!(after, 11);
        always(()).wrap_abort(|| told.set(99)).perform();
        assert_eq!(told.get(), 11, "it was chosen");
        drop(always(()).wrap_abort(|| told.set(99)));
        assert_eq!(told.get(), 11, "it was never tried");
        assert!(try_perform(never::<()>().wrap_abort(|| told.set(12))).is_err());
        assert_eq!(told.get(), 12);
    });
}

#[test]
fn a_loser_that_panics_does_not_keep_what_was_won() {
    on_both(|| {
        let mutex = Mutex::new(());
        let caught = catch_unwind(|| {
            choose! {
                _guard = mutex.lock_operation() => {}
                () = never().wrap_abort(|| panic!("a loser")) => {}
            }
        });
        assert!(caught.is_err());
        assert!(mutex.try_lock().is_ok(), "the lock was won and let go");
    });
}

#[test]
fn a_cancelled_performer_does_what_is_to_be_done_about_losing() {
    on_both(|| {
        let told = Count::default();
        let waiter = spawn({
            let told = told.clone();
            move || never::<()>().wrap_abort(|| told.add()).perform()
        });
        yield_now();
        waiter.cancel();
        assert!(waiter.join().is_err());
        // It was cancelled before it ran, or while it waited.
        assert!(told.get() <= 1);
    });
}

/// Sleeps as it is dropped, so that whoever unwinds is suspended in that.
struct Sleeps(Duration);

impl Drop for Sleeps {
    fn drop(&mut self) {
        sleep(self.0);
    }
}

#[test]
fn a_cancelled_performer_unwinds_although_another_fiber_is_unwinding_by_then() {
    on_both(|| {
        let waiter = spawn(|| {
            never::<()>()
                .wrap_abort(|| sleep(MS * 10))
                .perform_timeout(MS * 1_000_000)
        });
        let other = spawn(|| {
            let _sleeps = Sleeps(MS * 20);
            sleep(MS * 5);
            panic!("while the first one does something about losing");
        });
        sleep(MS);
        waiter.cancel();
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        assert!(other.join().is_err());
    });
}

/// Cancels and joins as it is dropped.
struct Ends(Option<JoinHandle<()>>);

impl Drop for Ends {
    fn drop(&mut self) {
        let fiber = self.0.take().unwrap();
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
    }
}

#[test]
fn one_that_unwinds_can_cancel_and_join_those_that_wait() {
    on_both(|| {
        let waits: [fn(); 2] = [|| never().perform(), || sleep(MS * 1_000_000)];
        for wait in waits {
            let ends = spawn(move || {
                let _ends = Ends(Some(spawn(wait)));
                sleep(MS);
                panic!("with a fiber that must end first");
            });
            assert!(matches!(ends.join(), Err(ExitReason::Panicked(_))));
        }
    });
}

/// A chain of guards and choices, made as it goes.
fn deep<'a>(
    depth: usize,
    nacks: Arc<Mutex<Vec<Nack>>>,
    latch: &'a Latch,
) -> BoxedOperation<'a, ()> {
    with_nack_dyn(move |nack| {
        if depth.is_multiple_of(1000) || depth < 10 {
            nacks.lock().unwrap().push(nack);
        }
        guard_dyn(move |_| {
            let inner = match depth {
                0 => latch.wait_operation("the innermost").boxed(),
                _ => deep(depth - 1, nacks, latch),
            };
            choose_dyn([never().boxed(), inner])
        })
    })
}

#[test]
fn forty_thousand_guards_inside_of_each_other_need_no_more_stack_than_one() {
    on_linux(2, || {
        let latch = Arc::new(Latch::new());
        let nacks = Arc::new(Mutex::new(Vec::new()));
        // Not chosen: all nacks are ready.
        assert!(
            deep(10, Arc::clone(&nacks), &latch)
                .perform_timeout(MS)
                .is_err()
        );
        assert_eq!(nacks.lock().unwrap().len(), 10);
        assert!(nacks.lock().unwrap().drain(..).all(|nack| nack.is_ready()));
        // Cancelled while it waits, 40 000 deep.
        let waiter = spawn({
            let (nacks, latch) = (Arc::clone(&nacks), Arc::clone(&latch));
            move || deep(40_000, nacks, &latch).perform()
        });
        while nacks.lock().unwrap().len() < 50 {
            sleep(MS);
        }
        sleep(MS);
        assert!(!nacks.lock().unwrap().iter().any(Nack::is_ready));
        waiter.cancel();
        assert!(waiter.join().is_err());
        assert!(nacks.lock().unwrap().drain(..).all(|nack| nack.is_ready()));
        // Chosen: none is.
        latch.open();
        deep(40_000, Arc::clone(&nacks), &latch).perform();
        assert_eq!(nacks.lock().unwrap().len(), 50);
        assert!(!nacks.lock().unwrap().iter().any(Nack::is_ready));
    });
}

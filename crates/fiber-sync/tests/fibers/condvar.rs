//! `Condvar` on fibers.

use std::sync::Arc;

use fiber_core::fiber::ExitReason;
use fiber_sched::{checkpoint, spawn, yield_now};
use fiber_sync::{Condvar, Mutex};

use super::{SECOND, join_all, now, on_all_seeds, run, settle};

type Shared<T> = Arc<(Mutex<T>, Condvar)>;

fn shared<T>(value: T) -> Shared<T> {
    Arc::new((Mutex::new(value), Condvar::new()))
}

/// A fiber that waits once, writes its number down, and goes on to a checkpoint.
fn waiter(shared: &Shared<Vec<usize>>, number: usize) -> fiber_sched::JoinHandle<()> {
    let shared = Arc::clone(shared);
    spawn(move || {
        let guard = shared.0.lock().unwrap();
        shared.1.wait(guard).unwrap().push(number);
        checkpoint();
    })
}

#[test]
fn waiters_are_notified_in_the_order_in_which_they_came() {
    run(|| {
        let shared = shared(Vec::new());
        let waiters = [0, 1, 2].map(|number| waiter(&shared, number));
        settle();
        shared.1.notify_one();
        settle();
        assert_eq!(*shared.0.lock().unwrap(), [0]);
        shared.1.notify_all();
        join_all(waiters);
        assert_eq!(*shared.0.lock().unwrap(), [0, 1, 2]);
    });
}

#[test]
fn a_cancelled_waiter_takes_no_notification_along() {
    run(|| {
        let shared = shared(Vec::new());
        let [first, second] = [0, 1].map(|number| waiter(&shared, number));
        settle();
        first.cancel();
        shared.1.notify_one();
        second.cancel();
        // The first had been notified by then, so the cancel came too late for it.
        assert!(matches!(first.join(), Err(ExitReason::Cancelled(_))));
        assert!(matches!(second.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(*shared.0.try_lock().unwrap(), [0]);
    });
}

#[test]
fn a_waiter_that_has_left_is_not_notified() {
    run(|| {
        let shared = shared(Vec::new());
        let [first, second] = [0, 1].map(|number| waiter(&shared, number));
        settle();
        first.cancel();
        assert!(matches!(first.join(), Err(ExitReason::Cancelled(_))));
        shared.1.notify_one();
        second.join().unwrap();
        assert_eq!(*shared.0.try_lock().unwrap(), [1]);
    });
}

#[test]
fn a_waiter_can_be_cancelled_and_joined_by_one_that_holds_the_mutex() {
    run(|| {
        let shared = shared(Vec::new());
        let waiter = waiter(&shared, 0);
        settle();
        let guard = shared.0.lock().unwrap();
        waiter.cancel();
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        drop(guard);
        assert!(!shared.0.is_poisoned());
    });
}

#[test]
fn a_notified_waiter_gets_the_mutex_although_it_is_cancelled() {
    run(|| {
        let shared = shared(Vec::new());
        let waiter = waiter(&shared, 0);
        settle();
        let guard = shared.0.lock().unwrap();
        shared.1.notify_one();
        settle();
        waiter.cancel();
        settle();
        assert!(
            !waiter.is_finished(),
            "it waits for the mutex, with a signal in hand"
        );
        drop(guard);
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(*shared.0.try_lock().unwrap(), [0]);
    });
}

#[test]
fn waits_end_when_their_time_is_over() {
    run(|| {
        let shared = shared(0);
        let (mutex, condvar) = &*shared;
        let (guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), SECOND).unwrap();
        assert!(result.timed_out() && now() == SECOND);
        drop(guard);
        let other = Arc::clone(&shared);
        let counter = spawn(move || {
            for _ in 0..4 {
                fiber_sched::sleep(SECOND);
                *other.0.lock().unwrap() += 1;
                other.1.notify_all();
            }
        });
        let wait = |span, until| {
            let guard = mutex.lock().unwrap();
            let waited = condvar.wait_timeout_while(guard, span, |count| *count < until);
            let (guard, result) = waited.unwrap();
            (*guard, result.timed_out(), now())
        };
        assert_eq!(wait(5 * SECOND, 2), (2, false, 3 * SECOND));
        assert_eq!(wait(SECOND / 2, 9), (2, true, 3 * SECOND + SECOND / 2));
        counter.join().unwrap();
    });
}

/// Consumers that are cancelled at any instant: each token is taken by somebody who lives, or lies
/// there still, and nobody waits while one lies there.
#[test]
fn cancels_at_random_moments_swallow_no_signal() {
    on_all_seeds(|dice| {
        let tokens = shared(0_u32);
        let consumers: Vec<_> = (0..5)
            .map(|_| {
                let tokens = Arc::clone(&tokens);
                spawn(move || {
                    let mut taken = tokens
                        .1
                        .wait_while(tokens.0.lock().unwrap(), |tokens| *tokens == 0)
                        .unwrap();
                    *taken -= 1;
                })
            })
            .collect();
        for consumer in &consumers[..3] {
            dice.pause(3);
            if dice.below(2) == 0 {
                consumer.cancel();
            }
            if dice.below(2) == 0 {
                *tokens.0.lock().unwrap() += 1;
                tokens.1.notify_one();
            }
        }
        dice.pause(3);
        // Enough for all who are left, one signal each: if one was swallowed, somebody waits for
        // ever.
        for _ in &consumers {
            *tokens.0.lock().unwrap() += 1;
            tokens.1.notify_one();
            yield_now();
        }
        for consumer in consumers {
            match consumer.join() {
                Ok(()) | Err(ExitReason::Cancelled(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert!(tokens.0.try_lock().is_ok());
    });
}

//! `Condvar` on threads.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use fiber_sync::{Condvar, Mutex};

use super::{LONG, SHORT, host};

#[test]
fn a_queue_of_a_mutex_and_two_conditions_moves_everything_once() {
    host();
    let queue = Mutex::new(VecDeque::new());
    let (not_empty, not_full) = (Condvar::new(), Condvar::new());
    let take = || {
        let mut sum = 0_u64;
        for _ in 0..500 {
            let mut queue = not_empty
                .wait_while(queue.lock().unwrap(), |queue| queue.is_empty())
                .unwrap();
            sum += queue.pop_front().unwrap();
            drop(queue);
            not_full.notify_one();
        }
        sum
    };
    let sums = thread::scope(|scope| {
        let takers = [scope.spawn(take), scope.spawn(take)];
        for range in [0..500_u64, 500..1_000] {
            let (queue, not_empty, not_full) = (&queue, &not_empty, &not_full);
            scope.spawn(move || {
                for number in range {
                    let mut queue = not_full
                        .wait_while(queue.lock().unwrap(), |queue| queue.len() >= 2)
                        .unwrap();
                    queue.push_back(number);
                    drop(queue);
                    not_empty.notify_one();
                }
            });
        }
        takers.map(|taker| taker.join().unwrap())
    });
    assert_eq!(sums[0] + sums[1], 499_500);
}

#[test]
fn notify_all_wakes_everybody() {
    host();
    let (state, changed) = (Mutex::new((0, false)), Condvar::new());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut state = state.lock().unwrap();
                state.0 += 1;
                changed.notify_all();
                drop(changed.wait_while(state, |state| !state.1).unwrap());
            });
        }
        let mut state = changed
            .wait_while(state.lock().unwrap(), |state| state.0 < 3)
            .unwrap();
        state.1 = true;
        drop(state);
        changed.notify_all();
    });
}

#[test]
fn a_wait_that_takes_too_long_has_the_mutex_again() {
    host();
    let (mutex, condvar) = (Mutex::new(1), Condvar::new());
    let (guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), SHORT).unwrap();
    assert!(result.timed_out());
    assert!(mutex.try_lock().is_err());
    drop(guard);
    let (guard, result) = condvar
        .wait_timeout_while(mutex.lock().unwrap(), SHORT, |value| *value == 1)
        .unwrap();
    assert!(result.timed_out());
    drop(guard);
    let (guard, result) = condvar
        .wait_timeout_while(mutex.lock().unwrap(), LONG, |value| *value != 1)
        .unwrap();
    assert!(!result.timed_out());
    assert_eq!(*guard, 1);
}

#[test]
fn a_notification_without_waiters_is_not_kept() {
    host();
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    condvar.notify_one();
    condvar.notify_all();
    let (_guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), SHORT).unwrap();
    assert!(result.timed_out());
}

#[test]
fn waiting_with_two_mutexes_at_once_panics() {
    host();
    let (first, second) = (Mutex::new(false), Mutex::new(()));
    let condvar = Condvar::new();
    thread::scope(|scope| {
        let mut guard = first.lock().unwrap();
        scope.spawn(|| {
            // The first one waits: it gave its mutex away.
            let mut started = first.lock().unwrap();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                drop(condvar.wait(second.lock().unwrap()));
            }));
            let message = panicked.unwrap_err();
            let message = message.downcast_ref::<&str>().unwrap();
            assert!(message.contains("different mutex"), "{message}");
            *started = true;
            condvar.notify_one();
        });
        guard = condvar.wait_while(guard, |started| !*started).unwrap();
        drop(guard);
    });
    // Nobody waits now, so another mutex is welcome.
    second.clear_poison();
    let (_guard, result) = condvar.wait_timeout(second.lock().unwrap(), SHORT).unwrap();
    assert!(result.timed_out());
}

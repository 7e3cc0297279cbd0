//! Cancels while one waits for a lock, and while one holds it.

use alloc::sync::Arc;
use core::{panic::AssertUnwindSafe, time::Duration};
use std::panic::catch_unwind;

use fiber::{
    ExitReason, checkpoint,
    core::{
        choose,
        operation::{self, perform},
    },
    mask, park, spawn,
    sync::{Condvar, Mutex, RwLock, Semaphore},
    yield_now,
};

use crate::support::on_both;

/// Lets others run, for a while that is other in each world and run.
fn pause() {
    let now = fiber::core::time::now().as_nanos();
    for _ in 0..(now.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 8 {
        yield_now();
    }
}

#[test]
fn one_that_is_cancelled_in_the_queue_is_not_served_and_the_next_one_is() {
    on_both(|| {
        let (semaphore, served) = (
            Arc::new(Semaphore::new(0)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let (other, served) = (Arc::clone(&semaphore), Arc::clone(&served));
                let waiter = spawn(move || {
                    let permit = other.acquire();
                    served.lock().unwrap().push(number);
                    permit.forget();
                });
                yield_now();
                waiter
            })
            .collect();
        waiters[1].cancel();
        let mut waiters = waiters.into_iter();
        let [zero, one, two] = [0; 3].map(|_| waiters.next().unwrap());
        assert!(matches!(one.join(), Err(ExitReason::Cancelled(_))));
        semaphore.add_permits(1);
        semaphore.add_permits(1);
        zero.join().unwrap();
        two.join().unwrap();
        let mut served = served.lock().unwrap().clone();
        served.sort_unstable();
        assert_eq!(served, [0, 2]);
        semaphore.add_permits(1);
        assert_eq!(semaphore.available_permits(), 1);
        spawn(move || drop(semaphore.acquire())).join().unwrap();
    });
}

#[test]
fn a_waiter_that_is_cancelled_leaves_the_mutex_to_the_next() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let [cancelled, next] = [0; 2].map(|_| {
            let mutex = Arc::clone(&mutex);
            spawn(move || *mutex.lock().unwrap() += 1)
        });
        yield_now();
        cancelled.cancel();
        assert!(matches!(cancelled.join(), Err(ExitReason::Cancelled(_))));
        drop(guard);
        next.join().unwrap();
        assert_eq!(*mutex.try_lock().unwrap(), 1);
    });
}

/// The holder unlocks as a waiter is cancelled: whether that one was woken, was passed by or has
/// the lock, those behind it get it.
#[test]
fn a_waiter_that_is_cancelled_as_it_is_woken_wakes_the_next() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                spawn(move || *mutex.lock().unwrap() += 1)
            })
            .collect();
        pause();
        drop(guard);
        waiters[0].cancel();
        drop(mutex.lock().unwrap());
        waiters[1].cancel();
        let ended = waiters.into_iter().map(|waiter| waiter.join());
        let served = ended.filter(Result::is_ok).count();
        assert!(served >= 2);
        assert_eq!(*mutex.try_lock().unwrap(), served);
    });
}

#[test]
fn a_holder_that_is_cancelled_releases_and_does_not_poison() {
    on_both(|| {
        let shared = Arc::new((Mutex::new(7), RwLock::new(7)));
        let other = Arc::clone(&shared);
        let holder = spawn(move || {
            let _mutex = other.0.lock().unwrap();
            let _lock = other.1.write().unwrap();
            park();
        });
        pause();
        holder.cancel();
        assert!(matches!(holder.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(*shared.0.lock().unwrap(), 7);
        assert_eq!(*shared.1.read().unwrap(), 7);
    });
}

#[test]
fn a_mask_around_the_use_of_a_lock_does_not_keep_a_cancel_from_those_who_wait_for_it() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let waiter = spawn(move || {
            let mut value = other.lock().unwrap();
            mask(|| {
                yield_now();
                *value += 1;
            });
        });
        yield_now();
        waiter.cancel();
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        drop(guard);
        assert_eq!(*mutex.try_lock().unwrap(), 0);
    });
}

#[test]
fn a_panic_in_a_write_section_poisons_and_wakes_those_who_wait() {
    on_both(|| {
        let shared = Arc::new((Mutex::new(()), RwLock::new(())));
        let reading = catch_unwind(AssertUnwindSafe(|| {
            let _reading = shared.1.read().unwrap();
            panic!("only reading");
        }));
        assert!(reading.is_err());
        assert!(!shared.1.is_poisoned(), "a reader leaves nothing half done");
        let other = Arc::clone(&shared);
        let holder = spawn(move || {
            let _mutex = other.0.lock().unwrap();
            let _writing = other.1.write().unwrap();
            yield_now();
            panic!("half done");
        });
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let shared = Arc::clone(&shared);
                spawn(move || match number {
                    0 => shared.0.lock().is_err(),
                    1 => shared.1.read().is_err(),
                    _ => shared.1.write().is_err(),
                })
            })
            .collect();
        assert!(matches!(holder.join(), Err(ExitReason::Panicked(_))));
        for waiter in waiters {
            // One that came before the holder was well served; none waits for ever.
            waiter.join().unwrap();
        }
        assert!(shared.0.lock().is_err() && shared.1.read().is_err());
    });
}

#[test]
fn a_lock_that_a_choice_did_not_choose_is_not_locked() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let chooser = spawn(move || {
            choose! {
                _ = other.lock_operation() => panic!("it is held"),
                () = operation::timeout(Duration::from_millis(1)) => {},
            }
        });
        chooser.join().unwrap();
        drop(guard);
        assert!(mutex.try_lock().is_ok());
        // Free, it is chosen.
        choose! {
            guard = mutex.lock_operation() => *guard.unwrap() += 1,
            () = operation::never::<()>() => {},
        }
        assert_eq!(*mutex.try_lock().unwrap(), 1);
    });
}

#[test]
fn a_lock_that_was_chosen_is_there_although_a_cancel_came_too() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let waiter = spawn(move || {
            *perform(other.lock_operation()).unwrap() += 1;
            checkpoint();
        });
        pause();
        drop(guard);
        waiter.cancel();
        let ended = waiter.join();
        let value = *mutex.try_lock().unwrap();
        assert!(ended.is_err() || value == 1);
        assert!(value <= 1);
    });
}

/// A loop of waits is cancelled at any instant; then others still get the mutex and the signals.
#[test]
fn a_cancelled_loop_of_waits_leaves_nothing_behind() {
    on_both(|| {
        let shared = Arc::new((Mutex::new(0_u32), Condvar::new()));
        let loops: Vec<_> = (0..3)
            .map(|_| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    let mut guard = shared.0.lock().unwrap();
                    loop {
                        *guard += 1;
                        guard = shared.1.wait(guard).unwrap();
                    }
                })
            })
            .collect();
        let next = {
            let shared = Arc::clone(&shared);
            spawn(move || {
                for _ in 0..4 {
                    drop(shared.0.lock().unwrap());
                    shared.1.notify_one();
                    yield_now();
                }
            })
        };
        for waiter in &loops {
            pause();
            waiter.cancel();
        }
        for waiter in loops {
            assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        }
        next.join().unwrap();
        assert!(
            shared.0.try_lock().is_ok(),
            "it is locked, or a node was left"
        );
        // Had a node been left in the condition, this one would not be the first.
        let other = Arc::clone(&shared);
        let last = spawn(move || {
            let mut guard = other.0.lock().unwrap();
            *guard = 1_000;
            drop(other.1.wait(guard).unwrap());
        });
        while *shared.0.lock().unwrap() != 1_000 {
            yield_now();
        }
        shared.1.notify_one();
        last.join().unwrap();
    });
}

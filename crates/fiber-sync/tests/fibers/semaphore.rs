//! `Semaphore` on fibers.

use std::sync::Arc;

use fiber_core::fiber::ExitReason;
use fiber_sched::{JoinHandle, checkpoint, spawn, yield_now};
use fiber_sync::{Mutex, Semaphore};

use super::{SECOND, join_all, now, on_all_seeds, run, settle};

type Order = Arc<Mutex<Vec<usize>>>;

/// A fiber that takes permits, writes their number down and keeps them.
fn taker(semaphore: &Arc<Semaphore>, order: &Order, permits: usize) -> JoinHandle<()> {
    let (semaphore, order) = (Arc::clone(semaphore), Arc::clone(order));
    spawn(move || {
        semaphore.acquire_many(permits).forget();
        order.lock().unwrap().push(permits);
    })
}

#[test]
fn a_large_request_is_not_overtaken_by_small_ones() {
    run(|| {
        let (semaphore, order) = (Arc::new(Semaphore::new(1)), Order::default());
        let takers = [3, 1, 2].map(|permits| taker(&semaphore, &order, permits));
        settle();
        assert!(semaphore.try_acquire().is_none(), "the large one is first");
        assert_eq!(semaphore.available_permits(), 1);
        semaphore.add_permits(2);
        settle();
        assert_eq!(*order.lock().unwrap(), [3]);
        semaphore.add_permits(3);
        join_all(takers);
        assert_eq!(*order.lock().unwrap(), [3, 1, 2]);
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn a_cancelled_request_lets_those_behind_it_through() {
    run(|| {
        let (semaphore, order) = (Arc::new(Semaphore::new(2)), Order::default());
        let [large, small, large_too] = [5, 1, 5].map(|permits| taker(&semaphore, &order, permits));
        settle();
        assert!(order.lock().unwrap().is_empty());
        large.cancel();
        assert!(matches!(large.join(), Err(ExitReason::Cancelled(_))));
        small.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
        semaphore.add_permits(4);
        large_too.join().unwrap();
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn a_request_that_takes_too_long_lets_those_behind_it_through() {
    run(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let other = Arc::clone(&semaphore);
        let large = spawn(move || other.acquire_many_timeout(2, SECOND).is_ok());
        yield_now();
        let permit = semaphore.acquire_timeout(5 * SECOND).unwrap();
        assert_eq!(now(), SECOND);
        assert!(!large.join().unwrap());
        drop(permit);
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_cancel_after_permits_were_given_returns_them() {
    run(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let other = Arc::clone(&semaphore);
        let waiter = spawn(move || {
            let _permit = other.acquire();
            checkpoint();
            unreachable!("the cancel comes at the next point");
        });
        settle();
        semaphore.add_permits(1);
        waiter.cancel();
        assert_eq!(semaphore.available_permits(), 0, "it has been served");
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn cancels_and_timeouts_at_random_moments_lose_no_permit() {
    on_all_seeds(|dice| {
        let semaphore = Arc::new(Semaphore::new(4));
        let fibers: Vec<_> = (0..8)
            .map(|number| {
                let semaphore = Arc::clone(&semaphore);
                let (permits, patient) = (1 + dice.below(4) as usize, dice.below(2) == 0);
                spawn(move || {
                    for _ in 0..3 {
                        let permit = if patient {
                            Some(semaphore.acquire_many(permits))
                        } else {
                            semaphore.acquire_many_timeout(permits, SECOND / 1_000).ok()
                        };
                        if number % 2 == 0 {
                            fiber_sched::sleep(SECOND / 1_000);
                        }
                        checkpoint();
                        drop(permit);
                    }
                })
            })
            .collect();
        for fiber in &fibers {
            dice.pause(2);
            if dice.below(3) == 0 {
                fiber.cancel();
            }
        }
        for fiber in fibers {
            let _ = fiber.join();
        }
        assert_eq!(semaphore.available_permits(), 4);
        assert!(semaphore.try_acquire_many(4).is_some(), "a node was left");
    });
}

//! `Semaphore` on threads.

use std::{
    panic::catch_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use fiber_sync::Semaphore;

use super::{LONG, SHORT, host};

#[test]
fn never_more_hold_permits_than_there_are() {
    host();
    let semaphore = Semaphore::new(3);
    let held = AtomicUsize::new(0);
    thread::scope(|scope| {
        for size in [1, 1, 2, 3] {
            let (semaphore, held) = (&semaphore, &held);
            scope.spawn(move || {
                for _ in 0..500 {
                    let permit = semaphore.acquire_many(size);
                    assert!(held.fetch_add(size, Ordering::SeqCst) + size <= 3);
                    thread::yield_now();
                    held.fetch_sub(size, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn permits_of_waiters_that_give_up_are_not_lost() {
    host();
    let semaphore = Semaphore::new(2);
    thread::scope(|scope| {
        for size in [1, 1, 2, 2] {
            let semaphore = &semaphore;
            scope.spawn(move || {
                for _ in 0..300 {
                    let span = Duration::from_micros(1);
                    if let Ok(permit) = semaphore.acquire_many_timeout(size, span) {
                        thread::yield_now();
                        drop(permit);
                    }
                }
            });
        }
    });
    assert_eq!(semaphore.available_permits(), 2);
    assert!(semaphore.try_acquire_many(2).is_some());
}

#[test]
fn what_is_not_there_is_not_taken() {
    host();
    let semaphore = Semaphore::new(1);
    let permit = semaphore.acquire();
    assert_eq!(permit.permits(), 1);
    assert!(semaphore.try_acquire().is_none());
    assert!(semaphore.acquire_timeout(SHORT).is_err());
    assert!(semaphore.acquire_many(0).permits() == 0);
    drop(permit);
    assert!(semaphore.acquire_timeout(LONG).is_ok());
}

#[test]
fn forgotten_permits_are_gone_until_they_are_added() {
    let semaphore = Semaphore::new(2);
    semaphore.acquire().forget();
    assert_eq!(semaphore.available_permits(), 1);
    semaphore.add_permits(2);
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn too_many_permits_are_refused() {
    let semaphore = Semaphore::new(usize::MAX);
    let refused = catch_unwind(|| semaphore.add_permits(1));
    assert!(refused.is_err());
    assert_eq!(semaphore.available_permits(), usize::MAX);
}

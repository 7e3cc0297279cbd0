//! Keeping others out, being woken in order, and limits of time.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber::{
    JoinHandle, spawn,
    sync::{Barrier, Condvar, Counter, LockTimeoutError, Mutex, RwLock, Semaphore, WaitGroup},
    yield_now,
};

use crate::support::on_both;

const MOMENT: Duration = Duration::from_micros(50);

fn join_all(fibers: impl IntoIterator<Item = JoinHandle<()>>) {
    for fiber in fibers {
        fiber.join().unwrap();
    }
}

#[test]
fn counts_under_a_mutex_are_all_there() {
    on_both(|| {
        let total = Arc::new(Mutex::new(0));
        let fibers: Vec<_> = (0..8)
            .map(|number| {
                let total = Arc::clone(&total);
                spawn(move || {
                    for _ in 0..8 {
                        let mut total = total.lock().unwrap();
                        let seen = *total;
                        if number % 2 == 0 {
                            yield_now();
                        }
                        *total = seen + 1;
                    }
                })
            })
            .collect();
        join_all(fibers);
        assert_eq!(*total.try_lock().unwrap(), 64);
    });
}

#[test]
fn locks_with_a_limit_of_time_are_taken_or_not_and_never_lost() {
    on_both(|| {
        let total = Arc::new((Mutex::new(0), AtomicUsize::new(0)));
        let fibers: Vec<_> = (0..6)
            .map(|_| {
                let total = Arc::clone(&total);
                spawn(move || {
                    for _ in 0..4 {
                        match total.0.lock_timeout(MOMENT) {
                            Ok(mut count) => {
                                *count += 1;
                                total.1.fetch_add(1, Ordering::SeqCst);
                                fiber::sleep(MOMENT);
                            }
                            Err(LockTimeoutError::Elapsed) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        join_all(fibers);
        assert_eq!(*total.0.try_lock().unwrap(), total.1.load(Ordering::SeqCst));
    });
}

#[test]
fn conditions_are_waited_for_with_predicates_and_limits_of_time() {
    on_both(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let consumers: Vec<_> = (0..4)
            .map(|number| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    let mut left = shared.0.lock().unwrap();
                    while *left == 0 {
                        left = if number % 2 == 0 {
                            shared.1.wait(left).unwrap()
                        } else {
                            shared.1.wait_timeout(left, MOMENT).unwrap().0
                        };
                    }
                    *left -= 1;
                })
            })
            .collect();
        for _ in 0..2 {
            yield_now();
            *shared.0.lock().unwrap() += 1;
            shared.1.notify_one();
        }
        *shared.0.lock().unwrap() += 2;
        shared.1.notify_all();
        join_all(consumers);
        assert_eq!(*shared.0.try_lock().unwrap(), 0);
    });
}

/// Each writes its number down on the way in, and again, by a hundred more, on the way out.
#[test]
fn those_who_are_notified_at_once_all_come_back_one_by_one() {
    on_both(|| {
        let shared = Arc::new((Mutex::new((Vec::new(), false)), Condvar::new()));
        let waiters: Vec<_> = (0..5)
            .map(|number| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    let mut log = shared.0.lock().unwrap();
                    log.0.push(number);
                    let waited = shared.1.wait_while(log, |log| !log.1);
                    waited.unwrap().0.push(100 + number);
                })
            })
            .collect();
        while shared.0.lock().unwrap().0.len() < 5 {
            yield_now();
        }
        shared.0.lock().unwrap().1 = true;
        shared.1.notify_one();
        shared.1.notify_all();
        join_all(waiters);
        let log = shared.0.try_lock().unwrap();
        let (entered, left) = log.0.split_at(5);
        let mut left: Vec<_> = left.iter().map(|number| number - 100).collect();
        assert_eq!(left.len(), 5);
        left.sort_unstable();
        let mut entered = entered.to_vec();
        entered.sort_unstable();
        assert_eq!(entered, left);
    });
}

#[test]
fn a_writer_is_alone_and_readers_are_together() {
    on_both(|| {
        let shared = Arc::new((RwLock::new((0, 0)), AtomicUsize::new(0)));
        let fibers: Vec<_> = (0..8)
            .map(|number| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    for _ in 0..4 {
                        if number < 2 {
                            let mut pair = shared.0.write().unwrap();
                            assert_eq!(shared.1.load(Ordering::SeqCst), 0);
                            pair.0 += 1;
                            yield_now();
                            pair.1 += 1;
                        } else {
                            let pair = shared.0.read().unwrap();
                            shared.1.fetch_add(1, Ordering::SeqCst);
                            yield_now();
                            assert_eq!(pair.0, pair.1);
                            shared.1.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        join_all(fibers);
        assert_eq!(*shared.0.try_read().unwrap(), (8, 8));
        assert!(shared.0.try_write().is_ok(), "a reader was left");
    });
}

#[test]
fn a_writer_that_gives_up_holds_nobody_back() {
    on_both(|| {
        let lock = Arc::new(RwLock::new(()));
        let reading = lock.read().unwrap();
        let writer = spawn({
            let lock = Arc::clone(&lock);
            move || drop(lock.write_timeout(MOMENT).unwrap_err())
        });
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let lock = Arc::clone(&lock);
                spawn(move || drop(lock.read().unwrap()))
            })
            .collect();
        join_all(readers);
        writer.join().unwrap();
        drop(reading);
        assert!(lock.try_write().is_ok());
    });
}

#[test]
fn readers_that_keep_coming_do_not_keep_a_writer_out() {
    on_both(|| {
        let shared = Arc::new((RwLock::new(()), AtomicUsize::new(0)));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let shared = Arc::clone(&shared);
                // With three of them there is nearly always one, until the writer has been.
                spawn(move || {
                    while shared.1.load(Ordering::SeqCst) == 0 {
                        let _reading = shared.0.read().unwrap();
                        yield_now();
                    }
                })
            })
            .collect();
        yield_now();
        drop(shared.0.write().unwrap());
        shared.1.store(1, Ordering::SeqCst);
        join_all(readers);
    });
}

#[test]
fn a_barrier_lets_all_through_with_one_leader_a_round() {
    on_both(|| {
        let shared = Arc::new((Barrier::new(4), AtomicUsize::new(0), AtomicUsize::new(0)));
        let fibers: Vec<_> = (0..4)
            .map(|_| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    for round in 1..=5 {
                        shared.1.fetch_add(1, Ordering::SeqCst);
                        let leads = shared.0.wait().is_leader();
                        assert!(shared.1.load(Ordering::SeqCst) >= 4 * round);
                        shared.2.fetch_add(usize::from(leads), Ordering::SeqCst);
                    }
                })
            })
            .collect();
        join_all(fibers);
        assert_eq!(shared.2.load(Ordering::SeqCst), 5);
    });
}

/// Of those who may give up, either so many have passed that the others are served by them, or they
/// are not counted.
#[test]
fn who_gives_up_at_a_barrier_has_not_come() {
    on_both(|| {
        let shared = Arc::new((Barrier::new(2), AtomicUsize::new(0)));
        let fibers: Vec<_> = (0..6)
            .map(|_| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    if shared.0.wait_timeout(MOMENT).is_ok() {
                        shared.1.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        join_all(fibers);
        assert_eq!(shared.1.load(Ordering::SeqCst) % 2, 0);
        assert!(shared.0.try_wait().is_none(), "a node was left");
    });
}

#[test]
fn a_group_is_waited_for_until_its_last_token_is_gone() {
    on_both(|| {
        let (group, done) = (WaitGroup::new(), Arc::new(Counter::new(0)));
        for _ in 0..5 {
            let (token, done) = (group.token(), Arc::clone(&done));
            drop(spawn(move || {
                let token = token.clone();
                yield_now();
                done.add(1);
                drop(token);
            }));
        }
        done.wait(5);
        group.wait();
        assert_eq!((group.tokens(), done.value()), (0, 5));
    });
}

#[test]
fn permits_that_nobody_waits_for_stay_in_the_semaphore() {
    on_both(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiters = [0; 3].map(|_| {
            let semaphore = Arc::clone(&semaphore);
            spawn(move || semaphore.acquire().forget())
        });
        semaphore.add_permits(4);
        join_all(waiters);
        assert_eq!(semaphore.available_permits(), 1);
        let permit = semaphore.acquire_owned(1);
        let mut holders = 0;
        semaphore.holders(&mut |_| holders += 1);
        assert_eq!(holders, 1);
        // A permit may end elsewhere.
        spawn(move || drop(permit)).join().unwrap();
        semaphore.holders(&mut |_| holders += 1);
        assert_eq!((holders, semaphore.available_permits()), (1, 1));
    });
}

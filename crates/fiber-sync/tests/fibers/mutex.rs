//! `Mutex` on fibers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use fiber_core::{
    fiber::ExitReason,
    operation::perform,
    script::{Script, ScriptEnv},
};
use fiber_sched::{Runtime, checkpoint, mask, no_suspend, park, sleep, spawn, timeout, yield_now};
use fiber_sync::{LockTimeoutError, Mutex};

use super::{SECOND, now, on_all_seeds, run, settle};

/// Five fibers that wait for a mutex, in order of their number, which each then writes down.
fn five_waiters(order: &Arc<Mutex<Vec<usize>>>) -> Vec<fiber_sched::JoinHandle<()>> {
    let handles = (0..5).map(|number| {
        let order = Arc::clone(order);
        spawn(move || order.lock().unwrap().push(number))
    });
    let handles = handles.collect();
    settle();
    handles
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    run(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let guard = order.lock().unwrap();
        let waiters = five_waiters(&order);
        drop(guard);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    });
}

/// Locks so many times, each for a turn.
fn hog(order: &Mutex<Vec<usize>>, times: usize) {
    for _ in 0..times {
        let mut order = order.lock().unwrap();
        yield_now();
        order.push(HOG);
    }
}

const HOG: usize = usize::MAX;

#[test]
fn a_holder_that_comes_back_before_it_is_switched_out_passes_a_waiter_by_four_times() {
    run(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let guard = order.lock().unwrap();
        let waiters = five_waiters(&order);
        drop(guard);
        hog(&order, 5);
        let mut expected = vec![HOG; 4];
        expected.extend([0, 1, 2, 3, 4, HOG]);
        assert_eq!(*order.lock().unwrap(), expected);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn a_waiter_is_woken_when_the_holder_is_switched_out_without_the_lock_however_that_is() {
    let leaves: [fn(); 4] = [
        yield_now,
        || sleep(SECOND),
        || (),
        || panic!("as it should"),
    ];
    for leave in leaves {
        run(move || {
            let order = Arc::new(Mutex::new(Vec::new()));
            let shared = Arc::clone(&order);
            let holder = spawn(move || {
                let mut order = shared.lock().unwrap();
                park();
                order.push(HOG);
                drop(order);
                leave();
            });
            yield_now();
            let waiters = five_waiters(&order);
            holder.fiber().unpark();
            settle();
            assert_eq!(*order.try_lock().unwrap(), [HOG, 0, 1, 2, 3, 4]);
            for waiter in waiters {
                waiter.join().unwrap();
            }
            // What it has come to does not matter here.
            let _ = holder.join();
        });
    }
}

#[test]
fn a_holder_that_unlocks_and_lets_others_run_comes_behind_the_one_that_waited() {
    run(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let guard = order.lock().unwrap();
        let waiters = five_waiters(&order);
        drop(guard);
        yield_now();
        order.lock().unwrap().push(HOG);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(order.lock().unwrap().first(), Some(&0));
    });
}

#[test]
fn a_holder_that_has_let_go_of_two_locks_wakes_who_waits_for_each() {
    run(|| {
        let orders = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let guards = orders.each_ref().map(|order| order.lock().unwrap());
        let waiters = orders.each_ref().map(five_waiters);
        drop(guards);
        for waiter in waiters.into_iter().flatten() {
            waiter.join().unwrap();
        }
        for order in orders {
            assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        }
    });
}

#[test]
fn a_cancelled_waiter_leaves_the_queue_and_the_order() {
    run(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let guard = order.lock().unwrap();
        let waiters = five_waiters(&order);
        for cancelled in [0, 2, 4] {
            waiters[cancelled].cancel();
        }
        settle();
        assert!(waiters[2].is_finished());
        drop(guard);
        for (number, waiter) in waiters.into_iter().enumerate() {
            assert_eq!(waiter.join().is_ok(), number % 2 == 1);
        }
        assert_eq!(*order.try_lock().unwrap(), [1, 3]);
    });
}

#[test]
fn a_cancel_after_the_hand_over_comes_too_late() {
    run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let shared = Arc::clone(&mutex);
        let waiter = spawn(move || {
            *perform(shared.lock_operation()).unwrap() += 1;
            checkpoint();
            unreachable!("the cancel comes at the next point");
        });
        settle();
        drop(guard);
        waiter.cancel();
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(*mutex.try_lock().unwrap(), 1);
    });
}

#[test]
fn a_cancel_while_holding_releases_and_does_not_poison() {
    run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let shared = Arc::clone(&mutex);
        let holder = spawn(move || {
            let _guard = shared.lock().unwrap();
            park();
        });
        settle();
        assert!(mutex.try_lock().is_err());
        holder.cancel();
        assert!(matches!(holder.join(), Err(ExitReason::Cancelled(_))));
        assert!(mutex.try_lock().is_ok());
    });
}

#[test]
fn a_timeout_while_holding_releases_and_does_not_poison() {
    run(|| {
        let mutex = Mutex::new(());
        let result = timeout(SECOND, || {
            let _guard = mutex.lock().unwrap();
            park();
        });
        assert!(result.is_err());
        assert!(mutex.try_lock().is_ok());
    });
}

#[test]
fn a_panic_while_holding_releases_and_poisons() {
    run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let shared = Arc::clone(&mutex);
        let holder = spawn(move || {
            let _guard = shared.lock().unwrap();
            yield_now();
            panic!("half done");
        });
        assert!(matches!(holder.join(), Err(ExitReason::Panicked(_))));
        assert!(mutex.is_poisoned());
        assert!(mutex.lock().is_err());
    });
}

#[test]
fn a_panic_after_a_cancel_was_caught_poisons() {
    run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let shared = Arc::clone(&mutex);
        let holder = spawn(move || {
            let caught = catch_unwind(park);
            assert!(caught.is_err());
            drop(caught);
            let _guard = shared.lock().unwrap();
            panic!("half done");
        });
        settle();
        holder.cancel();
        assert!(matches!(holder.join(), Err(ExitReason::Panicked(_))));
        assert!(mutex.is_poisoned());
    });
}

#[test]
fn a_panic_in_a_destructor_of_a_cancelled_fiber_is_told_from_the_cancel() {
    struct Careful(Arc<Mutex<()>>);
    impl Drop for Careful {
        fn drop(&mut self) {
            let mutex = &self.0;
            let _ = catch_unwind(AssertUnwindSafe(|| drop(mutex.lock())));
        }
    }
    run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let careful = Careful(Arc::clone(&mutex));
        let fiber = spawn(move || {
            let _careful = careful;
            park();
        });
        settle();
        fiber.cancel();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert!(!mutex.is_poisoned());
    });
}

#[test]
fn a_lock_that_takes_too_long_ends_when_its_time_is_over() {
    run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let shared = Arc::clone(&mutex);
        let holder = spawn(move || {
            let _guard = shared.lock().unwrap();
            sleep(3 * SECOND);
        });
        yield_now();
        let begin = now();
        let late = mutex.lock_timeout(SECOND);
        assert!(matches!(late, Err(LockTimeoutError::Elapsed)));
        assert_eq!(now() - begin, SECOND);
        assert!(mutex.lock_timeout(5 * SECOND).is_ok());
        assert_eq!(now() - begin, 3 * SECOND);
        holder.join().unwrap();
    });
}

#[test]
fn waiting_where_nothing_may_suspend_panics_and_leaves_no_node() {
    run(|| {
        let mutex = Mutex::new(());
        let guard = mutex.lock().unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            no_suspend(|| drop(mutex.lock()));
        }));
        let message = caught.unwrap_err();
        let message = message.downcast_ref::<String>().unwrap();
        assert!(message.contains("a mutex"), "{message}");
        drop(guard);
        no_suspend(|| assert!(mutex.lock().is_ok()));
    });
}

#[test]
fn a_masked_fiber_waits_on_although_it_is_cancelled() {
    run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let shared = Arc::clone(&mutex);
        let waiter = spawn(move || {
            mask(|| *shared.lock().unwrap() += 1);
            park();
        });
        settle();
        waiter.cancel();
        settle();
        assert!(!waiter.is_finished());
        drop(guard);
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(*mutex.try_lock().unwrap(), 1);
    });
}

#[test]
fn cancels_at_random_moments_lose_no_lock_and_break_no_count() {
    on_all_seeds(|dice| {
        let total = Arc::new(Mutex::new((0, 0)));
        let fibers: Vec<_> = (0..6)
            .map(|_| {
                let total = Arc::clone(&total);
                spawn(move || {
                    for _ in 0..4 {
                        let mut total = total.lock().unwrap();
                        total.0 += 1;
                        checkpoint();
                        yield_now();
                        total.1 += 1;
                    }
                })
            })
            .collect();
        let mut cancelled = 0;
        for fiber in &fibers {
            dice.pause(4);
            if dice.below(2) == 0 {
                fiber.cancel();
                cancelled += 1;
            }
        }
        for fiber in fibers {
            cancelled -= usize::from(fiber.join().is_err());
        }
        let total = total.try_lock().expect("free and not poisoned");
        assert!(total.0 >= total.1 && total.1 >= 4 * cancelled);
    });
}

#[test]
fn fibers_of_two_workers_and_a_plain_thread_share_a_mutex() {
    const EACH: usize = 500;
    let total = Arc::new(Mutex::new(0_usize));
    let work = |total: Arc<Mutex<usize>>| {
        move || {
            for _ in 0..EACH {
                let mut total = total.lock().unwrap();
                let seen = *total;
                if seen.is_multiple_of(16) {
                    yield_now();
                }
                *total = seen + 1;
            }
        }
    };
    let outside = thread::spawn({
        // Plain threads block through a host.
        let env = ScriptEnv::with(Script::new().outsiders());
        let work = work(Arc::clone(&total));
        move || {
            drop(env);
            work();
        }
    });
    Runtime::builder(ScriptEnv::with(Script::new().outsiders()))
        .workers(2)
        .run(|| {
            let fibers: Vec<_> = (0..4).map(|_| spawn(work(Arc::clone(&total)))).collect();
            for fiber in fibers {
                fiber.join().unwrap();
            }
        })
        .unwrap();
    outside.join().unwrap();
    assert_eq!(*total.lock().unwrap(), 5 * EACH);
}

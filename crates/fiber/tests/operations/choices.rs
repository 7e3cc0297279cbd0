//! Choosing: laws, fairness, and that losers leave no trace.

use alloc::sync::Arc;
use core::time::Duration;

use fiber::{
    Drain, RunError, Runtime, choose, mask,
    operation::{
        BoxedOperation, Either, Latch, Operation, always, choose_dyn, never, perform, timeout,
        try_perform,
    },
    sleep, spawn,
    sync::{Mutex, Semaphore, channel},
    yield_now,
};
use host_linux::{Config, Linux};

use crate::support::{in_worlds, on_both, on_linux};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn wrapping_twice_is_wrapping_with_both_and_wrapping_a_choice_is_wrapping_its_arms() {
    on_linux(1, || {
        assert_eq!(always(1).wrap(|n| n + 1).wrap(|n| n * 10).perform(), 20);
        assert_eq!(always(1).wrap(|n| (n + 1) * 10).perform(), 20);
        let whole = never::<u8>()
            .or(always(2))
            .wrap(Either::into_inner)
            .wrap(u32::from);
        let arms = never::<u8>()
            .wrap(u32::from)
            .or(always(2_u8).wrap(u32::from));
        assert_eq!(whole.perform(), 2);
        assert_eq!(arms.perform().into_inner(), 2);
    });
}

#[test]
fn a_choice_of_choices_is_one_choice_whichever_way_it_is_nested() {
    on_linux(1, || {
        let mut counts = [[0; 3]; 3];
        for _ in 0..3000 {
            let left = always(0)
                .or(always(1))
                .wrap(Either::into_inner)
                .or(always(2));
            counts[0][left.perform().into_inner()] += 1;
            let right = always(0).or(always(1).or(always(2)).wrap(Either::into_inner));
            counts[1][right.perform().into_inner()] += 1;
            let boxed = choose_dyn([
                always(0).boxed(),
                choose_dyn([always(1).boxed(), choose_dyn([always(2).boxed()])]),
            ]);
            counts[2][boxed.perform()] += 1;
        }
        for count in counts.as_flattened() {
            assert!((800..1200).contains(count), "{counts:?}");
        }
    });
}

#[test]
fn a_choice_of_nothing_never_is() {
    on_linux(1, || {
        let nothing = choose_dyn(Vec::<BoxedOperation<'_, ()>>::new());
        assert!(try_perform(nothing).is_err());
        assert!(never::<()>().perform_timeout(MS).is_err());
        let or_later = choose_dyn([choose_dyn([]), timeout(MS).boxed()]);
        perform(or_later);
    });
}

#[test]
fn never_alone_waits_until_all_are_asleep() {
    let env = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(env).closed_world().run(|| {
        perform(never::<()>().or(never::<()>()));
    });
    let Err(RunError::AllAsleep(asleep)) = run else {
        panic!("it never is: {run:?}");
    };
    assert_eq!(asleep.fibers.len(), 1);
}

#[test]
fn an_arm_that_can_commit_beats_waiting_and_the_others_are_as_before() {
    on_both(|| {
        let (sender, receiver) = channel::bounded(1);
        let mutex = Mutex::new(());
        let permits = Semaphore::new(1);
        let latch = Latch::new();
        latch.open();
        for _ in 0..50 {
            let held = mutex.lock().unwrap();
            let permit = permits.acquire();
            choose! {
                _ = receiver.recv_operation() => panic!("nothing was sent"),
                _ = mutex.lock_operation() => panic!("it is locked"),
                _ = permits.acquire_operation(1) => panic!("there is none"),
                () = latch.wait_operation("an open door") => {}
                () = timeout(LONG) => panic!("not so late"),
            }
            drop((held, permit));
            assert!(mutex.try_lock().is_ok());
            assert_eq!(permits.available_permits(), 1);
            sender.try_send(1).unwrap();
            assert_eq!(receiver.recv(), Ok(1));
        }
    });
}

#[test]
fn each_arm_of_many_kinds_can_win_and_all_losers_are_retracted() {
    on_both(|| {
        for winner in 0..6 {
            let (values, into) = channel::rendezvous::<u32>();
            let (out, taken) = channel::rendezvous::<u32>();
            let mutex = Arc::new(Mutex::new(0));
            let permits = Arc::new(Semaphore::new(0));
            let latch = Arc::new(Latch::new());
            let child = spawn({
                let latch = Arc::new(Latch::new());
                move || {
                    if winner == 4 {
                        return 4;
                    }
                    latch.wait_operation("the end of the test").perform();
                    0
                }
            });
            let mut child = child;
            let held = (winner != 2).then(|| mutex.lock().unwrap());
            if winner == 2 {
                // The lock is with somebody who gives it back.
                let mutex = Arc::clone(&mutex);
                let (took, tell) = channel::rendezvous();
                drop(spawn(move || {
                    let guard = mutex.lock().unwrap();
                    took.send(()).unwrap();
                    yield_now();
                    drop(guard);
                }));
                tell.recv().unwrap();
            }
            let partner = spawn({
                let (permits, latch) = (Arc::clone(&permits), Arc::clone(&latch));
                let (values, taken) = (values.clone(), taken.clone());
                move || match winner {
                    0 => values.send(0).unwrap(),
                    1 => assert_eq!(taken.recv(), Ok(1)),
                    3 => permits.add_permits(1),
                    5 => drop(latch.open()),
                    _ => {}
                }
            });
            let won = choose! {
                value = into.recv_operation() => value.unwrap(),
                sent = out.send_operation(1) => { sent.unwrap(); 1 }
                guard = mutex.lock_operation() => { drop(guard.unwrap()); 2 }
                permit = permits.acquire_operation(1) => { permit.forget(); 3 }
                result = child.join_operation() => result.unwrap(),
                () = latch.wait_operation("a door") => 5,
                () = timeout(LONG) => 6,
            };
            assert_eq!(won, winner);
            partner.join().unwrap();
            child.cancel();
            drop(held);
            // Nobody is left in any list: what is offered now finds nobody.
            assert!(values.try_send(9).is_err());
            assert!(taken.try_recv().is_err());
            assert!(mutex.try_lock().is_ok());
            permits.add_permits(1);
            assert_eq!(permits.available_permits(), 1);
        }
    });
}

#[test]
fn a_try_of_two_channels_finds_one_if_one_is_always_full() {
    fn race(rounds: usize) {
        let (first, from_first) = channel::bounded(1);
        let (second, from_second) = channel::bounded(1);
        for _ in 0..rounds {
            first.send(()).unwrap();
            let poller = spawn({
                let (one, two) = (from_first.clone(), from_second.clone());
                move || {
                    choose! {
                        received = one.recv_operation() => received.is_ok(),
                        received = two.recv_operation() => received.is_ok(),
                        else => false,
                    }
                }
            });
            second.send(()).unwrap();
            let _ = from_first.try_recv();
            assert!(poller.join().unwrap(), "one of them was full at any time");
            let _ = from_second.try_recv();
        }
    }
    on_linux(2, || race(10_000));
    in_worlds(1000, || race(20));
}

#[test]
fn a_choice_that_is_only_tried_leaves_no_trace() {
    on_both(|| {
        let (sender, receiver) = channel::rendezvous::<u32>();
        let mutex = Mutex::new(());
        let held = mutex.lock().unwrap();
        for _ in 0..10 {
            let tried = choose! {
                _ = sender.send_operation(1) => true,
                _ = receiver.recv_operation() => true,
                _ = mutex.lock_operation() => true,
                () = timeout(MS) => true,
                else => false,
            };
            assert!(!tried);
        }
        drop(held);
        assert!(mutex.try_lock().is_ok());
        assert!(receiver.try_recv().is_err());
        assert!(sender.try_send(1).is_err());
    });
}

#[test]
fn arms_that_are_always_ready_are_chosen_about_equally_often() {
    on_linux(1, || {
        for capacity in [1, 100] {
            let (sender, receiver) = channel::bounded(capacity);
            let mut ones = 0;
            for _ in 0..1000 {
                choose! {
                    sent = sender.send_operation(0) => sent.unwrap(),
                    sent = sender.send_operation(1) => sent.unwrap(),
                }
                ones += receiver.recv().unwrap();
            }
            assert!((300..700).contains(&ones), "{ones} of 1000");
        }
    });
}

#[test]
fn a_lock_that_was_won_is_had_even_if_a_cancel_came_at_that_moment() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock().unwrap();
        let (ready, is_ready) = channel::bounded(1);
        let waiter = spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                ready.send(()).unwrap();
                choose! {
                    guard = mutex.lock_operation() => {
                        let mut guard = guard.unwrap();
                        mask(yield_now);
                        *guard += 1;
                    }
                    () = timeout(LONG) => panic!("not so late"),
                }
            }
        });
        is_ready.recv().unwrap();
        yield_now();
        drop(held);
        waiter.cancel();
        let ended = waiter.join();
        // Won or not, nobody has it now, and it is not poisoned.
        let count = *mutex.try_lock().unwrap();
        assert_eq!(count, i32::from(ended.is_ok()));
    });
}

#[test]
fn a_cancelled_choice_takes_nothing_along() {
    on_both(|| {
        let (sender, receiver) = channel::rendezvous();
        let (other, others) = channel::rendezvous::<u32>();
        let waiter = spawn({
            let receiver = receiver.clone();
            move || {
                choose! {
                    value = receiver.recv_operation() => value.unwrap(),
                    value = others.recv_operation() => value.unwrap(),
                }
            }
        });
        yield_now();
        let sent = sender.try_send(5).is_ok();
        waiter.cancel();
        assert_eq!(waiter.join().ok(), sent.then_some(5));
        assert!(sender.try_send(6).is_err());
        assert!(other.try_send(6).is_err());
    });
}

#[test]
fn what_stands_behind_an_arm_belongs_to_the_function_around_it() {
    fn first(receiver: &channel::Receiver<u32>, late: bool) -> Result<u32, channel::RecvError> {
        loop {
            choose! {
                value = receiver.recv_operation() => {
                    let value = value?;
                    if value == 0 {
                        continue;
                    }
                    return Ok(value);
                }
                () = if late { timeout(Duration::ZERO) } else { timeout(LONG) } => break,
            }
        }
        Ok(0)
    }
    on_linux(1, || {
        let (sender, receiver) = channel::bounded(4);
        sender.send(0).unwrap();
        sender.send(7).unwrap();
        assert_eq!(first(&receiver, false), Ok(7));
        assert_eq!(first(&receiver, true), Ok(0));
        drop(sender);
        assert_eq!(first(&receiver, false), Err(channel::RecvError));
    });
}

#[test]
fn boxes_inside_of_boxes_end_with_a_word_about_what_to_do() {
    on_linux(1, || {
        let caught = fiber::catch_unwind(|| {
            let mut operation = always(0_u32).boxed();
            for _ in 0..100 {
                operation = operation.wrap(|n| n + 1).boxed();
            }
            operation.perform()
        });
        let panic = caught.unwrap_err();
        assert!(panic.message().unwrap().contains("choose_dyn"), "{panic}");
    });
}

#[test]
fn operations_block_plain_threads_too() {
    let env = Linux::new(Config::default()).unwrap();
    Runtime::builder(env)
        .drain(Drain::Wait)
        .run(|| {
            let (sender, receiver) = channel::rendezvous();
            let (done, is_done) = channel::bounded(1);
            let thread = std::thread::spawn(move || {
                let received = choose! {
                    value = receiver.recv_operation() => value.unwrap(),
                    () = timeout(LONG) => 0,
                };
                let late = choose! {
                    value = receiver.recv_operation() => value.unwrap(),
                    () = timeout(MS) => 0,
                };
                done.send((received, late)).unwrap();
            });
            sender.send(7).unwrap();
            assert_eq!(is_done.recv(), Ok((7, 0)));
            thread.join().unwrap();
            sleep(Duration::ZERO);
        })
        .unwrap();
}

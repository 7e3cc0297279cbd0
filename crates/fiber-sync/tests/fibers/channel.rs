//! Channels on fibers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use fiber_core::{
    fiber::ExitReason,
    script::{Script, ScriptEnv},
};
use fiber_sched::{Runtime, checkpoint, scope, spawn, yield_now};
use fiber_sync::{
    Mutex,
    channel::{
        Receiver, RecvError, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded,
        broadcast, rendezvous, unbounded,
    },
};

use super::{Counted, SECOND, join_all, now, on_all_seeds, run, settle};

#[test]
fn senders_and_receivers_meet_in_the_order_in_which_they_came() {
    run(|| {
        let (sender, receiver) = rendezvous();
        let senders = [0, 1, 2].map(|number| {
            let sender = sender.clone();
            spawn(move || sender.send(number).unwrap())
        });
        settle();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        join_all(senders);
        let receivers = [0, 1, 2].map(|number| {
            let receiver = receiver.clone();
            spawn(move || assert_eq!(receiver.recv(), Ok(number)))
        });
        settle();
        for number in 0..3 {
            sender.try_send(number).unwrap();
        }
        join_all(receivers);
    });
}

#[test]
fn a_receiver_gives_its_place_to_the_sender_that_waits_longest() {
    run(|| {
        let (sender, receiver) = bounded(1);
        sender.send(0).unwrap();
        let senders = [1, 2].map(|number| {
            let sender = sender.clone();
            spawn(move || sender.send(number).unwrap())
        });
        settle();
        assert_eq!(receiver.recv(), Ok(0));
        assert!(sender.try_send(9).is_err(), "the place was taken at once");
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        join_all(senders);
    });
}

#[test]
fn a_cancelled_sender_drops_its_value_and_keeps_the_order_of_the_others() {
    run(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = rendezvous();
        let senders = [0, 1, 2].map(|number| {
            let (sender, value) = (sender.clone(), Counted::new(&alive, number));
            spawn(move || sender.send(value).is_ok())
        });
        drop(sender);
        settle();
        senders[1].cancel();
        settle();
        assert_eq!(alive.load(Ordering::SeqCst), 2);
        let numbers: Vec<_> = receiver.iter().map(|value| value.number).collect();
        assert_eq!(numbers, [0, 2]);
        let sent = senders.map(|sender| sender.join());
        assert!(matches!(
            sent,
            [Ok(true), Err(ExitReason::Cancelled(_)), Ok(true)]
        ));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_cancel_after_a_value_has_come_does_not_lose_it() {
    run(|| {
        let (sender, receiver) = rendezvous();
        let got = Arc::new(Mutex::new(None));
        let place = Arc::clone(&got);
        let waiter = spawn(move || {
            let value = receiver.recv().unwrap();
            *place.try_lock().unwrap() = Some(value);
            checkpoint();
            unreachable!("the cancel comes at the next point");
        });
        settle();
        sender.try_send(5).unwrap();
        waiter.cancel();
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(*got.lock().unwrap(), Some(5));
    });
}

#[test]
fn what_takes_too_long_ends_when_its_time_is_over() {
    run(|| {
        let (sender, receiver) = rendezvous();
        assert_eq!(
            sender.send_timeout(1, SECOND),
            Err(SendTimeoutError::Elapsed(1))
        );
        assert_eq!(now(), SECOND);
        assert_eq!(
            receiver.recv_timeout(SECOND),
            Err(RecvTimeoutError::Elapsed)
        );
        assert_eq!(now(), 2 * SECOND);
        let late = spawn(move || {
            fiber_sched::sleep(SECOND);
            sender.send(2).unwrap();
        });
        assert_eq!(receiver.recv_timeout(2 * SECOND), Ok(2));
        assert_eq!(now(), 3 * SECOND);
        late.join().unwrap();
        assert_eq!(receiver.recv(), Err(RecvError));
    });
}

#[test]
fn dropping_a_value_may_use_the_channel() {
    struct Reports(Sender<usize>, usize);
    impl Drop for Reports {
        fn drop(&mut self) {
            // Nobody receives reports any more when the last of them is dropped.
            let _ = self.0.try_send(self.1);
        }
    }
    run(|| {
        let (reports, reported) = bounded(4);
        let (sender, receiver) = bounded(4);
        for number in 0..3 {
            assert!(sender.send(Reports(reports.clone(), number)).is_ok());
        }
        drop(receiver);
        assert_eq!(reported.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        drop(reported);
        assert!(sender.try_send(Reports(reports, 3)).is_err());
    });
}

/// Senders and receivers that are cancelled and give up at any moment: what was sent is received
/// once, in order as each receiver sees it, and everything is dropped.
fn neither_loses_nor_duplicates(capacity: usize) {
    on_all_seeds(|dice| {
        let alive = Arc::new(AtomicUsize::new(0));
        let log = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let (sender, receiver): (Sender<Counted>, Receiver<Counted>) = match capacity {
            0 => rendezvous(),
            usize::MAX => unbounded(),
            capacity => bounded(capacity),
        };
        scope(|scope| {
            let mut fibers = Vec::new();
            for origin in 0..3 {
                let (sender, alive, sent) = (sender.clone(), &alive, &log.0);
                let patient = dice.below(2) == 0;
                fibers.push(scope.spawn(move || {
                    for index in 0..5 {
                        let number = origin * 10 + index;
                        let value = Counted::new(alive, number);
                        let result = if patient {
                            sender.send(value).is_ok()
                        } else {
                            sender.send_timeout(value, SECOND / 1_000).is_ok()
                        };
                        if result {
                            sent.try_lock().unwrap().push(number);
                        }
                    }
                }));
            }
            for name in 0..2 {
                let (receiver, received) = (receiver.clone(), &log.1);
                fibers.push(scope.spawn(move || {
                    for value in receiver {
                        received.try_lock().unwrap().push((name, value.number));
                        yield_now();
                    }
                }));
            }
            drop(sender);
            for fiber in &fibers[..4] {
                dice.pause(6);
                if dice.below(3) == 0 {
                    fiber.cancel();
                }
            }
            // The last receiver is not cancelled, and receives what the others left.
            drop(receiver);
            for fiber in fibers {
                let _ = fiber.join();
            }
        });
        let (mut sent, received) = (log.0.into_inner().unwrap(), log.1.into_inner().unwrap());
        for (name, origin) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let of_both = |(by, number): &&(usize, usize)| *by == name && *number / 10 == origin;
            assert!(received.iter().filter(of_both).is_sorted());
        }
        let mut received: Vec<_> = received.into_iter().map(|(_, number)| number).collect();
        received.sort_unstable();
        sent.sort_unstable();
        assert_eq!(sent, received);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_rendezvous_under_random_schedules_neither_loses_nor_duplicates() {
    neither_loses_nor_duplicates(0);
}

#[test]
fn one_place_under_random_schedules_neither_loses_nor_duplicates() {
    neither_loses_nor_duplicates(1);
}

#[test]
fn three_places_under_random_schedules_neither_lose_nor_duplicate() {
    neither_loses_nor_duplicates(3);
}

#[test]
fn places_without_end_under_random_schedules_neither_lose_nor_duplicate() {
    neither_loses_nor_duplicates(usize::MAX);
}

#[test]
fn fibers_of_two_workers_and_plain_threads_share_a_channel() {
    const EACH: usize = 300;
    let (sender, receiver) = bounded(2);
    let env = ScriptEnv::with(Script::new().outsiders());
    let outside = thread::spawn({
        let sender = sender.clone();
        move || (0..EACH).for_each(|number| sender.send(number).unwrap())
    });
    let outside_too = thread::spawn({
        let receiver = receiver.clone();
        move || receiver.iter().sum::<usize>()
    });
    let inside: usize = Runtime::builder(env)
        .workers(2)
        .run(move || {
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    let sender = sender.clone();
                    spawn(move || (0..EACH).for_each(|number| sender.send(number).unwrap()))
                })
                .collect();
            drop(sender);
            let receivers = [receiver.clone(), receiver]
                .map(|receiver| spawn(move || receiver.iter().sum::<usize>()));
            for sender in senders {
                sender.join().unwrap();
            }
            receivers
                .map(|receiver| receiver.join().unwrap())
                .iter()
                .sum()
        })
        .unwrap();
    outside.join().unwrap();
    assert_eq!(
        inside + outside_too.join().unwrap(),
        4 * EACH * (EACH - 1) / 2
    );
}

/// Such a message would be between the snapshot and what its receiver gets first.
#[test]
fn a_message_that_is_sent_while_the_sender_makes_a_snapshot_is_a_circle_and_not_sent() {
    run(|| {
        let (sender, mut receiver) = broadcast::channel(4);
        let caller = spawn(move || {
            let (..) = sender.subscribe_with(|| sender.send(1));
        });
        let Err(ExitReason::Panicked(payload)) = caller.join() else {
            panic!("it was sent out of order");
        };
        assert!(payload.message().unwrap().contains("deadlock"));
        assert_eq!(receiver.try_recv(), Err(broadcast::TryRecvError::Closed));
    });
}

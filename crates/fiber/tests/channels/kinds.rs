//! What the kinds of channels promise, under many schedules.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber::{
    choose,
    operation::timeout,
    spawn,
    sync::channel::{Mailbox, Overflow, RecvError, broadcast, credit, oneshot, rendezvous, watch},
    yield_now,
};

use crate::{
    support::{in_turn, on_both},
    waits::until_it_waits,
};

fn promises() {
    let (sender, receiver) = oneshot::shared();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let receiver = receiver.clone();
            spawn(move || receiver.recv())
        })
        .collect();
    let (broken, never_kept) = oneshot::channel::<u8>();
    let disappointed = spawn(move || never_kept.recv());
    yield_now();
    drop(broken);
    sender.send("kept").unwrap();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Ok("kept"));
    }
    assert_eq!(disappointed.join().unwrap(), Err(RecvError));
    assert_eq!(receiver.recv(), Ok("kept"), "also later");
}

#[test]
fn a_promise_reaches_all_who_wait_kept_or_broken() {
    on_both(promises);
}

fn latest_value() {
    let (sender, receiver) = watch::channel(0);
    let watchers: Vec<_> = (0..3)
        .map(|_| {
            let mut receiver = receiver.clone();
            spawn(move || {
                let mut last = 0;
                while receiver.changed().is_ok() {
                    let value = receiver.get();
                    assert!(last <= value);
                    last = value;
                }
                last
            })
        })
        .collect();
    for value in 1..=10 {
        sender.send(value).unwrap();
        if value % 3 == 0 {
            yield_now();
        }
    }
    drop(sender);
    for watcher in watchers {
        assert_eq!(
            watcher.join().unwrap(),
            10,
            "the last change is never missed"
        );
    }
}

#[test]
fn watchers_see_values_in_order_and_the_last_one_always() {
    on_both(latest_value);
}

fn counted_lag() {
    const SENT: u64 = 30;
    let (sender, receiver) = broadcast::channel(4);
    let receivers: Vec<_> = (0..3)
        .map(|slowness| {
            let mut receiver = receiver.clone();
            spawn(move || {
                let mut next = 0;
                loop {
                    (0..slowness).for_each(|_| yield_now());
                    match receiver.recv() {
                        Ok(number) => {
                            assert_eq!(number, next);
                            next += 1;
                        }
                        Err(broadcast::RecvError::Lagged(missed)) => next += missed,
                        Err(broadcast::RecvError::Closed) => return next,
                    }
                }
            })
        })
        .collect();
    for number in 0..SENT {
        sender.send(number).unwrap();
        if number % 2 == 0 {
            yield_now();
        }
    }
    drop(sender);
    for receiver in receivers {
        assert_eq!(receiver.join().unwrap(), SENT);
    }
}

#[test]
fn what_a_slow_receiver_missed_is_counted_exactly() {
    on_both(counted_lag);
}

/// A list, and news of what is added to it: whenever one subscribes, both together are the whole.
fn picture_and_news() {
    const LAST: usize = 20;
    let (sender, _receiver) = broadcast::channel(LAST);
    let list = Arc::new(AtomicUsize::new(0));
    let (subscriber, seen) = (sender.clone(), Arc::clone(&list));
    let reader = spawn(move || {
        (0..5).for_each(|_| {
            let (picture, mut news) = subscriber.subscribe_with(|| {
                let length = seen.load(Ordering::SeqCst);
                yield_now();
                length
            });
            if picture < LAST {
                assert_eq!(news.recv(), Ok(picture + 1));
            }
        });
    });
    for _ in 0..LAST {
        let add = || {
            let length = list.load(Ordering::SeqCst) + 1;
            list.store(length, Ordering::SeqCst);
            yield_now();
            length
        };
        assert!(sender.send_with(add).is_ok());
    }
    reader.join().unwrap();
}

#[test]
fn a_snapshot_and_the_news_after_it_are_the_whole() {
    on_both(picture_and_news);
}

/// Counts values that are made and not yet received.
struct InFlight {
    now: Arc<AtomicUsize>,
}

impl InFlight {
    fn new(now: &Arc<AtomicUsize>, window: usize, out_of_flight: usize) -> Self {
        let before = now.fetch_add(1, Ordering::SeqCst);
        // Each receiver may have one in its hand whose credit has gone back already.
        assert!(before < window + out_of_flight, "{before} are in flight");
        Self {
            now: Arc::clone(now),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

fn windows() {
    for (window, batch) in [(1, 1), (4, 2), (5, 5)] {
        let (sender, receiver) = credit::in_batches(window, batch);
        let in_flight = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let (sender, in_flight) = (sender.clone(), Arc::clone(&in_flight));
                spawn(move || {
                    for round in 0..6 {
                        let credit = choose! {
                            credit = sender.credit_operation() => credit.unwrap(),
                            () = timeout(Duration::from_secs(3600)) => panic!("it stalls"),
                        };
                        // Some credits are given back unused.
                        if round % 3 != 2 {
                            let value = InFlight::new(&in_flight, window, 2);
                            assert!(credit.send(value).is_ok());
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let receivers =
            [receiver.clone(), receiver].map(|receiver| spawn(move || receiver.iter().count()));
        for sender in senders {
            sender.join().unwrap();
        }
        let received = receivers.map(|receiver| receiver.join().unwrap());
        assert_eq!(received.iter().sum::<usize>(), 12);
        assert_eq!(in_flight.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn never_more_than_the_window_is_in_flight_and_nobody_stalls() {
    on_both(windows);
}

fn readers_and_writers_in_order() {
    let (sender, receiver) = rendezvous();
    let writers = [0, 1, 2].map(|number| {
        let sender = sender.clone();
        let writer = spawn(move || sender.send(number));
        until_it_waits(&writer);
        writer
    });
    for number in 0..3 {
        assert_eq!(receiver.recv(), Ok(number));
    }
    for writer in writers {
        assert_eq!(writer.join().unwrap(), Ok(()));
    }
    let readers = [0, 1, 2].map(|number| {
        let receiver = receiver.clone();
        let reader = spawn(move || assert_eq!(receiver.recv(), Ok(number)));
        until_it_waits(&reader);
        reader
    });
    for number in 0..3 {
        sender.send(number).unwrap();
    }
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn readers_and_writers_are_served_in_the_order_in_which_they_came() {
    on_both(readers_and_writers_in_order);
}

/// A writer and a reader of one worker: how long the queue gets.
fn longest_queue(overflow: Overflow) -> usize {
    let (sender, mailbox) = Mailbox::with_capacity(8, overflow);
    let reader = spawn(move || {
        let mut longest = 0;
        while mailbox.recv().is_ok() {
            longest = longest.max(mailbox.len());
        }
        longest
    });
    for number in 0..2_000 {
        sender.send(number).unwrap();
    }
    drop(sender);
    reader.join().unwrap()
}

#[test]
fn who_writes_to_a_long_queue_lets_its_reader_run_sooner() {
    let longest = in_turn(|| longest_queue(Overflow::PenaliseSender));
    assert!(longest <= 40, "{longest} messages waited");
}

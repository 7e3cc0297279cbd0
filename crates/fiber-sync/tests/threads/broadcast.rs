//! Broadcasts on threads.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use fiber_sync::channel::{SendError, TrySendError, broadcast};

use super::{Counted, SHORT, host};

#[test]
fn every_receiver_gets_every_message_from_where_it_began() {
    host();
    let (sender, mut first) = broadcast::channel(4);
    assert_eq!(sender.send(1), Ok(1));
    let mut second = sender.subscribe();
    assert_eq!(sender.send(2), Ok(2));
    let mut same = first.clone();
    assert_eq!((first.recv(), first.recv()), (Ok(1), Ok(2)));
    assert_eq!((same.recv(), same.recv()), (Ok(1), Ok(2)));
    assert_eq!(second.recv(), Ok(2));
    assert_eq!(second.try_recv(), Err(broadcast::TryRecvError::Empty));
    assert_eq!(
        second.recv_timeout(SHORT),
        Err(broadcast::RecvTimeoutError::Elapsed)
    );
}

#[test]
fn one_that_was_overtaken_is_told_by_exactly_how_many() {
    host();
    for capacity in 1..5_u64 {
        for sent in 0..12 {
            let (sender, mut receiver) = broadcast::channel(usize::try_from(capacity).unwrap());
            for number in 0..sent {
                sender.send(number).unwrap();
            }
            drop(sender);
            assert_eq!(receiver.len(), sent);
            let missed = sent.saturating_sub(capacity);
            if missed > 0 {
                assert_eq!(receiver.recv(), Err(broadcast::RecvError::Lagged(missed)));
            }
            for number in missed..sent {
                assert_eq!(receiver.recv(), Ok(number));
            }
            assert_eq!(receiver.recv(), Err(broadcast::RecvError::Closed));
        }
    }
}

#[test]
fn messages_that_were_overwritten_or_left_are_dropped() {
    #[derive(Clone)]
    struct Message(#[expect(dead_code, reason = "it is counted")] Arc<Counted>);
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = broadcast::channel(3);
    for number in 0..10 {
        let message = Message(Arc::new(Counted::new(&alive, number)));
        assert!(sender.send(message).is_ok());
        assert_eq!(alive.load(Ordering::SeqCst), (number + 1).min(3));
    }
    drop((sender, receiver));
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn dropping_an_overwritten_message_may_send_another() {
    #[derive(Clone)]
    struct Echo(Option<broadcast::Sender<Self>>);
    impl Drop for Echo {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                assert!(sender.send(Self(None)).is_ok());
            }
        }
    }
    host();
    let (sender, receiver) = broadcast::channel(1);
    assert!(sender.send(Echo(Some(sender.clone()))).is_ok());
    assert!(sender.send(Echo(None)).is_ok());
    assert_eq!(receiver.len(), 3);
}

#[test]
fn without_receivers_a_message_comes_back_until_there_is_one_again() {
    host();
    let (sender, receiver) = broadcast::channel(1);
    drop(receiver);
    assert_eq!(sender.send(1), Err(SendError(1)));
    assert_eq!(sender.send_with(|| 2), Err(SendError(2)));
    let mut receiver = sender.subscribe();
    assert_eq!(sender.try_send(3), Ok(1));
    assert_eq!(receiver.recv(), Ok(3));
    sender.close();
    assert_eq!(sender.try_send(4), Err(TrySendError::Closed(4)));
    assert_eq!(receiver.recv(), Err(broadcast::RecvError::Closed));
}

#[test]
fn nothing_is_sent_while_a_snapshot_is_made() {
    host();
    let (sender, _receiver) = broadcast::channel(1);
    let (tried, _news) = sender.subscribe_with(|| sender.try_send(1));
    assert_eq!(tried, Err(TrySendError::Full(1)));
}

/// A counter as a picture, its increments as the news of it.
#[test]
fn a_snapshot_and_the_news_after_it_have_everything_once() {
    const LAST: u64 = 2_000;
    host();
    let count = Mutex::new(0_u64);
    let (sender, receiver) = broadcast::channel(usize::try_from(LAST).unwrap());
    thread::scope(|scope| {
        let (count, subscriber) = (&count, sender.clone());
        scope.spawn(move || {
            for _ in 0..LAST {
                let count_and_tell = || {
                    let mut count = count.lock().unwrap();
                    *count += 1;
                    *count
                };
                assert!(sender.send_with(count_and_tell).is_ok());
            }
        });
        for _ in 0..2 {
            let subscriber = subscriber.clone();
            scope.spawn(move || {
                for _ in 0..50 {
                    let (seen, mut news) = subscriber.subscribe_with(|| *count.lock().unwrap());
                    if seen < LAST {
                        assert_eq!(news.recv(), Ok(seen + 1));
                    }
                }
            });
        }
    });
    assert_eq!(receiver.len(), LAST);
}

#[test]
fn what_slow_receivers_get_and_miss_adds_up() {
    const SENT: u64 = 3_000;
    host();
    let (sender, receiver) = broadcast::channel(8);
    thread::scope(|scope| {
        for mut receiver in [receiver.clone(), receiver.clone(), receiver] {
            scope.spawn(move || {
                let (mut next, mut received) = (0, 0);
                loop {
                    match receiver.recv() {
                        Ok(number) => {
                            assert_eq!(number, next, "in order, without a gap that was not told");
                            next += 1;
                            received += 1;
                        }
                        Err(broadcast::RecvError::Lagged(missed)) => next += missed,
                        Err(broadcast::RecvError::Closed) => break,
                    }
                }
                assert_eq!(next, SENT);
                assert!(received > 0);
            });
        }
        for number in 0..SENT {
            sender.send(number).unwrap();
        }
        drop(sender);
    });
}

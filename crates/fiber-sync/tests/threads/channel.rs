//! Channels on threads.

use std::{
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fiber_sync::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, bounded, rendezvous,
};

use super::{Counted, LONG, SHORT, host};

/// Three senders, two receivers: everything arrives once, each sender's values in order a receiver.
fn everything_arrives_once((sender, receiver): (Sender<Counted>, Receiver<Counted>)) {
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let received = thread::scope(|scope| {
        for origin in 0..3 {
            let (sender, alive) = (sender.clone(), &alive);
            scope.spawn(move || {
                for index in 0..1_000 {
                    let value = Counted::new(alive, origin * 1_000 + index);
                    assert!(sender.send(value).is_ok());
                }
            });
        }
        drop(sender);
        let receivers = [receiver.clone(), receiver];
        receivers
            .map(|receiver| {
                scope.spawn(move || {
                    receiver
                        .iter()
                        .map(|value| value.number)
                        .collect::<Vec<_>>()
                })
            })
            .map(|thread| thread.join().unwrap())
    });
    for numbers in &received {
        for origin in 0..3 {
            let of_origin = numbers.iter().filter(|number| *number / 1_000 == origin);
            assert!(of_origin.is_sorted(), "values overtook one another");
        }
    }
    let mut all = received.concat();
    all.sort_unstable();
    assert_eq!(all, (0..3_000).collect::<Vec<_>>());
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn everything_sent_by_rendezvous_arrives_once() {
    everything_arrives_once(rendezvous());
}

#[test]
fn everything_sent_through_one_place_arrives_once() {
    everything_arrives_once(bounded(1));
}

#[test]
fn everything_sent_through_a_large_buffer_arrives_once() {
    everything_arrives_once(bounded(64));
}

/// Senders and receivers that give up all the time: what was sent is received, the rest comes back.
fn nothing_is_lost_when_both_give_up((sender, receiver): (Sender<Counted>, Receiver<Counted>)) {
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let span = Duration::from_micros(1);
    let (sent, received) = thread::scope(|scope| {
        let senders = [sender.clone(), sender].map(|sender| {
            let alive = &alive;
            scope.spawn(move || {
                let mut sent = 0;
                for number in 0..500 {
                    match sender.send_timeout(Counted::new(alive, number), span) {
                        Ok(()) => sent += 1,
                        Err(error) => assert_eq!(error.into_inner().number, number),
                    }
                }
                sent
            })
        });
        let receivers = [receiver.clone(), receiver].map(|receiver| {
            scope.spawn(move || {
                let mut received = 0;
                loop {
                    match receiver.recv_timeout(span) {
                        Ok(_) => received += 1,
                        Err(RecvTimeoutError::Elapsed) => {}
                        Err(RecvTimeoutError::Closed) => return received,
                    }
                }
            })
        });
        let sent: usize = senders.map(|thread| thread.join().unwrap()).iter().sum();
        let received: usize = receivers.map(|thread| thread.join().unwrap()).iter().sum();
        (sent, received)
    });
    assert_eq!(sent, received);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn nothing_is_lost_in_a_rendezvous_of_the_impatient() {
    nothing_is_lost_when_both_give_up(rendezvous());
}

#[test]
fn nothing_is_lost_in_a_buffer_between_the_impatient() {
    nothing_is_lost_when_both_give_up(bounded(1));
}

#[test]
fn a_full_buffer_and_an_empty_one_say_so() {
    host();
    let (sender, receiver) = bounded(2);
    assert_eq!((sender.capacity(), receiver.capacity()), (Some(2), Some(2)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Elapsed));
    assert!(sender.is_empty());
    assert_eq!(sender.try_send(1), Ok(()));
    assert_eq!(sender.send_timeout(2, LONG), Ok(()));
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(
        sender.send_timeout(4, SHORT),
        Err(SendTimeoutError::Elapsed(4))
    );
    assert_eq!((sender.len(), receiver.len()), (2, 2));
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_rendezvous_needs_a_partner() {
    host();
    let (sender, receiver) = rendezvous();
    assert_eq!(sender.capacity(), Some(0));
    assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(
        sender.send_timeout(2, SHORT),
        Err(SendTimeoutError::Elapsed(2))
    );
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn without_senders_receivers_get_the_rest_and_then_an_error() {
    host();
    let (sender, receiver) = bounded(4);
    let second = sender.clone();
    sender.send(1).unwrap();
    drop(sender);
    second.send(2).unwrap();
    drop(second);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv_timeout(LONG), Ok(2));
    assert_eq!(receiver.recv(), Err(RecvError));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(receiver.recv_timeout(LONG), Err(RecvTimeoutError::Closed));
    assert_eq!(receiver.into_iter().next(), None);
}

#[test]
fn without_receivers_values_come_back_and_the_buffer_is_dropped() {
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = bounded(4);
    for number in 0..3 {
        assert!(sender.send(Counted::new(&alive, number)).is_ok());
    }
    let second = receiver.clone();
    drop(receiver);
    assert_eq!(alive.load(Ordering::SeqCst), 3);
    drop(second);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let SendError(back) = sender.send(Counted::new(&alive, 7)).unwrap_err();
    assert_eq!(back.number, 7);
    let Err(TrySendError::Closed(back)) = sender.try_send(back) else {
        panic!("the channel is closed");
    };
    let Err(SendTimeoutError::Closed(back)) = sender.send_timeout(back, LONG) else {
        panic!("the channel is closed");
    };
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    drop(back);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn those_who_wait_learn_of_the_end() {
    host();
    let (sender, receiver) = rendezvous::<u8>();
    thread::scope(|scope| {
        scope.spawn(move || assert_eq!(receiver.recv(), Err(RecvError)));
        drop(sender);
    });
    let (sender, receiver) = rendezvous();
    thread::scope(|scope| {
        scope.spawn(move || assert_eq!(sender.send(1), Err(SendError(1))));
        drop(receiver);
    });
}

#[test]
fn values_that_were_never_received_are_dropped_with_the_channel() {
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = bounded(2);
    assert!(sender.send(Counted::new(&alive, 0)).is_ok());
    drop(sender.send_operation(Counted::new(&alive, 1)));
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    drop((sender, receiver));
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_buffer_without_a_place_is_refused() {
    let message = catch_unwind(|| bounded::<u8>(0)).unwrap_err();
    let message = message.downcast_ref::<&str>().unwrap();
    assert!(message.contains("rendezvous"), "{message}");
}

#[test]
fn ends_of_one_channel_know_one_another() {
    let (sender, receiver) = bounded::<u8>(1);
    let (other_sender, other_receiver) = bounded::<u8>(1);
    assert!(sender.same_channel(&sender.clone()) && receiver.same_channel(&receiver.clone()));
    assert!(!sender.same_channel(&other_sender) && !receiver.same_channel(&other_receiver));
}

//! Kinds of queues on threads: bounds, policies, explicit closing.

use std::{
    panic::catch_unwind,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    thread,
};

use fiber_sync::channel::{
    Mailbox, Overflow, RecvError, SendError, SendTimeoutError, TryRecvError, TrySendError, bounded,
    rendezvous, unbounded,
};

use super::{Counted, SHORT, host};

#[test]
fn a_channel_without_a_bound_takes_everything_in_order() {
    host();
    let (sender, receiver) = unbounded();
    for number in 0..10_000 {
        sender.try_send(number).unwrap();
    }
    assert_eq!((sender.len(), sender.capacity()), (10_000, None));
    assert!(!sender.is_full());
    drop(sender);
    assert!(receiver.iter().eq(0..10_000));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_buffer_grows_while_others_receive_without_losing_anything() {
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = unbounded();
    let received = thread::scope(|scope| {
        for origin in 0..3 {
            let (sender, alive) = (sender.clone(), &alive);
            scope.spawn(move || {
                for index in 0..2_000 {
                    let value = Counted::new(alive, origin * 2_000 + index);
                    assert!(sender.send(value).is_ok());
                }
            });
        }
        drop(sender);
        let receivers = [receiver.clone(), receiver].map(|receiver| {
            scope.spawn(move || {
                receiver
                    .iter()
                    .map(|value| value.number)
                    .collect::<Vec<_>>()
            })
        });
        receivers.map(|thread| thread.join().unwrap())
    });
    for numbers in &received {
        for origin in 0..3 {
            let of_origin = numbers.iter().filter(|number| *number / 2_000 == origin);
            assert!(of_origin.is_sorted(), "values overtook one another");
        }
    }
    let mut all = received.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..6_000));
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_rendezvous_is_full_and_empty_at_once() {
    let (sender, receiver) = rendezvous::<u8>();
    assert!(sender.is_full() && sender.is_empty());
    assert_eq!((receiver.len(), receiver.capacity()), (0, Some(0)));
}

#[test]
fn handles_are_counted_on_both_sides() {
    let (sender, receiver) = bounded::<u8>(1);
    let more = (sender.clone(), receiver.clone(), receiver.clone());
    assert_eq!((sender.sender_count(), sender.receiver_count()), (2, 3));
    drop(more);
    assert_eq!((receiver.sender_count(), receiver.receiver_count()), (1, 1));
    assert!(!sender.is_closed());
    drop(receiver);
    assert!(sender.is_closed());
}

#[test]
fn closed_by_hand_from_either_end_it_gives_what_is_left_and_then_the_end() {
    host();
    for closed_by_receiver in [false, true] {
        let (sender, receiver) = bounded(4);
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        match closed_by_receiver {
            true => receiver.close(),
            false => sender.close(),
        }
        assert!(sender.is_closed() && receiver.is_closed());
        assert_eq!(sender.send(3), Err(SendError(3)));
        assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
        assert_eq!(
            sender.send_timeout(3, SHORT),
            Err(SendTimeoutError::Closed(3))
        );
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.try_recv(), Ok(2));
        assert_eq!(receiver.recv(), Err(RecvError));
    }
}

#[test]
fn closing_wakes_those_who_wait_and_gives_senders_their_values_back() {
    host();
    let (sender, receiver) = bounded(1);
    sender.send(0).unwrap();
    thread::scope(|scope| {
        let waiter = sender.clone();
        scope.spawn(move || assert_eq!(waiter.send(1), Err(SendError(1))));
        sender.close();
        assert!(receiver.iter().eq([0]));
    });
    let (sender, receiver) = rendezvous::<u8>();
    thread::scope(|scope| {
        let waiter = receiver.clone();
        scope.spawn(move || assert_eq!(waiter.recv(), Err(RecvError)));
        receiver.close();
    });
    drop(sender);
}

#[test]
fn a_send_that_was_not_possible_has_its_value() {
    host();
    let (sender, receiver) = bounded(1);
    sender.send(Box::new(0)).unwrap();
    let operation = sender.send_operation(Box::new(1));
    assert_eq!(*operation.into_value(), 1);
    let mut value = Some(Box::new(2));
    let tried = fiber_core::operation::try_perform(sender.send_operation_from(&mut value));
    assert!(tried.is_err());
    assert_eq!(value, Some(Box::new(2)));
    drop(receiver.recv());
    let tried = fiber_core::operation::try_perform(sender.send_operation_from(&mut value));
    assert!(tried.is_ok());
    assert_eq!(value, None);
}

#[test]
fn a_mailbox_that_blocks_is_a_bounded_channel() {
    host();
    let (sender, mailbox) = Mailbox::with_capacity(1, Overflow::Block);
    sender.send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(mailbox.recv(), Ok(1));
    assert_eq!(
        (mailbox.dropped(), mailbox.overflow()),
        (0, Overflow::Block)
    );
}

#[test]
fn a_mailbox_that_drops_keeps_the_latest_and_counts_the_others() {
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, mailbox) = Mailbox::with_capacity(3, Overflow::DropOldest);
    for number in 0..10 {
        assert!(sender.send(Counted::new(&alive, number)).is_ok());
    }
    assert_eq!((alive.load(Ordering::SeqCst), mailbox.dropped()), (3, 7));
    drop(sender);
    let left: Vec<_> = mailbox.into_iter().map(|value| value.number).collect();
    assert_eq!(left, [7, 8, 9]);
}

#[test]
fn a_mailbox_that_disconnects_is_closed_when_it_would_be_too_long() {
    host();
    let (sender, mailbox) = Mailbox::with_capacity(2, Overflow::Disconnect);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert!(sender.is_full() && !sender.is_closed());
    assert_eq!(sender.send(3), Err(SendError(3)));
    assert!(mailbox.is_closed());
    assert!(mailbox.into_iter().eq([1, 2]));
}

#[test]
fn a_mailbox_that_penalises_takes_more_than_its_capacity() {
    host();
    let (sender, mailbox) = Mailbox::with_capacity(2, Overflow::PenaliseSender);
    for number in 0..100 {
        sender.send(number).unwrap();
    }
    assert_eq!((mailbox.len(), mailbox.capacity()), (100, Some(2)));
    drop(sender);
    assert!(mailbox.iter().eq(0..100));
}

#[test]
fn a_mailbox_without_a_place_is_refused() {
    assert!(catch_unwind(|| Mailbox::<u8>::with_capacity(0, Overflow::DropOldest)).is_err());
}

//! Those who are cancelled while they wait for a channel.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber::{
    ExitReason, JoinHandle, checkpoint, sleep, spawn,
    sync::channel::{
        RecvError, TryRecvError, TrySendError, bounded, broadcast, credit, oneshot, rendezvous,
        watch,
    },
};

use crate::{support::on_both, waits::until_it_waits};

/// Cancels one that waits.
fn cancelled<T>(fiber: JoinHandle<T>) {
    until_it_waits(&fiber);
    fiber.cancel();
    assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
}

fn nobody_is_met_who_was_cancelled() {
    let (sender, receiver) = rendezvous();
    let end = receiver.clone();
    cancelled(spawn(move || end.recv()));
    assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
    let end = sender.clone();
    cancelled(spawn(move || end.send(32)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    // The channel is as good as before.
    let end = sender.clone();
    let put = spawn(move || end.send(33));
    assert_eq!(receiver.recv(), Ok(33));
    assert_eq!(put.join().unwrap(), Ok(()));
}

#[test]
fn one_who_was_cancelled_at_a_rendezvous_meets_nobody() {
    on_both(nobody_is_met_who_was_cancelled);
}

fn order_survives_a_cancel() {
    let (sender, receiver) = bounded(1);
    sender.send(0).unwrap();
    let waiting = [1, 2, 3].map(|number| {
        let sender = sender.clone();
        let fiber = spawn(move || sender.send(number));
        until_it_waits(&fiber);
        fiber
    });
    let [first, second, third] = waiting;
    cancelled(second);
    assert_eq!(receiver.recv(), Ok(0));
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Ok(3));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(first.join().unwrap(), Ok(()));
    assert_eq!(third.join().unwrap(), Ok(()));
}

#[test]
fn a_cancelled_sender_leaves_the_order_of_the_others() {
    on_both(order_survives_a_cancel);
}

fn nothing_is_given_to_the_cancelled() {
    let (sender, receiver) = oneshot::shared();
    let end = receiver.clone();
    cancelled(spawn(move || end.recv()));
    sender.send(5).unwrap();
    assert_eq!(receiver.recv(), Ok(5));

    let (sender, mut receiver) = watch::channel(0);
    let mut end = receiver.clone();
    cancelled(spawn(move || end.changed()));
    sender.send(5).unwrap();
    assert_eq!(receiver.changed(), Ok(()));

    let (sender, mut receiver) = broadcast::channel(2);
    let mut end = receiver.clone();
    cancelled(spawn(move || end.recv()));
    assert_eq!(sender.send(5), Ok(1));
    assert_eq!(receiver.recv(), Ok(5));

    let (sender, receiver) = credit::channel(1);
    sender.send(5).unwrap();
    let end = sender.clone();
    cancelled(spawn(move || end.send(6)));
    assert_eq!(receiver.recv(), Ok(5));
    assert_eq!((sender.available(), receiver.len()), (1, 0));
    // Cancelled with a credit in its hand.
    let end = sender.clone();
    let holder = spawn(move || {
        let _credit = end.credit().unwrap();
        sleep(Duration::from_secs(3600));
    });
    until_it_waits(&holder);
    assert_eq!(sender.available(), 0);
    cancelled(holder);
    assert_eq!(sender.available(), 1);
}

#[test]
fn what_is_sent_after_a_cancel_goes_to_the_living() {
    on_both(nothing_is_given_to_the_cancelled);
}

/// What had reached it when the cancel came is not lost.
fn the_committed_is_kept() {
    let (sender, receiver) = oneshot::channel();
    let got = Arc::new(AtomicUsize::new(0));
    let place = Arc::clone(&got);
    let waiter = spawn(move || {
        place.store(receiver.recv().unwrap(), Ordering::SeqCst);
        checkpoint();
        unreachable!("the cancel comes at the next point");
    });
    until_it_waits(&waiter);
    sender.send(5).unwrap();
    waiter.cancel();
    assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
    assert_eq!(got.load(Ordering::SeqCst), 5);
}

#[test]
fn a_promise_that_was_kept_before_the_cancel_is_received() {
    // On one worker: there the cancel cannot come first.
    crate::support::in_turn(the_committed_is_kept);
}

/// Cancelled before it calls, it does not get as far as the queue.
fn cancelled_before() {
    let (sender, receiver) = rendezvous();
    let end = receiver.clone();
    let fiber = spawn(move || {
        fiber::current().unwrap().cancel();
        end.recv()
    });
    assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
    assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
    drop(sender);
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
fn one_who_is_cancelled_already_does_not_wait() {
    on_both(cancelled_before);
}

//! Credits on threads.

use std::{
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use fiber_sync::channel::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError, credit,
};

use super::{Counted, SHORT, host};

#[test]
fn a_value_needs_a_credit_and_a_window_has_so_many() {
    host();
    let (sender, receiver) = credit::channel(2);
    let held = sender.credit().unwrap();
    assert_eq!(sender.send(1), Ok(()));
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(
        sender.send_timeout(2, SHORT),
        Err(SendTimeoutError::Elapsed(2))
    );
    assert!(sender.credit_timeout(SHORT).is_err());
    assert_eq!((receiver.len(), receiver.window()), (1, 2));
    held.send(3).unwrap();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(sender.available(), 2);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Elapsed));
}

#[test]
fn a_credit_that_is_not_used_goes_back() {
    host();
    let (sender, receiver) = credit::channel::<u8>(1);
    let second = sender.clone();
    thread::scope(|scope| {
        let held = sender.credit().unwrap();
        scope.spawn(move || second.send(5).unwrap());
        // The holder dies without having sent.
        drop(held);
        assert_eq!(receiver.recv(), Ok(5));
    });
}

#[test]
fn credits_come_back_in_batches() {
    host();
    let (sender, receiver) = credit::in_batches(4, 2);
    for number in 0..4 {
        sender.send(number).unwrap();
    }
    let available = [0, 2, 2, 4];
    for (number, available) in (0..4).zip(available) {
        assert_eq!(receiver.recv(), Ok(number));
        assert_eq!(sender.available(), available);
    }
}

#[test]
fn receivers_owe_their_batches_together() {
    host();
    let (sender, receiver) = credit::in_batches(2, 2);
    let second = receiver.clone();
    for number in 0..100 {
        sender.try_send(number).unwrap();
        sender.try_send(number).unwrap();
        assert_eq!(receiver.recv(), Ok(number));
        assert_eq!(second.recv(), Ok(number));
    }
}

#[test]
fn at_the_end_credits_are_refused_and_values_come_back() {
    host();
    let (sender, receiver) = credit::channel(2);
    let held = sender.credit().unwrap();
    drop(receiver);
    assert_eq!(held.send(1), Err(SendError(1)));
    assert!(sender.credit().is_err(), "though the window is open");
    assert_eq!(sender.try_send(2), Err(TrySendError::Closed(2)));
    let (sender, receiver) = credit::channel(2);
    sender.send(1).unwrap();
    receiver.close();
    assert_eq!(sender.send(2), Err(SendError(2)));
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
fn one_who_waits_for_a_credit_learns_of_the_end() {
    host();
    let (sender, receiver) = credit::channel(1);
    sender.send(1).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || assert_eq!(sender.send(2), Err(SendError(2))));
        drop(receiver);
    });
}

#[test]
fn no_more_than_the_window_is_ever_in_flight() {
    const WINDOW: usize = 4;
    host();
    let (sender, receiver) = credit::in_batches(WINDOW, WINDOW / 2);
    // Values that were made and not dropped: the next is made only with a credit for it.
    let alive = Arc::new(AtomicUsize::new(0));
    let received = thread::scope(|scope| {
        for sender in [sender.clone(), sender] {
            let alive = &alive;
            scope.spawn(move || {
                for number in 0..1_000 {
                    let credit = sender.credit().unwrap();
                    assert!(credit.send(Counted::new(alive, number)).is_ok());
                }
            });
        }
        let receivers = [receiver.clone(), receiver].map(|receiver| {
            scope.spawn(move || {
                let mut received = 0;
                while let Ok(value) = receiver.recv() {
                    // Of each of the two receivers one value may be out of flight and alive.
                    let alive = value.alive.load(Ordering::SeqCst);
                    assert!(alive <= WINDOW + 2, "{alive} are alive");
                    received += 1;
                }
                received
            })
        });
        receivers.map(|thread| thread.join().unwrap())
    });
    assert_eq!(received.iter().sum::<i32>(), 2_000);
}

#[test]
fn a_batch_that_is_larger_than_the_window_is_refused() {
    for (window, batch) in [(0, 0), (0, 1), (1, 0), (1, 2)] {
        assert!(catch_unwind(|| credit::in_batches::<u8>(window, batch)).is_err());
    }
}

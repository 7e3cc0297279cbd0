//! Watched values on threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use fiber_sync::channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, watch};

use super::{SHORT, host};

#[test]
fn a_receiver_sees_the_latest_value_and_each_change_at_most_once() {
    host();
    let (sender, mut receiver) = watch::channel(0);
    assert_eq!(receiver.try_changed(), Err(TryRecvError::Empty));
    for value in 1..=3 {
        sender.send(value).unwrap();
    }
    assert!(receiver.has_changed());
    assert_eq!(receiver.changed(), Ok(()));
    assert_eq!(*receiver.borrow(), 3);
    assert_eq!(receiver.try_changed(), Err(TryRecvError::Empty));
    assert_eq!(
        receiver.changed_timeout(SHORT),
        Err(RecvTimeoutError::Elapsed)
    );
}

#[test]
fn each_receiver_has_its_own_version() {
    host();
    let (sender, mut first) = watch::channel(0);
    let mut second = first.clone();
    sender.send(1).unwrap();
    let mut late = sender.subscribe();
    assert_eq!(first.get(), 1);
    assert!(!first.has_changed());
    assert!(second.has_changed());
    assert!(!late.has_changed(), "it has seen the value as it was then");
    sender.send_modify(|value| *value += 1);
    for receiver in [&mut first, &mut second, &mut late] {
        assert_eq!(receiver.changed(), Ok(()));
        assert_eq!(*receiver.borrow_and_update(), 2);
    }
}

#[test]
fn a_change_that_is_none_is_not_told() {
    host();
    let (sender, receiver) = watch::channel(0);
    assert!(!sender.send_if_modified(|_| false));
    assert!(!receiver.has_changed());
    let panics = AssertUnwindSafe(|| sender.send_modify(|_| panic!("half done")));
    assert!(catch_unwind(panics).is_err());
    assert!(!receiver.has_changed());
    assert_eq!(sender.send_replace(7), 0, "and the value is not poisoned");
}

#[test]
fn the_last_change_comes_before_the_end() {
    host();
    let (sender, mut receiver) = watch::channel(0);
    let second = sender.clone();
    drop(sender);
    second.send(1).unwrap();
    drop(second);
    assert_eq!(receiver.changed(), Ok(()));
    assert_eq!(*receiver.borrow(), 1);
    assert_eq!(receiver.changed(), Err(RecvError));
    assert_eq!(receiver.try_changed(), Err(TryRecvError::Closed));
}

#[test]
fn without_receivers_the_value_comes_back_until_there_is_one_again() {
    host();
    let (sender, receiver) = watch::channel(0);
    drop(receiver);
    assert_eq!(sender.send(1), Err(SendError(1)));
    assert_eq!(sender.send_replace(2), 0);
    let receiver = sender.subscribe();
    assert_eq!(sender.send(3), Ok(()));
    assert_eq!(*receiver.borrow(), 3);
    sender.close();
    assert_eq!(sender.send(4), Err(SendError(4)));
}

#[test]
fn nobody_misses_the_last_of_many_changes() {
    host();
    let (sender, receiver) = watch::channel(0);
    thread::scope(|scope| {
        for mut receiver in [receiver.clone(), receiver] {
            scope.spawn(move || {
                let mut last = 0;
                while receiver.changed().is_ok() {
                    let value = *receiver.borrow();
                    assert!(last <= value, "time does not run backwards");
                    last = value;
                }
                assert_eq!(last, 1_000);
            });
        }
        for value in 1..=1_000 {
            sender.send(value).unwrap();
        }
        drop(sender);
    });
}

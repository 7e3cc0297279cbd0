//! Promises on threads.

use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    thread,
};

use fiber_sync::channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, oneshot};

use super::{Counted, LONG, SHORT, host};

#[test]
fn a_value_that_is_there_is_received_without_waiting() {
    host();
    let (sender, receiver) = oneshot::channel();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.send(5).unwrap();
    assert_eq!(receiver.recv_timeout(LONG), Ok(5));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn one_who_waits_gets_the_value_when_it_comes() {
    host();
    let (sender, receiver) = oneshot::channel();
    thread::scope(|scope| {
        scope.spawn(move || assert_eq!(receiver.recv(), Ok(5)));
        sender.send(5).unwrap();
    });
}

#[test]
fn a_wait_that_took_too_long_can_be_repeated() {
    host();
    let (sender, receiver) = oneshot::channel();
    assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Elapsed));
    sender.send(5).unwrap();
    assert_eq!(receiver.recv(), Ok(5));
}

#[test]
fn a_broken_promise_is_told_before_and_after_one_waits() {
    host();
    let (sender, receiver) = oneshot::channel::<u8>();
    drop(sender);
    assert_eq!(receiver.recv(), Err(RecvError));
    let (sender, receiver) = oneshot::shared::<u8>();
    thread::scope(|scope| {
        for receiver in [receiver.clone(), receiver] {
            scope.spawn(move || assert_eq!(receiver.recv(), Err(RecvError)));
        }
        drop(sender);
    });
}

#[test]
fn an_error_is_a_value_like_any_other() {
    host();
    let (sender, receiver) = oneshot::channel::<Result<u8, &str>>();
    sender.send(Err("no such page")).unwrap();
    assert_eq!(receiver.recv(), Ok(Err("no such page")));
}

#[test]
fn without_a_receiver_the_value_comes_back() {
    host();
    let (sender, receiver) = oneshot::channel();
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!(sender.send(5), Err(SendError(5)));
    let (sender, receiver) = oneshot::shared();
    let second = receiver.clone();
    drop(receiver);
    assert!(!sender.is_closed());
    drop(second);
    assert_eq!(sender.send(5), Err(SendError(5)));
}

#[test]
fn all_who_wait_for_a_shared_value_get_it() {
    host();
    let (sender, receiver) = oneshot::shared();
    thread::scope(|scope| {
        let waiters = [receiver.clone(), receiver.clone()]
            .map(|receiver| scope.spawn(move || receiver.recv()));
        sender.send(String::from("ready")).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().as_deref(), Ok("ready"));
        }
    });
    assert_eq!(receiver.try_recv().as_deref(), Ok("ready"));
    assert_eq!(receiver.recv().as_deref(), Ok("ready"));
}

#[test]
fn a_value_that_nobody_received_is_dropped_with_the_receiver() {
    host();
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = oneshot::channel();
    assert!(sender.send(Counted::new(&alive, 0)).is_ok());
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    drop(receiver);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

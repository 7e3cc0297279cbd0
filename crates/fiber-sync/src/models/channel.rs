//! Loom models of channels.

use alloc::sync::Arc;

use loom::thread;

use super::{MOMENT, model};
use crate::channel::{
    self, Mailbox, Overflow, Receiver, RecvError, SendError, Sender, TryRecvError, broadcast,
    credit, oneshot, watch,
};

/// One value goes over, and then the end does.
fn a_value_and_the_end((sender, receiver): (Sender<u32>, Receiver<u32>)) {
    let thread = thread::spawn(move || sender.send(5).expect("there is a receiver"));
    assert_eq!(receiver.recv(), Ok(5));
    assert_eq!(receiver.recv(), Err(RecvError));
    thread.join().expect("it has sent");
}

#[test]
fn loom_a_rendezvous_hands_a_value_over() {
    model(3, || a_value_and_the_end(channel::rendezvous()));
}

#[test]
fn loom_a_buffer_passes_a_value_on() {
    model(3, || a_value_and_the_end(channel::bounded(1)));
}

#[test]
fn loom_a_value_is_with_one_side() {
    model(3, || {
        let (sender, receiver) = channel::rendezvous();
        let thread = thread::spawn(move || sender.send_timeout(Arc::new(5), MOMENT).is_ok());
        let received = receiver.recv_timeout(MOMENT).is_ok();
        assert_eq!(thread.join().unwrap(), received);
    });
}

#[test]
fn loom_a_sender_learns_of_the_end() {
    model(3, || {
        let (sender, receiver) = channel::rendezvous();
        let thread = thread::spawn(move || sender.send(5));
        drop(receiver);
        assert_eq!(thread.join().unwrap(), Err(SendError(5)));
    });
}

#[test]
fn loom_a_sender_learns_that_the_channel_was_closed() {
    model(3, || {
        let (sender, receiver) = channel::rendezvous();
        let thread = thread::spawn(move || sender.send(5));
        receiver.close();
        let sent = thread.join().unwrap();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(sent, Err(SendError(5)));
    });
}

#[test]
fn loom_a_buffer_that_grows_loses_nothing() {
    model(2, || {
        let (sender, receiver) = channel::unbounded();
        let other = sender.clone();
        let thread = thread::spawn(move || other.send(1));
        sender.send(2).unwrap();
        let first = receiver.recv().unwrap();
        assert_eq!(receiver.recv(), Ok(3 - first));
        thread.join().unwrap().unwrap();
    });
}

#[test]
fn loom_the_oldest_goes_once() {
    model(2, || {
        let (sender, mailbox) = Mailbox::with_capacity(1, Overflow::DropOldest);
        let other = sender.clone();
        let thread = thread::spawn(move || other.send(1).unwrap());
        sender.send(2).unwrap();
        let early = mailbox.try_recv().is_ok();
        thread.join().unwrap();
        let late = mailbox.try_recv().is_ok();
        let received = u64::from(early) + u64::from(late);
        assert_eq!(received + mailbox.dropped(), 2);
    });
}

#[test]
fn loom_a_promise_is_kept_or_broken() {
    model(3, || {
        let (sender, receiver) = oneshot::channel();
        let thread = thread::spawn(move || sender.send(5));
        assert_eq!(receiver.recv(), Ok(5));
        thread.join().unwrap().unwrap();
    });
    model(3, || {
        let (sender, receiver) = oneshot::channel::<u32>();
        let thread = thread::spawn(move || drop(sender));
        assert_eq!(receiver.recv(), Err(RecvError));
        thread.join().unwrap();
    });
}

#[test]
fn loom_a_promise_that_nobody_waits_for_any_more_is_dropped() {
    model(3, || {
        let value = Arc::new(5);
        let (sender, receiver) = oneshot::channel();
        let sent = Arc::clone(&value);
        let thread = thread::spawn(move || drop(sender.send(sent)));
        let received = receiver.recv_timeout(MOMENT).is_ok();
        drop(receiver);
        thread.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1, "received: {received}");
    });
}

#[test]
fn loom_a_shared_promise_reaches_all() {
    model(1, || {
        let (sender, receiver) = oneshot::shared();
        let second = receiver.clone();
        let thread = thread::spawn(move || second.recv());
        let sending = thread::spawn(move || sender.send(5));
        assert_eq!(receiver.recv(), Ok(5));
        assert_eq!(thread.join().unwrap(), Ok(5));
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn loom_a_change_is_seen_before_the_end() {
    model(2, || {
        let (sender, mut receiver) = watch::channel(0);
        let thread = thread::spawn(move || sender.send(5).unwrap());
        assert_eq!(receiver.changed(), Ok(()));
        assert_eq!(*receiver.borrow(), 5);
        assert_eq!(receiver.changed(), Err(RecvError));
        thread.join().unwrap();
    });
}

#[test]
fn loom_no_change_comes_after_the_end() {
    model(2, || {
        let (sender, mut receiver) = watch::channel(0);
        let closer = sender.clone();
        let thread = thread::spawn(move || sender.send(5));
        closer.close();
        let told = receiver.try_changed();
        let sent = thread.join().unwrap();
        let news = receiver.try_changed();
        match told {
            Err(TryRecvError::Closed) => assert_eq!(news, Err(TryRecvError::Closed)),
            _ => assert_eq!(told, Ok(())),
        }
        assert_eq!(sent.is_ok(), *receiver.borrow() == 5);
    });
}

#[test]
fn loom_what_one_receives_and_misses_of_a_broadcast_adds_up() {
    model(2, || {
        let (sender, mut receiver) = broadcast::channel(1);
        let thread = thread::spawn(move || {
            sender.send(0).unwrap();
            sender.send(1).unwrap();
        });
        let mut next = 0;
        loop {
            match receiver.recv() {
                Ok(number) => {
                    assert_eq!(number, next);
                    next += 1;
                }
                Err(broadcast::RecvError::Lagged(missed)) => next += missed,
                Err(broadcast::RecvError::Closed) => break,
            }
        }
        assert_eq!(next, 2);
        thread.join().unwrap();
    });
}

#[test]
fn loom_a_credit_comes_back_and_wakes_who_waits_for_it() {
    model(2, || {
        let (sender, receiver) = credit::channel(1);
        let thread = thread::spawn(move || {
            sender.send(1).unwrap();
            sender.send(2).unwrap();
        });
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(receiver.recv(), Err(RecvError));
        thread.join().unwrap();
    });
}

#[test]
fn loom_a_credit_of_one_who_gives_up_is_not_lost() {
    model(2, || {
        let (sender, receiver) = credit::channel(1);
        sender.send(1).unwrap();
        let other = sender.clone();
        let thread = thread::spawn(move || drop(other.credit_timeout(MOMENT)));
        assert_eq!(receiver.recv(), Ok(1));
        thread.join().unwrap();
        assert!(sender.try_credit().is_ok());
    });
}

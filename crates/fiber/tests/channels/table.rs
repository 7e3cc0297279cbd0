//! Every way of sending and receiving, with every outcome.

use core::time::Duration;

use fiber::{
    no_suspend, spawn,
    sync::channel::{
        Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
        TrySendError, bounded, unbounded,
    },
};

use crate::support::on_both;

const MOMENT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A value that can only be moved.
#[derive(Debug, PartialEq, Eq)]
struct Moved(u8);

fn two() -> (Sender<Moved>, Receiver<Moved>) {
    bounded(2)
}

/// Two places, taken.
fn full() -> (Sender<Moved>, Receiver<Moved>) {
    let (sender, receiver) = two();
    sender.send(Moved(1)).unwrap();
    sender.send(Moved(2)).unwrap();
    (sender, receiver)
}

fn sending() {
    let (sender, receiver) = two();
    assert_eq!(no_suspend(|| sender.send(Moved(1))), Ok(()));
    assert_eq!(sender.send_timeout(Moved(2), MOMENT), Ok(()));
    assert_eq!(sender.try_send(Moved(3)), Err(TrySendError::Full(Moved(3))));
    assert_eq!(
        sender.send_timeout(Moved(3), MOMENT),
        Err(SendTimeoutError::Elapsed(Moved(3)))
    );
    let late = spawn(move || {
        fiber::sleep(MOMENT);
        (receiver.recv(), receiver)
    });
    assert_eq!(sender.send_timeout(Moved(3), HOUR), Ok(()));
    let (received, receiver) = late.join().unwrap();
    assert_eq!(received, Ok(Moved(1)));
    drop(receiver);
    assert_eq!(
        sender.try_send(Moved(4)),
        Err(TrySendError::Closed(Moved(4)))
    );
    no_suspend(|| {
        assert_eq!(sender.send(Moved(4)), Err(SendError(Moved(4))));
        assert_eq!(
            sender.send_timeout(Moved(4), HOUR),
            Err(SendTimeoutError::Closed(Moved(4)))
        );
    });
}

fn receiving() {
    let (sender, receiver) = full();
    assert_eq!(receiver.try_recv(), Ok(Moved(1)));
    assert_eq!(no_suspend(|| receiver.recv()), Ok(Moved(2)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(
        receiver.recv_timeout(MOMENT),
        Err(RecvTimeoutError::Elapsed)
    );
    let late = spawn(move || {
        fiber::sleep(MOMENT);
        sender.send(Moved(3)).unwrap();
        sender
    });
    assert_eq!(receiver.recv_timeout(HOUR), Ok(Moved(3)));
    drop(late.join().unwrap());
    no_suspend(|| {
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(receiver.recv_timeout(HOUR), Err(RecvTimeoutError::Closed));
    });
}

fn the_rest_after_a_close() {
    let (sender, receiver) = full();
    let waiter = sender.clone();
    let waiter = spawn(move || waiter.send(Moved(3)));
    fiber::sleep(MOMENT);
    receiver.close();
    assert_eq!(waiter.join().unwrap(), Err(SendError(Moved(3))));
    assert!(sender.is_closed());
    assert!(receiver.into_iter().eq([Moved(1), Moved(2)]));
}

fn iterating() {
    let (sender, receiver) = unbounded();
    let maker = spawn(move || (0..5).for_each(|number| sender.send(number).unwrap()));
    assert!(receiver.iter().eq(0..5), "it ends when the sender does");
    maker.join().unwrap();
    assert_eq!((&receiver).into_iter().next(), None);
    assert_eq!(receiver.try_iter().next(), None);
    assert_eq!(receiver.into_iter().next(), None);
}

#[test]
fn a_value_is_sent_or_comes_back_in_every_way_of_sending() {
    on_both(sending);
}

#[test]
fn every_way_of_receiving_tells_nothing_yet_from_nothing_ever() {
    on_both(receiving);
}

#[test]
fn what_was_sent_before_a_close_is_received_after_it() {
    on_both(the_rest_after_a_close);
}

#[test]
fn iterators_end_with_the_channel() {
    on_both(iterating);
}

//! Queues of every kind: how each is opened, and what its models must know of it.

use fiber::sync::channel::{Mailbox, Overflow, Receiver, Sender, bounded, rendezvous, unbounded};

/// What a queue does with a value for which it has no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum WhenFull {
    #[default]
    Waits,
    DropsOldest,
    Closes,
}

/// A kind of queue.
pub(crate) trait Kind: Send + Sync + 'static {
    const CAPACITY: usize;
    const WHEN_FULL: WhenFull = WhenFull::Waits;

    fn open<T>() -> (Sender<T>, Receiver<T>);
}

pub(crate) struct Rendezvous;

impl Kind for Rendezvous {
    const CAPACITY: usize = 0;

    fn open<T>() -> (Sender<T>, Receiver<T>) {
        rendezvous()
    }
}

pub(crate) struct Bounded<const CAPACITY: usize>;

impl<const CAPACITY: usize> Kind for Bounded<CAPACITY> {
    const CAPACITY: usize = CAPACITY;

    fn open<T>() -> (Sender<T>, Receiver<T>) {
        bounded(CAPACITY)
    }
}

pub(crate) struct Unbounded;

impl Kind for Unbounded {
    const CAPACITY: usize = usize::MAX;

    fn open<T>() -> (Sender<T>, Receiver<T>) {
        unbounded()
    }
}

/// A mailbox for two messages.
fn mailbox<T>(overflow: Overflow) -> (Sender<T>, Receiver<T>) {
    let (sender, mailbox) = Mailbox::with_capacity(2, overflow);
    (sender, Receiver::clone(&mailbox))
}

pub(crate) struct Blocking;

impl Kind for Blocking {
    const CAPACITY: usize = 2;

    fn open<T>() -> (Sender<T>, Receiver<T>) {
        mailbox(Overflow::Block)
    }
}

pub(crate) struct DroppingOldest;

impl Kind for DroppingOldest {
    const CAPACITY: usize = 2;
    const WHEN_FULL: WhenFull = WhenFull::DropsOldest;

    fn open<T>() -> (Sender<T>, Receiver<T>) {
        mailbox(Overflow::DropOldest)
    }
}

pub(crate) struct Disconnecting;

impl Kind for Disconnecting {
    const CAPACITY: usize = 2;
    const WHEN_FULL: WhenFull = WhenFull::Closes;

    fn open<T>() -> (Sender<T>, Receiver<T>) {
        mailbox(Overflow::Disconnect)
    }
}

/// Takes everything, as one without a bound does.
pub(crate) struct Penalising;

impl Kind for Penalising {
    const CAPACITY: usize = usize::MAX;

    fn open<T>() -> (Sender<T>, Receiver<T>) {
        mailbox(Overflow::PenaliseSender)
    }
}

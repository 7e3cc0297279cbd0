//! A mailbox: a queue with one reader, and a policy for the day when it is full.
//!
//! | policy | a message that finds the mailbox full | bound |
//! |---|---|---|
//! | [`Overflow::Block`] | waits with its sender | capacity |
//! | [`Overflow::DropOldest`] | takes the place of the oldest one, which is counted | capacity |
//! | [`Overflow::Disconnect`] | goes back to its sender, and the mailbox is closed | capacity |
//! | [`Overflow::PenaliseSender`] | is taken, and its sender lets others run sooner | memory |

use core::ops::Deref;

use fiber_core::park::{charge, current, yield_now};

use super::{
    ends,
    receiver::{IntoIter, Receiver},
    sender::Sender,
    shared::Queue,
};

/// What happens to a message for which a mailbox has no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Its sender waits until there is a place, as in a [`bounded`](super::bounded) channel.
    #[default]
    Block,
    /// The oldest message is dropped for it, and counted: for news of which the last is the best.
    DropOldest,
    /// The reader is too slow: the mailbox is closed. The sender has its message back; the reader
    /// gets what lies there, and then the end.
    Disconnect,
    /// It is taken nevertheless, and its sender pays: one call of [`charge`] for each message above
    /// the capacity, so that it lets others run the sooner the longer the queue is. A plain thread
    /// gives up its time slice instead. The bound is memory.
    PenaliseSender,
}

/// The reader's end of a mailbox; it does what a [`Receiver`] does.
///
/// Standard channels either block the sender at the bound or have no bound; a mailbox says what
/// else is to happen.
///
/// ```
/// use fiber_sync::channel::{Mailbox, Overflow};
///
/// let (sender, mailbox) = Mailbox::with_capacity(2, Overflow::DropOldest);
/// for price in [99, 100, 101] {
///     sender.send(price).unwrap();
/// }
/// assert_eq!(mailbox.try_iter().collect::<Vec<_>>(), [100, 101]);
/// assert_eq!(mailbox.dropped(), 1);
/// ```
#[derive(Debug)]
pub struct Mailbox<T> {
    receiver: Receiver<T>,
}

impl<T> Mailbox<T> {
    /// A mailbox for `capacity` messages, and its first sender.
    ///
    /// # Panics
    /// When `capacity` is 0, and when there is not enough memory for it.
    pub fn with_capacity(capacity: usize, overflow: Overflow) -> (Sender<T>, Self) {
        assert!(capacity > 0, "a mailbox holds at least one message");
        let (tx, rx) = ends::open(Queue::new(capacity, overflow));
        let receiver = Receiver::new(rx);
        (Sender::new(tx), Self { receiver })
    }

    /// How many messages were dropped for newer ones.
    pub fn dropped(&self) -> u64 {
        self.receiver.queue().dropped()
    }

    /// What happens to messages for which there is no place.
    pub fn overflow(&self) -> Overflow {
        self.receiver.queue().overflow
    }
}

impl<T> Deref for Mailbox<T> {
    type Target = Receiver<T>;

    fn deref(&self) -> &Receiver<T> {
        &self.receiver
    }
}

impl<T> IntoIterator for Mailbox<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    #[track_caller]
    fn into_iter(self) -> IntoIter<T> {
        self.receiver.into_iter()
    }
}

/// What a sender pays whose message was taken.
#[inline]
pub(super) fn charge_sender<T>(queue: &Queue<T>) {
    if queue.overflow == Overflow::PenaliseSender {
        pay(queue.len().saturating_sub(queue.capacity));
    }
}

/// More than the whole budget of a fiber is never asked for at once.
const PRICE_MAX: usize = 128;

#[cold]
fn pay(price: usize) {
    if price > 0 && current().is_none() {
        yield_now();
    }
    for _ in 0..price.min(PRICE_MAX) {
        charge();
    }
}

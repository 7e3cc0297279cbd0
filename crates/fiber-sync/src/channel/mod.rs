//! Channels, for values that go from one fiber or thread to another.
//!
//! | channel | who gets a value | at its bound |
//! |---|---|---|
//! | [`rendezvous`] | one receiver, from the sender's hand | the sender waits |
//! | [`bounded`] | one receiver | the sender waits |
//! | [`unbounded`] | one receiver | none but memory |
//! | [`Mailbox`] | its reader | as its policy says |
//! | [`credit`] | one receiver | the sender waits *before* it makes the value |
//! | [`oneshot`] | the receiver, or each of them | one value |
//! | [`watch`] | each receiver, the latest one only | one value |
//! | [`broadcast`] | each receiver | slow receivers are told how many they have missed |
//!
//! First come, first served on both sides. Queues take their memory when they are made and never
//! for a value ([`unbounded`] and mailboxes that penalise excepted): those who wait keep theirs in
//! their own frame. A value is with its sender until the moment it is taken, so a send that fails,
//! is cancelled or takes too long has it still.
//!
//! A channel is closed when the last handle of one side is dropped, or by `close`: from then on
//! nothing is sent, values come back to their senders, and receivers get what was sent before, and
//! then the end.
//!
//! Unlike std's channels all of these may have many receivers, wait as one of several operations
//! (`x_operation`), and wait on fibers and plain threads alike.

mod bell;
pub mod broadcast;
pub mod credit;
mod ends;
mod error;
mod mailbox;
pub mod oneshot;
mod operation;
mod receiver;
mod sender;
mod shared;
pub mod watch;

use self::shared::Queue;
pub use self::{
    error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError},
    mailbox::{Mailbox, Overflow},
    operation::{RecvOperation, SendOperation},
    receiver::{IntoIter, Iter, Receiver, TryIter},
    sender::Sender,
};

/// A channel without a buffer: a send waits for a receiver that takes the value.
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    of_capacity(0)
}

/// A channel whose buffer holds `capacity` values: a send waits only while it is full.
///
/// ```
/// let (sender, receiver) = fiber_sync::channel::bounded(2);
/// sender.send("one").unwrap();
/// sender.send("two").unwrap();
/// assert!(sender.try_send("three").is_err());
/// drop(sender);
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), ["one", "two"]);
/// ```
///
/// # Panics
/// When `capacity` is 0, which is a [`rendezvous`], and when there is not enough memory for the
/// buffer, which is allocated here.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(
        capacity > 0,
        "a bounded channel holds at least one value: use `rendezvous` for one without a buffer"
    );
    of_capacity(capacity)
}

/// A channel whose buffer grows: a send never waits, and the only bound is memory (I-10).
///
/// The buffer keeps the memory that it had at its longest until the channel is gone. Watch its
/// `len`, or say by the policy of a [`Mailbox`] what is to happen when the queue is long.
///
/// ```
/// let (sender, receiver) = fiber_sync::channel::unbounded();
/// (0..1_000).for_each(|number| sender.send(number).unwrap());
/// assert_eq!((sender.len(), sender.capacity()), (1_000, None));
/// drop(sender);
/// assert_eq!(receiver.into_iter().sum::<u32>(), 499_500);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    of_capacity(usize::MAX)
}

fn of_capacity<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = ends::open(Queue::new(capacity, Overflow::Block));
    (Sender::new(tx), Receiver::new(rx))
}

/// What both ends of a queue say of it; the end is the field `end`.
macro_rules! queue_handle {
    ($name:ident) => {
        impl<T> $name<T> {
            /// How many values lie in the buffer.
            pub fn len(&self) -> usize {
                self.end.len()
            }

            /// Whether no value lies in the buffer.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether nothing fits into the buffer, as always in a rendezvous.
            pub fn is_full(&self) -> bool {
                self.len() >= self.end.capacity
            }

            /// How many values fit into the buffer: 0 in a rendezvous; `None` if there is no end.
            pub fn capacity(&self) -> Option<usize> {
                (!self.end.is_unbounded()).then_some(self.end.capacity)
            }

            /// Closes the channel for both sides: nothing more is sent, senders that wait have
            /// their values back, and receivers get what is in the buffer, and then the end.
            pub fn close(&self) {
                self.end.close();
            }
        }
    };
}

use queue_handle;

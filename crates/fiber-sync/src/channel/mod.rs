//! Channels: many senders, many receivers, each value to one of them.
//!
//! ```text
//!            [`rendezvous`]                              [`bounded`]
//! send ──────────────────────▶ recv       send ──▶ │ v4 │ v3 │ v2 │ v1 │ ──▶ recv
//! either waits for the other              senders wait while it is full,
//!                                         receivers wait while it is empty
//! ```
//!
//! First come, first served on both sides. Memory is allocated when the channel is made and never
//! for a value: those who wait keep theirs in their own frame. A value is with its sender until the
//! moment it is taken, so a send that fails, is cancelled or takes too long has it still.

mod error;
mod operation;
mod receiver;
mod sender;
mod shared;

use alloc::sync::Arc;

use self::shared::Shared;
pub use self::{
    error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError},
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

fn of_capacity<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(capacity));
    (Sender::new(Arc::clone(&shared)), Receiver::new(shared))
}

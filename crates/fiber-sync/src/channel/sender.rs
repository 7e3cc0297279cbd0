//! The end of a channel into which values go.

use alloc::sync::Arc;
use core::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    pin::pin,
    time::Duration,
};

use fiber_core::operation::{perform, perform_pinned, try_perform};

use super::{
    error::{SendError, SendTimeoutError, TrySendError},
    operation::SendOperation,
    shared::Shared,
};
use crate::primitive::Ordering;

/// Sends values. Cloned for more senders; when the last one is dropped the channel is closed, and
/// receivers get what was sent before.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    /// The first sender, which is counted already.
    pub(super) const fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Sends `value`: into the buffer, or to a receiver.
    ///
    /// # Suspends
    /// Until there is room, or, in a rendezvous, until a receiver has taken it.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and drops the value, unless it was sent already.
    ///
    /// # Errors
    /// When every receiver is gone; the error has the value.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        perform(self.send_operation(value))
    }

    /// Sends `value` if that is possible at once. Never suspends.
    ///
    /// # Errors
    /// When there is no room, or when every receiver is gone; the error has the value.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match try_perform(self.send_operation(value)) {
            Ok(sent) => Ok(sent?),
            Err(operation) => Err(TrySendError::Full(operation.into_value())),
        }
    }

    /// [`Sender::send`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`Sender::send`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    ///
    /// # Errors
    /// When the time is over, or when every receiver is gone; the error has the value.
    pub fn send_timeout(&self, value: T, span: Duration) -> Result<(), SendTimeoutError<T>> {
        let mut operation = pin!(self.send_operation(value));
        match perform_pinned(operation.as_mut(), Some(span)) {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(SendTimeoutError::Elapsed(operation.take_value())),
        }
    }

    /// Sending `value`, as an operation.
    pub fn send_operation(&self, value: T) -> SendOperation<'_, T> {
        SendOperation::new(&self.shared, value)
    }

    /// How many values lie in the buffer.
    pub fn len(&self) -> usize {
        self.shared.state.lock().buffer.len()
    }

    /// Whether no value lies in the buffer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values fit into the buffer; 0 in a rendezvous.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Whether both send into the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        // As many as there are references, of which `Arc` does not allow too many.
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // What the others sent comes before the end, which is announced under the lock.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close_senders();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

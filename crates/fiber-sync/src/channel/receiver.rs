//! The end of a channel out of which values come.

use alloc::sync::Arc;
use core::{
    fmt,
    iter::FusedIterator,
    panic::{RefUnwindSafe, UnwindSafe},
    time::Duration,
};

use fiber_core::operation::{perform, perform_until, try_perform};

use super::{
    error::{RecvError, RecvTimeoutError, TryRecvError},
    operation::RecvOperation,
    shared::Shared,
};
use crate::primitive::Ordering;

/// Receives values, each of which goes to one receiver. Cloned for more receivers; when the last
/// one is dropped the channel is closed, senders keep their values, and what lies in the buffer is
/// dropped.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    /// The first receiver, which is counted already.
    pub(super) const fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Receives the value that was sent first.
    ///
    /// # Suspends
    /// Until there is one for this receiver.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and takes no value along: one that has reached it is
    /// returned, and the cancel waits for the next point.
    ///
    /// # Errors
    /// When every sender is gone and nothing is left.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        perform(self.recv_operation())
    }

    /// Receives a value if one is there. Never suspends.
    ///
    /// # Errors
    /// When nothing is there, now or for ever.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match try_perform(self.recv_operation()) {
            Ok(received) => Ok(received?),
            Err(_) => Err(TryRecvError::Empty),
        }
    }

    /// [`Receiver::recv`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`Receiver::recv`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// When the time is over, or when every sender is gone and nothing is left.
    pub fn recv_timeout(&self, span: Duration) -> Result<T, RecvTimeoutError> {
        match perform_until(self.recv_operation(), Some(span)) {
            Ok(received) => Ok(received?),
            Err(_) => Err(RecvTimeoutError::Elapsed),
        }
    }

    /// Receiving, as an operation.
    pub fn recv_operation(&self) -> RecvOperation<'_, T> {
        RecvOperation::new(&self.shared)
    }

    /// Receives until every sender is gone, waiting for each value.
    pub const fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives what is there, waiting for nothing.
    pub const fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
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

    /// Whether both receive from the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        // As many as there are references, of which `Arc` does not allow too many.
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close_receivers();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'receiver, T> {
    receiver: &'receiver Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'receiver, T> {
    receiver: &'receiver Receiver<T>,
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// Receives until every sender is gone, and owns its receiver.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'receiver, T> IntoIterator for &'receiver Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'receiver, T>;

    fn into_iter(self) -> Iter<'receiver, T> {
        self.iter()
    }
}

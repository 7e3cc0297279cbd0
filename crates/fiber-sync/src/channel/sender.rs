//! The end of a channel into which values go.

use core::{pin::pin, time::Duration};

use fiber_core::{
    operation::{perform, perform_pinned, try_perform},
    park::charge,
};

use super::{
    ends::{Tx, handle},
    error::{SendError, SendTimeoutError, TrySendError},
    operation::{Held, SendOperation, sent},
    queue_handle,
    shared::{Queue, Slot},
};

/// Sends values. Cloned for more senders; when the last one is dropped the channel is closed, and
/// receivers get what was sent before.
pub struct Sender<T> {
    end: Tx<Queue<T>>,
}

handle!(Sender);
queue_handle!(Sender);

impl<T> Sender<T> {
    /// The first sender, which is counted already.
    pub(super) const fn new(end: Tx<Queue<T>>) -> Self {
        Self { end }
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
    /// When the channel is closed; the error has the value.
    #[inline(always)]
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        // Most are sent at once, and need no operation, which would be built in memory first.
        charge();
        let mut slot = Some(value);
        if self.end.try_send(&mut slot) {
            return sent(&self.end, slot);
        }
        match self.end.capacity {
            0 => perform(self.sending(slot)),
            _ => self.send_waiting(slot),
        }
    }

    #[inline(never)]
    #[track_caller]
    fn send_waiting(&self, slot: Slot<T>) -> Result<(), SendError<T>> {
        perform(self.sending(slot))
    }

    #[inline(always)]
    #[track_caller]
    const fn sending(&self, slot: Slot<T>) -> SendOperation<'_, T> {
        SendOperation::new(Held::Borrowed(&self.end), slot)
    }

    /// Sends `value` if that is possible at once. Never suspends.
    ///
    /// # Errors
    /// When there is no room, or when the channel is closed; the error has the value.
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
    /// When the time is over, or when the channel is closed; the error has the value.
    #[track_caller]
    pub fn send_timeout(&self, value: T, span: Duration) -> Result<(), SendTimeoutError<T>> {
        let mut operation = pin!(self.send_operation(value));
        // SAFETY: it was made just now, so nothing has committed it (I-12).
        match unsafe { perform_pinned(operation.as_mut(), Some(span)) } {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(SendTimeoutError::Elapsed(operation.take_value())),
        }
    }

    /// Sending `value`, as an operation, which owns the value until it is sent.
    #[track_caller]
    pub fn send_operation(&self, value: T) -> SendOperation<'_, T> {
        self.sending(Some(value))
    }

    /// Sending, as an operation that has this handle in it; see
    /// [`Receiver::into_recv_operation`](super::Receiver::into_recv_operation).
    #[track_caller]
    pub fn into_send_operation<'a>(self, value: T) -> SendOperation<'a, T>
    where
        T: 'a,
    {
        SendOperation::new(Held::Owned(self.end), Some(value))
    }

    /// Sending the value in `slot`, as an operation: it is taken from there when it is sent, and is
    /// there still when something else was chosen.
    ///
    /// ```
    /// use fiber_core::{choose, operation::always};
    ///
    /// let (sender, _receiver) = fiber_sync::channel::rendezvous();
    /// let mut order = Some("two teas");
    /// choose! {
    ///     sent = sender.send_operation_from(&mut order) => sent.unwrap(),
    ///     () = always(()) => {}
    /// }
    /// assert_eq!(order, Some("two teas"));
    /// ```
    ///
    /// # Panics
    /// When `slot` is empty.
    #[track_caller]
    pub fn send_operation_from<'a>(
        &'a self,
        slot: &'a mut Option<T>,
    ) -> SendOperation<'a, T, &'a mut Option<T>> {
        assert!(slot.is_some(), "there is a value to be sent in the slot");
        SendOperation::new(Held::Borrowed(&self.end), slot)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self::new(self.end.clone())
    }
}

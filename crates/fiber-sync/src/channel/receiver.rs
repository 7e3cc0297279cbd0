//! The end of a channel out of which values come.

use core::{iter::FusedIterator, panic::Location, time::Duration};

use fiber_core::{
    operation::{perform, perform_until, try_perform},
    park::charge,
};

use super::{
    ends::{Rx, handle},
    error::{RecvError, RecvTimeoutError, TryRecvError},
    operation::{Held, RecvOperation, received},
    queue_handle,
    shared::Queue,
};

/// Receives values, each of which goes to one receiver. Cloned for more receivers; when the last
/// one is dropped the channel is closed, senders keep their values, and what lies in the buffer is
/// dropped.
pub struct Receiver<T> {
    end: Rx<Queue<T>>,
}

/// What reports call it.
const RECEIVING: &str = "receiving";

handle!(Receiver);
queue_handle!(Receiver);

impl<T> Receiver<T> {
    /// The first receiver, which is counted already.
    pub(super) const fn new(end: Rx<Queue<T>>) -> Self {
        Self { end }
    }

    pub(super) fn queue(&self) -> &Queue<T> {
        &self.end
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
    /// When the channel is closed and nothing is left.
    #[inline(always)]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_from(Location::caller())
    }

    /// [`Receiver::recv`] for somebody who called from `site`.
    #[inline(always)]
    fn recv_from(&self, site: &'static Location<'static>) -> Result<T, RecvError> {
        match self.end.capacity {
            0 => perform(self.receiving(site)),
            _ => self.recv_buffered(site),
        }
    }

    /// Most are received at once, which needs no operation.
    #[inline]
    fn recv_buffered(&self, site: &'static Location<'static>) -> Result<T, RecvError> {
        charge();
        let mut slot = None;
        if self.end.try_recv(&mut slot) {
            return received(slot);
        }
        self.recv_waiting(site)
    }

    #[inline(never)]
    fn recv_waiting(&self, site: &'static Location<'static>) -> Result<T, RecvError> {
        perform(self.receiving(site))
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
    /// When the time is over, or when the channel is closed and nothing is left.
    #[track_caller]
    pub fn recv_timeout(&self, span: Duration) -> Result<T, RecvTimeoutError> {
        match perform_until(self.recv_operation(), Some(span)) {
            Ok(received) => Ok(received?),
            Err(_) => Err(RecvTimeoutError::Elapsed),
        }
    }

    /// Receiving, as an operation.
    #[track_caller]
    pub fn recv_operation(&self) -> RecvOperation<'_, T> {
        self.receiving(Location::caller())
    }

    /// Receiving, as an operation that has this handle in it: to be given away, such as by a guard
    /// that makes the channel, or to a fiber that waits for it before it starts.
    #[track_caller]
    pub fn into_recv_operation<'a>(self) -> RecvOperation<'a, T>
    where
        T: 'a,
    {
        RecvOperation::new(Held::Owned(self.end), RECEIVING, Location::caller())
    }

    /// Receives until the channel is closed and empty, waiting for each value.
    #[track_caller]
    pub const fn iter(&self) -> Iter<'_, T> {
        Iter {
            receiver: self,
            site: Location::caller(),
        }
    }

    #[inline(always)]
    const fn receiving(&self, site: &'static Location<'static>) -> RecvOperation<'_, T> {
        RecvOperation::new(Held::Borrowed(&self.end), RECEIVING, site)
    }

    /// Receives what is there, waiting for nothing.
    pub const fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(self.end.clone())
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'receiver, T> {
    receiver: &'receiver Receiver<T>,
    /// The loop, for reports.
    site: &'static Location<'static>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv_from(self.site).ok()
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

/// Receives until the channel is closed and empty, and owns its receiver.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
    /// As in [`Iter`].
    site: &'static Location<'static>,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv_from(self.site).ok()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    #[track_caller]
    fn into_iter(self) -> IntoIter<T> {
        IntoIter {
            receiver: self,
            site: Location::caller(),
        }
    }
}

impl<'receiver, T> IntoIterator for &'receiver Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'receiver, T>;

    #[track_caller]
    fn into_iter(self) -> Iter<'receiver, T> {
        self.iter()
    }
}

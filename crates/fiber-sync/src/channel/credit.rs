//! Values for which the receiver has made room before: a window, granted ahead.
//!
//! A sender takes a [`Credit`] first, and then makes and sends its value, which never waits. The
//! receiver gives a credit back for each value that it has taken, at once or in batches. A credit
//! is a value that goes the other way:
//!
//! ```text
//!            ┌──────── values ───────▶
//!   sender   │                        │  receiver
//!            ◀─────── credits ────────┘
//!   credits waiting + held + values in flight + credits owed = window, at every moment
//! ```
//!
//! So no more than `window` values are ever in flight, both queues have their memory from the
//! beginning, and whoever dies gives back what it held: a [`Credit`] that is dropped returns, and
//! with the last receiver the channel closes. As a batch is not larger than the window, senders
//! get credits again when the receiver has taken what is in flight: nobody stalls.

use alloc::sync::Arc;
use core::{iter, mem, panic::Location, time::Duration};

use fiber_core::operation::{Operation, perform, perform_until, try_perform};

use super::{
    ends::{self, Rx, Tx, handle},
    error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError},
    mailbox::Overflow,
    operation::{Held, RecvOperation},
    shared::Queue,
};
use crate::primitive::{AtomicUsize, Ordering};

/// A channel with a window of so many values, whose receiver gives each credit back at once.
///
/// ```
/// use fiber_sync::channel::credit;
///
/// let (sender, receiver) = credit::channel(2);
/// let credit = sender.credit().unwrap();
/// credit.send("made when there was room").unwrap();
/// sender.send("made before").unwrap();
/// assert!(sender.try_credit().is_err());
/// assert_eq!(receiver.recv(), Ok("made when there was room"));
/// assert_eq!(sender.available(), 1);
/// ```
///
/// # Panics
/// When `window` is 0, and when there is not enough memory for it, which is taken here.
pub fn channel<T>(window: usize) -> (Sender<T>, Receiver<T>) {
    in_batches(window, 1)
}

/// [`channel`] whose receiver gives credits back `batch` at a time, so that a sender that waits is
/// woken once for all of them.
///
/// # Panics
/// As [`channel`], and unless `batch` is from 1 to `window`.
pub fn in_batches<T>(window: usize, batch: usize) -> (Sender<T>, Receiver<T>) {
    assert!(
        (1..=window).contains(&batch),
        "a window holds at least one value, and at least one batch of credits"
    );
    let (values_tx, values_rx) = ends::open(Queue::new(window, Overflow::Block));
    let (credits_tx, credits_rx) = ends::open(Queue::new(window, Overflow::Block));
    grant(&credits_tx, window);
    let returns = Arc::new(Returns {
        owed: AtomicUsize::new(0),
        batch,
    });
    let sender = Sender {
        end: values_tx,
        credits: credits_rx,
    };
    let receiver = Receiver {
        end: values_rx,
        credits: credits_tx,
        returns,
    };
    (sender, receiver)
}

/// Puts credits where senders find them. After the end nobody wants them.
fn grant(credits: &Queue<()>, count: usize) {
    for _ in 0..count {
        let settled = credits.try_send(&mut Some(()));
        debug_assert!(settled, "there are never more credits than the window");
    }
}

/// Sends values for which it has a credit. Cloned for more senders, which share the window.
pub struct Sender<T> {
    end: Tx<Queue<T>>,
    credits: Rx<Queue<()>>,
}

/// Receives values, and gives credits for more. Cloned for more receivers.
pub struct Receiver<T> {
    end: Rx<Queue<T>>,
    credits: Tx<Queue<()>>,
    returns: Arc<Returns>,
}

/// Credits that are to be given back together.
struct Returns {
    owed: AtomicUsize,
    batch: usize,
}

handle!(Sender);
handle!(Receiver);

/// The right to send one value without waiting. Dropped unused it goes back.
#[must_use = "a credit that is dropped goes back"]
pub struct Credit<'sender, T> {
    sender: &'sender Sender<T>,
}

impl<T> Credit<'_, T> {
    /// Sends `value`. Never suspends.
    ///
    /// # Errors
    /// When the channel is closed; the error has the value.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let mut slot = Some(value);
        let settled = self.sender.end.try_send(&mut slot);
        debug_assert!(settled, "a credit is a place");
        match slot {
            None => {
                // It is with the value now, and comes back from the receiver.
                mem::forget(self);
                Ok(())
            }
            Some(value) => Err(SendError(value)),
        }
    }
}

impl<T> Drop for Credit<'_, T> {
    fn drop(&mut self) {
        grant(&self.sender.credits, 1);
    }
}

impl<T> core::fmt::Debug for Credit<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credit").finish_non_exhaustive()
    }
}

impl<T> Sender<T> {
    /// Takes a credit.
    ///
    /// # Suspends
    /// Until there is one. First come, first served.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, without a credit.
    ///
    /// # Errors
    /// When the channel is closed.
    #[track_caller]
    pub fn credit(&self) -> Result<Credit<'_, T>, SendError<()>> {
        perform(self.credit_operation())
    }

    /// Takes a credit if there is one. Never suspends.
    ///
    /// # Errors
    /// When there is none, or when the channel is closed.
    pub fn try_credit(&self) -> Result<Credit<'_, T>, TrySendError<()>> {
        match try_perform(self.credit_operation()) {
            Ok(credit) => Ok(credit?),
            Err(_) => Err(TrySendError::Full(())),
        }
    }

    /// [`Sender::credit`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`Sender::credit`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Sender::credit`].
    ///
    /// # Errors
    /// When the time is over, or when the channel is closed.
    #[track_caller]
    pub fn credit_timeout(&self, span: Duration) -> Result<Credit<'_, T>, SendTimeoutError<()>> {
        match perform_until(self.credit_operation(), Some(span)) {
            Ok(credit) => Ok(credit?),
            Err(_) => Err(SendTimeoutError::Elapsed(())),
        }
    }

    /// Taking a credit, as an operation.
    #[track_caller]
    pub fn credit_operation(
        &self,
    ) -> impl Operation<Output = Result<Credit<'_, T>, SendError<()>>> + use<'_, T> {
        let site = Location::caller();
        RecvOperation::new(Held::Borrowed(&self.credits), "a credit", site).wrap(|received| {
            match received {
                Ok(()) => {
                    let credit = Credit { sender: self };
                    // What is left of the window is of no use after the end.
                    if self.is_closed() {
                        return Err(SendError(()));
                    }
                    Ok(credit)
                }
                Err(RecvError) => Err(SendError(())),
            }
        })
    }

    /// Takes a credit and sends `value` for it.
    ///
    /// # Suspends
    /// As [`Sender::credit`].
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and drops the value, unless it was sent already.
    ///
    /// # Errors
    /// When the channel is closed; the error has the value.
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.credit() {
            Ok(credit) => credit.send(value),
            Err(_) => Err(SendError(value)),
        }
    }

    /// [`Sender::send`] if there is a credit. Never suspends.
    ///
    /// # Errors
    /// When there is none, or when the channel is closed; the error has the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.try_credit() {
            Ok(credit) => Ok(credit.send(value)?),
            Err(TrySendError::Full(())) => Err(TrySendError::Full(value)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(value)),
        }
    }

    /// [`Sender::send`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`Sender::credit`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    ///
    /// # Errors
    /// When the time is over, or when the channel is closed; the error has the value.
    #[track_caller]
    pub fn send_timeout(&self, value: T, span: Duration) -> Result<(), SendTimeoutError<T>> {
        match self.credit_timeout(span) {
            Ok(credit) => Ok(credit.send(value)?),
            Err(SendTimeoutError::Elapsed(())) => Err(SendTimeoutError::Elapsed(value)),
            Err(SendTimeoutError::Closed(())) => Err(SendTimeoutError::Closed(value)),
        }
    }

    /// Sending `value`, as an operation. To keep the value when something else is chosen, wait for
    /// a credit instead, and make the value then.
    #[track_caller]
    pub fn send_operation(
        &self,
        value: T,
    ) -> impl Operation<Output = Result<(), SendError<T>>> + use<'_, T> {
        self.credit_operation().wrap(|credit| match credit {
            Ok(credit) => credit.send(value),
            Err(_) => Err(SendError(value)),
        })
    }

    /// How many credits nobody holds.
    pub fn available(&self) -> usize {
        self.credits.len()
    }
}

impl<T> Receiver<T> {
    /// Receives the value that was sent first, and owes a credit for it.
    ///
    /// # Suspends
    /// Until there is one for this receiver.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and takes no value along.
    ///
    /// # Errors
    /// When the channel is closed and nothing is left.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        perform(self.recv_operation())
    }

    /// Receives a value if one is there. Never suspends.
    ///
    /// # Errors
    /// When nothing is there, now or for ever.
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
    pub fn recv_operation(&self) -> impl Operation<Output = Result<T, RecvError>> + use<'_, T> {
        self.receiving(Location::caller())
    }

    fn receiving(
        &self,
        site: &'static Location<'static>,
    ) -> impl Operation<Output = Result<T, RecvError>> + use<'_, T> {
        RecvOperation::new(Held::Borrowed(&self.end), "receiving", site).wrap(|received| {
            if received.is_ok() {
                self.give_back_one();
            }
            received
        })
    }

    fn give_back_one(&self) {
        let Returns { owed, batch } = &*self.returns;
        if owed.fetch_add(1, Ordering::Relaxed) + 1 >= *batch {
            // Another receiver may have been here before: then there is nothing to give.
            grant(&self.credits, owed.swap(0, Ordering::Relaxed));
        }
    }

    /// Receives until the channel is closed and empty, waiting for each value.
    #[track_caller]
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'_, T> {
        let site = Location::caller();
        iter::from_fn(move || perform(self.receiving(site)).ok())
    }

    /// Receives what is there, waiting for nothing.
    pub fn try_iter(&self) -> impl Iterator<Item = T> + use<'_, T> {
        iter::from_fn(|| self.try_recv().ok())
    }
}

/// What both ends say of the window.
macro_rules! window {
    ($name:ident) => {
        impl<T> $name<T> {
            /// How many values are in flight: sent, and not received.
            pub fn len(&self) -> usize {
                self.end.len()
            }

            /// Whether no value is in flight.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The window: how many values may be in flight, and credits be held.
            pub fn window(&self) -> usize {
                self.end.capacity
            }

            /// Closes the channel for both sides: nothing more is sent, senders that wait for a
            /// credit learn of it, and receivers get what is in flight, and then the end.
            pub fn close(&self) {
                self.end.close();
                self.credits.close();
            }
        }
    };
}

window!(Sender);
window!(Receiver);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            end: self.end.clone(),
            credits: self.credits.clone(),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            end: self.end.clone(),
            credits: self.credits.clone(),
            returns: Arc::clone(&self.returns),
        }
    }
}

//! Every message to every receiver; the slow ones are told how many they have missed.
//!
//! A ring of fixed size holds the last messages; each receiver has a cursor of its own, so that one
//! that is slow keeps neither the sender nor other receivers waiting. One that was overtaken gets
//! [`RecvError::Lagged`] with the exact number, and goes on with the oldest message that is left.
//!
//! News that change a picture (a book of orders, a list of members) need a first picture to start
//! from. [`Sender::subscribe_with`] takes it and subscribes in one step:
//!
//! ```
//! use fiber_sync::{Mutex, channel::broadcast};
//!
//! let members = Mutex::new(vec!["ann"]);
//! let (sender, _receiver) = broadcast::channel(16);
//! let join = |name| sender.send_with(|| {
//!     members.lock().unwrap().push(name);
//!     name
//! });
//! join("bob").unwrap();
//! let (picture, mut news) = sender.subscribe_with(|| members.lock().unwrap().clone());
//! join("eve").unwrap();
//! assert_eq!(picture, ["ann", "bob"]);
//! assert_eq!(news.recv(), Ok("eve"));
//! ```

mod error;
mod ring;

use alloc::sync::Arc;
use core::time::Duration;

use fiber_core::operation::{Operation, Resource, perform, perform_until, try_perform};

pub use self::error::{RecvError, RecvTimeoutError, TryRecvError};
use self::ring::{Place, Put, Ring};
use super::{
    bell::{Bell, Event, Hear},
    ends::{self, Channel, Rx, Tx, handle},
    error::{SendError, SendTimeoutError, TrySendError},
};
use crate::{LockResult, Mutex, MutexGuard};

/// A broadcast that keeps its last `capacity` messages, and its first receiver.
///
/// # Panics
/// When `capacity` is 0, and when there is not enough memory, which is taken here.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast keeps at least one message");
    let (tx, rx) = ends::open(Broadcast {
        order: Mutex::new(()),
        bell: Bell::new(Ring::new(capacity)),
    });
    let receiver = Receiver { end: rx, cursor: 0 };
    (Sender { end: tx }, receiver)
}

struct Broadcast<T> {
    /// Held while a message is made and sent, and while a snapshot is made and subscribed to.
    order: Mutex<()>,
    bell: Bell<Ring<T>>,
}

/// A message that was overwritten, or the place that it lies in.
type Evicted<T> = (Option<T>, Option<Place<T>>);

impl<T> Broadcast<T> {
    #[track_caller]
    fn order(&self) -> MutexGuard<'_, ()> {
        // There is nothing that a panic could leave half done.
        match self.order.lock() {
            Ok(order) => order,
            Err(error) => error.into_inner(),
        }
    }

    fn close(&self) {
        self.bell.ring(|ring| {
            ring.closed = true;
            true
        });
    }

    /// With `order` held. Gives the message that was overwritten, to be dropped when it is not:
    /// that is the user's code, and may use the channel.
    fn send(&self, message: T) -> Result<Evicted<T>, SendError<T>> {
        let mut message = Some(message);
        let mut spare = None;
        loop {
            let mut put = Put::Closed;
            self.bell.ring(|ring| {
                put = ring.put(&mut message, &mut spare);
                matches!(put, Put::Done)
            });
            match put {
                Put::Done => return Ok((message, spare)),
                Put::Closed => {
                    let message = message.or_else(|| Arc::into_inner(spare?)?);
                    return Err(SendError(message.expect("it was not sent")));
                }
                Put::Occupied => spare = Some(Arc::new(message.take())),
            }
        }
    }
}

impl<T> Channel for Broadcast<T> {
    fn senders_gone(&self) {
        self.close();
    }

    /// There may be others later.
    fn receivers_gone(&self) {}

    fn is_closed(&self) -> bool {
        self.bell.with(|ring| ring.closed)
    }
}

/// Sends messages to all receivers. Cloned for more senders; the last one that is dropped closes
/// the channel.
pub struct Sender<T> {
    end: Tx<Broadcast<T>>,
}

/// Receives a copy of every message from the moment on at which it was made. A clone has the same
/// messages before it.
pub struct Receiver<T> {
    end: Rx<Broadcast<T>>,
    /// The number of the message that it receives next.
    cursor: u64,
}

handle!(Sender);
handle!(Receiver);

impl<T> Sender<T> {
    /// Sends `message`, which overwrites the oldest one when the ring is full. Gives the number of
    /// receivers.
    ///
    /// # Suspends
    /// Only while another sender is in [`Sender::send_with`] or [`Sender::subscribe_with`].
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds there and drops the message.
    ///
    /// # Errors
    /// When there is no receiver at this moment, or the channel is closed; the error has the
    /// message.
    ///
    /// # Panics
    /// As [`Sender::send_with`].
    #[track_caller]
    pub fn send(&self, message: T) -> Result<usize, SendError<T>> {
        perform(self.send_operation(message))
    }

    /// [`Sender::send`] that never suspends.
    ///
    /// # Errors
    /// As [`Sender::send`], and [`TrySendError::Full`] while another sender makes a message or a
    /// snapshot.
    #[track_caller]
    pub fn try_send(&self, message: T) -> Result<usize, TrySendError<T>> {
        match try_perform(self.end.order.lock_operation()) {
            Ok(order) => Ok(self.send_ordered(order, message)?),
            Err(_) => Err(TrySendError::Full(message)),
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
    /// As [`Sender::send`], and when the time is over.
    #[track_caller]
    pub fn send_timeout(&self, message: T, span: Duration) -> Result<usize, SendTimeoutError<T>> {
        match perform_until(self.end.order.lock_operation(), Some(span)) {
            Ok(order) => Ok(self.send_ordered(order, message)?),
            Err(_) => Err(SendTimeoutError::Elapsed(message)),
        }
    }

    /// Sending `message`, as an operation.
    #[track_caller]
    pub fn send_operation(
        &self,
        message: T,
    ) -> impl Operation<Output = Result<usize, SendError<T>>> + use<'_, T> {
        let lock = self.end.order.lock_operation();
        lock.wrap(|order| self.send_ordered(order, message))
    }

    /// A poisoned lock is as good as any: there is nothing that a panic could leave half done. One
    /// that is not held is none.
    fn send_ordered(
        &self,
        order: LockResult<MutexGuard<'_, ()>>,
        message: T,
    ) -> Result<usize, SendError<T>> {
        let order = order.unwrap_or_else(|error| error.into_inner());
        let receivers = self.receiver_count();
        if receivers == 0 {
            return Err(SendError(message));
        }
        let sent = self.end.send(message);
        drop(order);
        sent.map(|_evicted| receivers)
    }

    /// Makes a message and sends it, while nobody sends or subscribes: what `make` changes and what
    /// it returns are one step to those who use [`Sender::subscribe_with`].
    ///
    /// # Suspends
    /// As [`Sender::send`], and where `make` does.
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`]; what `make` has done stays.
    ///
    /// # Panics
    /// When a fiber sends, or makes a snapshot, to the same channel inside of `make`, or waits in a
    /// longer circle; a plain thread would wait for ever.
    #[track_caller]
    pub fn send_with(&self, make: impl FnOnce() -> T) -> Result<usize, SendError<T>> {
        let order = self.end.order();
        let message = make();
        self.send_ordered(Ok(order), message)
    }

    /// One more receiver, of the messages that are sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let end = self.end.subscribe();
        let cursor = end.bell.with(|ring| ring.next());
        Receiver { end, cursor }
    }

    /// Makes a snapshot and subscribes while nobody sends: the receiver's first message is the
    /// first one that the snapshot does not know of, if messages come from [`Sender::send_with`].
    ///
    /// # Suspends
    /// While another sender makes a message or a snapshot, and where `snapshot` does.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds there, without a receiver.
    ///
    /// # Panics
    /// As [`Sender::send_with`].
    #[track_caller]
    pub fn subscribe_with<S>(&self, snapshot: impl FnOnce() -> S) -> (S, Receiver<T>) {
        let _order = self.end.order();
        (snapshot(), self.subscribe())
    }

    /// How many messages are kept.
    pub fn capacity(&self) -> usize {
        self.end.bell.with(|ring| ring.capacity())
    }

    /// Closes the channel for both sides: receivers get what is in the ring, and then the end.
    pub fn close(&self) {
        self.end.close();
    }
}

impl<T: Clone> Receiver<T> {
    /// Receives the next message.
    ///
    /// # Suspends
    /// Until there is one.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here; the message is still before it.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] when messages were overwritten before they were received, and
    /// [`RecvError::Closed`] at the end.
    #[track_caller]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        perform(self.recv_operation())
    }

    /// Receives the next message if there is one. Never suspends.
    ///
    /// # Errors
    /// As [`Receiver::recv`], and [`TryRecvError::Empty`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
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
    /// As [`Receiver::recv`], and [`RecvTimeoutError::Elapsed`] when the time is over.
    #[track_caller]
    pub fn recv_timeout(&mut self, span: Duration) -> Result<T, RecvTimeoutError> {
        match perform_until(self.recv_operation(), Some(span)) {
            Ok(received) => Ok(received?),
            Err(_) => Err(RecvTimeoutError::Elapsed),
        }
    }

    /// Receiving, as an operation.
    #[track_caller]
    pub fn recv_operation(&mut self) -> impl Operation<Output = Result<T, RecvError>> + use<'_, T> {
        Hear::new(Next { receiver: self })
    }
}

impl<T> Receiver<T> {
    /// How many messages are before it, those included that it has missed.
    pub fn len(&self) -> u64 {
        self.end.bell.with(|ring| ring.next()) - self.cursor
    }

    /// Whether it has everything that was sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            end: self.end.clone(),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            end: self.end.clone(),
            cursor: self.cursor,
        }
    }
}

struct Next<'receiver, T> {
    receiver: &'receiver mut Receiver<T>,
}

impl<T: Clone> Event for Next<'_, T> {
    type State = Ring<T>;
    type Output = Result<T, RecvError>;
    const NAME: &'static str = "a broadcast";

    fn bell(&self) -> &Bell<Ring<T>> {
        &self.receiver.end.bell
    }

    fn peers(&self) -> &dyn Resource {
        self.receiver.end.peers()
    }

    fn has_come(&self, ring: &Ring<T>) -> bool {
        ring.closed || ring.next() != self.receiver.cursor
    }

    fn outcome(&mut self) -> Self::Output {
        let Receiver { end, cursor } = &mut *self.receiver;
        let taken = end.bell.with(|ring| ring.take(cursor));
        match taken {
            Some(Ok(place)) => Ok((*place).clone().expect("a place below `next` is full")),
            Some(Err(missed)) => Err(RecvError::Lagged(missed)),
            None => Err(RecvError::Closed),
        }
    }
}

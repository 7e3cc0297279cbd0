//! One value, once: an answer, a promise.
//!
//! ```text
//! EMPTY ──send──▶ SENT ──recv──▶ CLOSED          a shared value stays SENT: each takes a copy
//!   └──── a side is gone ──────────▲
//! ```
//!
//! A promise that is broken (its sender is dropped without a value) is an error to those who wait,
//! and nobody waits for ever.

use alloc::sync::Arc;
use core::{mem, time::Duration};

use fiber_core::operation::{Operation, Resource, perform, perform_until, try_perform};

use super::{
    bell::{Bell, Event, Hear},
    ends::{self, Channel, Rx, Tx, handle},
    error::{RecvError, RecvTimeoutError, SendError, TryRecvError},
};

/// A channel for one value: the sender is used up by sending.
///
/// ```
/// use fiber_sync::channel::oneshot;
///
/// let (sender, receiver) = oneshot::channel();
/// sender.send("pong").unwrap();
/// assert_eq!(receiver.recv(), Ok("pong"));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = ends::open(OneShot::new());
    (Sender { end: tx }, Receiver { end: rx })
}

/// A channel for one value, of which every receiver gets a copy, whenever it asks.
///
/// ```
/// use fiber_sync::channel::oneshot;
///
/// let (sender, receiver) = oneshot::shared();
/// let second = receiver.clone();
/// sender.send("ready").unwrap();
/// assert_eq!((receiver.recv(), second.recv()), (Ok("ready"), Ok("ready")));
/// ```
pub fn shared<T: Clone>() -> (SharedSender<T>, SharedReceiver<T>) {
    let (tx, rx) = ends::open(OneShot::new());
    (SharedSender { end: tx }, SharedReceiver { end: rx })
}

struct OneShot<V> {
    bell: Bell<State<V>>,
}

enum State<V> {
    Empty,
    Sent(V),
    Closed,
}

impl<V> OneShot<V> {
    fn new() -> Self {
        Self {
            bell: Bell::new(State::Empty),
        }
    }

    /// The value comes back if nobody is there to receive it.
    fn send(&self, value: V) -> Result<(), V> {
        let mut value = Some(value);
        self.bell.ring(|state| {
            let is_empty = matches!(state, State::Empty);
            if is_empty && let Some(value) = value.take() {
                *state = State::Sent(value);
            }
            is_empty
        });
        value.map_or(Ok(()), Err)
    }

    /// The value, for the only one who gets it.
    fn take(&self) -> Result<V, RecvError> {
        match self.bell.with(|state| mem::replace(state, State::Closed)) {
            State::Sent(value) => Ok(value),
            _ => Err(RecvError),
        }
    }
}

impl<V> State<V> {
    const fn is_decided(&self) -> bool {
        !matches!(self, Self::Empty)
    }
}

impl<V> Channel for OneShot<V> {
    fn senders_gone(&self) {
        self.bell.ring(|state| {
            let is_broken = matches!(state, State::Empty);
            if is_broken {
                *state = State::Closed;
            }
            is_broken
        });
    }

    fn receivers_gone(&self) {
        drop(self.take());
    }

    fn is_closed(&self) -> bool {
        self.bell.with(|state| state.is_decided())
    }
}

/// Sends one value, and is used up by it. Dropped without, it breaks its promise.
pub struct Sender<T> {
    end: Tx<OneShot<T>>,
}

/// Sends one value to all who hold a [`SharedReceiver`].
pub struct SharedSender<T> {
    end: Tx<OneShot<Arc<T>>>,
}

/// Receives the one value.
///
/// Unlike std's it can be asked without being used up, so that a wait that took too long can be
/// repeated; the value is given once, and asking again is answered as by a closed channel.
pub struct Receiver<T> {
    end: Rx<OneShot<T>>,
}

/// Receives a copy of the one value, any number of times. Cloned for more receivers.
pub struct SharedReceiver<T> {
    end: Rx<OneShot<Arc<T>>>,
}

impl<T> Sender<T> {
    /// Sends `value`. Never suspends.
    ///
    /// # Errors
    /// When the receiver is gone; the error has the value.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        self.end.send(value).map_err(SendError)
    }
}

impl<T: Clone> SharedSender<T> {
    /// Sends `value`. Never suspends.
    ///
    /// # Errors
    /// When every receiver is gone; the error has the value.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        self.end
            .send(Arc::new(value))
            .map_err(|value| SendError(Arc::unwrap_or_clone(value)))
    }
}

impl<T> Clone for SharedReceiver<T> {
    fn clone(&self) -> Self {
        Self {
            end: self.end.clone(),
        }
    }
}

handle!(Sender);
handle!(SharedSender);
handle!(Receiver);
handle!(SharedReceiver);

struct Take<'receiver, T>(&'receiver Rx<OneShot<T>>);

impl<T> Event for Take<'_, T> {
    type State = State<T>;
    type Output = Result<T, RecvError>;
    const NAME: &'static str = "a promise";

    fn bell(&self) -> &Bell<State<T>> {
        &self.0.bell
    }

    fn peers(&self) -> &dyn Resource {
        self.0.peers()
    }

    fn has_come(&self, state: &State<T>) -> bool {
        state.is_decided()
    }

    fn outcome(&mut self) -> Self::Output {
        self.0.take()
    }
}

struct Share<'receiver, T>(&'receiver Rx<OneShot<Arc<T>>>);

impl<T: Clone> Event for Share<'_, T> {
    type State = State<Arc<T>>;
    type Output = Result<T, RecvError>;
    const NAME: &'static str = "a shared promise";

    fn bell(&self) -> &Bell<State<Arc<T>>> {
        &self.0.bell
    }

    fn peers(&self) -> &dyn Resource {
        self.0.peers()
    }

    fn has_come(&self, state: &State<Arc<T>>) -> bool {
        state.is_decided()
    }

    fn outcome(&mut self) -> Self::Output {
        let sent = self.0.bell.with(|state| match state {
            State::Sent(value) => Ok(Arc::clone(value)),
            _ => Err(RecvError),
        });
        sent.map(Arc::unwrap_or_clone)
    }
}

/// The ways of receiving, which differ in what is taken.
macro_rules! receiving {
    ($name:ident, $event:ident $(, $bound:ident)?) => {
        impl<T $(: $bound)?> $name<T> {
            /// Waits for the value.
            ///
            /// # Suspends
            /// Until it is sent.
            ///
            /// # Cancellation
            /// A cancelled fiber unwinds here; one that the value has reached gets it.
            ///
            /// # Errors
            /// When the sender is gone without having sent one.
            #[track_caller]
            pub fn recv(&self) -> Result<T, RecvError> {
                perform(self.recv_operation())
            }

            /// The value, if it is there. Never suspends.
            ///
            /// # Errors
            /// When there is none, now or for ever.
            pub fn try_recv(&self) -> Result<T, TryRecvError> {
                match try_perform(self.recv_operation()) {
                    Ok(received) => Ok(received?),
                    Err(_) => Err(TryRecvError::Empty),
                }
            }

            /// `recv` that gives up after `span`.
            ///
            /// # Suspends
            /// As `recv`, for `span` at the most.
            ///
            /// # Cancellation
            /// As `recv`.
            ///
            /// # Errors
            /// When the time is over, or when the sender is gone without having sent a value.
            #[track_caller]
            pub fn recv_timeout(&self, span: Duration) -> Result<T, RecvTimeoutError> {
                match perform_until(self.recv_operation(), Some(span)) {
                    Ok(received) => Ok(received?),
                    Err(_) => Err(RecvTimeoutError::Elapsed),
                }
            }

            /// Receiving, as an operation.
            #[track_caller]
            pub fn recv_operation(
                &self,
            ) -> impl Operation<Output = Result<T, RecvError>> + use<'_, T> {
                Hear::new($event(&self.end))
            }
        }
    };
}

receiving!(Receiver, Take);
receiving!(SharedReceiver, Share, Clone);

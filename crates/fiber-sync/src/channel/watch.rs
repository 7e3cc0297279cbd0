//! The latest value, and when it changes.
//!
//! There is one value, and a version that counts its changes. A receiver knows the version that it
//! has seen last, so it never misses that something has changed, and never sees what lay between.
//!
//! ```text
//! sender    v1 ──▶ v2 ──▶ v3 ──▶ v4
//! receiver  seen 1            changed() ──▶ sees v4
//! ```
//!
//! The value is changed in place, under a [`Mutex`]: who borrows it keeps the others, readers too,
//! waiting, so borrow it for a moment or [`Receiver::get`] a copy.

use core::{fmt, mem, ops::Deref, time::Duration};

use fiber_core::operation::{Operation, Resource, perform, perform_until, try_perform};

use super::{
    bell::{Bell, Event, Hear},
    ends::{self, Channel, Rx, Tx, handle},
    error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError},
};
use crate::{LockResult, Mutex, MutexGuard};

/// A channel that holds `value` until another one is sent. The first receiver has seen it.
///
/// ```
/// use fiber_sync::channel::watch;
///
/// let (sender, mut receiver) = watch::channel("starting");
/// sender.send("loading").unwrap();
/// sender.send("ready").unwrap();
/// assert_eq!(receiver.changed(), Ok(()));
/// assert_eq!(*receiver.borrow(), "ready");
/// assert!(receiver.try_changed().is_err());
/// ```
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = ends::open(Watch {
        value: Mutex::new(value),
        bell: Bell::new(State {
            version: 0,
            closed: false,
        }),
    });
    (Sender { end: tx }, Receiver { end: rx, seen: 0 })
}

struct Watch<T> {
    value: Mutex<T>,
    /// Rings under the mutex, so that a version belongs to a value.
    bell: Bell<State>,
}

#[derive(Clone, Copy)]
struct State {
    version: u64,
    closed: bool,
}

impl<T> Watch<T> {
    /// A change that panics leaves the value as it is then, for the next to put right: a watch is
    /// not poisoned.
    #[track_caller]
    fn lock(&self) -> MutexGuard<'_, T> {
        // No closure, in which the caller's line would be lost.
        match self.value.lock() {
            Ok(value) => value,
            Err(error) => error.into_inner(),
        }
    }

    /// Tells of a change. False once the channel is closed: nothing comes after the end.
    fn announce(&self) -> bool {
        self.bell.ring(|state| {
            if state.closed {
                return false;
            }
            state.version += 1;
            true
        })
    }

    fn version(&self) -> u64 {
        self.bell.with(|state| state.version)
    }

    fn close(&self) {
        self.bell.ring(|state| {
            state.closed = true;
            true
        });
    }
}

impl<T> Channel for Watch<T> {
    fn senders_gone(&self) {
        self.close();
    }

    /// There may be others later.
    fn receivers_gone(&self) {}

    fn is_closed(&self) -> bool {
        self.bell.with(|state| state.closed)
    }
}

/// Changes the value. Cloned for more senders; the last one that is dropped closes the channel.
pub struct Sender<T> {
    end: Tx<Watch<T>>,
}

/// Sees the value, and when it changes. A clone has seen what this one has seen.
pub struct Receiver<T> {
    end: Rx<Watch<T>>,
    /// The version that it has seen last.
    seen: u64,
}

handle!(Sender);
handle!(Receiver);

impl<T> Sender<T> {
    /// Replaces the value, and tells the receivers.
    ///
    /// # Suspends
    /// While the value is borrowed, as everything does that reaches the value.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, with nothing changed.
    ///
    /// # Errors
    /// When there is no receiver at this moment, or the channel is closed; the error has the value.
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        perform(self.send_operation(value))
    }

    /// [`Sender::send`] that never suspends.
    ///
    /// # Errors
    /// As [`Sender::send`], and [`TrySendError::Full`] while the value is borrowed.
    #[track_caller]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match try_perform(self.end.value.lock_operation()) {
            Ok(current) => Ok(self.replace(current, value)?),
            Err(_) => Err(TrySendError::Full(value)),
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
    pub fn send_timeout(&self, value: T, span: Duration) -> Result<(), SendTimeoutError<T>> {
        match perform_until(self.end.value.lock_operation(), Some(span)) {
            Ok(current) => Ok(self.replace(current, value)?),
            Err(_) => Err(SendTimeoutError::Elapsed(value)),
        }
    }

    /// Sending `value`, as an operation.
    #[track_caller]
    pub fn send_operation(
        &self,
        value: T,
    ) -> impl Operation<Output = Result<(), SendError<T>>> + use<'_, T> {
        let lock = self.end.value.lock_operation();
        lock.wrap(|current| self.replace(current, value))
    }

    fn replace(
        &self,
        current: LockResult<MutexGuard<'_, T>>,
        value: T,
    ) -> Result<(), SendError<T>> {
        let mut current = current.unwrap_or_else(|error| error.into_inner());
        if self.receiver_count() == 0 || self.is_closed() {
            return Err(SendError(value));
        }
        let old = mem::replace(&mut *current, value);
        if !self.end.announce() {
            // Closed since we looked.
            return Err(SendError(mem::replace(&mut *current, old)));
        }
        // The old one is dropped when nothing is borrowed: that is the user's code.
        drop(current);
        drop(old);
        Ok(())
    }

    /// Replaces the value, whether there are receivers or not, and gives the old one.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn send_replace(&self, value: T) -> T {
        let mut old = value;
        self.send_modify(|current| mem::swap(current, &mut old));
        old
    }

    /// Changes the value in place, and tells the receivers. If `change` panics they are not told.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Lets `change` look, and tells the receivers if it says that it has changed the value.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.end.lock();
        let modified = change(&mut value);
        if modified {
            self.end.announce();
        }
        modified
    }

    /// The value, while nobody changes it.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.end.lock())
    }

    /// One more receiver, which has seen the value as it is now.
    pub fn subscribe(&self) -> Receiver<T> {
        let end = self.end.subscribe();
        let seen = end.version();
        Receiver { end, seen }
    }

    /// Closes the channel for both sides: receivers see the last change, and then the end.
    pub fn close(&self) {
        self.end.close();
    }
}

impl<T> Receiver<T> {
    /// The value, while nobody changes it; seen or not it stays what [`Receiver::changed`] waits
    /// for.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.end.lock())
    }

    /// [`Receiver::borrow`], after which the value has been seen.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.end.lock();
        self.seen = self.end.version();
        Ref(value)
    }

    /// A copy of the value, which then has been seen.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancellation
    /// As [`Sender::send`].
    #[track_caller]
    pub fn get(&mut self) -> T
    where
        T: Clone,
    {
        self.borrow_and_update().clone()
    }

    /// Whether there is something that it has not seen.
    pub fn has_changed(&self) -> bool {
        self.end.version() != self.seen
    }

    /// Waits for a value that it has not seen, and then has seen it.
    ///
    /// # Suspends
    /// Until there is one.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and has seen nothing.
    ///
    /// # Errors
    /// When the channel is closed and the last value was seen.
    #[track_caller]
    pub fn changed(&mut self) -> Result<(), RecvError> {
        perform(self.changed_operation())
    }

    /// [`Receiver::changed`] if that is so already. Never suspends.
    ///
    /// # Errors
    /// When there is nothing new, now or for ever.
    pub fn try_changed(&mut self) -> Result<(), TryRecvError> {
        match try_perform(self.changed_operation()) {
            Ok(changed) => Ok(changed?),
            Err(_) => Err(TryRecvError::Empty),
        }
    }

    /// [`Receiver::changed`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`Receiver::changed`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Receiver::changed`].
    ///
    /// # Errors
    /// When the time is over, or when the channel is closed and the last value was seen.
    #[track_caller]
    pub fn changed_timeout(&mut self, span: Duration) -> Result<(), RecvTimeoutError> {
        match perform_until(self.changed_operation(), Some(span)) {
            Ok(changed) => Ok(changed?),
            Err(_) => Err(RecvTimeoutError::Elapsed),
        }
    }

    /// Waiting for a change, as an operation.
    #[track_caller]
    pub fn changed_operation(
        &mut self,
    ) -> impl Operation<Output = Result<(), RecvError>> + use<'_, T> {
        Hear::new(Changed { receiver: self })
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
            seen: self.seen,
        }
    }
}

struct Changed<'receiver, T> {
    receiver: &'receiver mut Receiver<T>,
}

impl<T> Event for Changed<'_, T> {
    type State = State;
    type Output = Result<(), RecvError>;
    const NAME: &'static str = "a change of a watched value";

    fn bell(&self) -> &Bell<State> {
        &self.receiver.end.bell
    }

    fn peers(&self) -> &dyn Resource {
        self.receiver.end.peers()
    }

    fn has_come(&self, state: &State) -> bool {
        state.closed || state.version != self.receiver.seen
    }

    fn outcome(&mut self) -> Self::Output {
        let version = self.receiver.end.version();
        if mem::replace(&mut self.receiver.seen, version) == version {
            return Err(RecvError);
        }
        Ok(())
    }
}

/// The value of a watch channel, which nobody changes while this is held.
pub struct Ref<'channel, T>(MutexGuard<'channel, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

//! Mutual exclusion.
//!
//! First come, first served: a holder that unlocks while others wait hands the lock to the one that
//! waits longest, which owns it from that moment on, before it runs. Nobody barges in. That costs
//! throughput when a lock is contended by workers on several cores, since the lock stands idle
//! until its new owner is scheduled; but fibers of one worker hand over within nanoseconds, nobody
//! starves, the order does not depend on timing, which makes simulated runs mean something, and a
//! waiter that gives up needs no baton passing: it has the lock or it has not.

mod guard;
mod operation;
mod raw;

use core::{
    cell::UnsafeCell,
    error::Error,
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    time::Duration,
};

use fiber_core::operation::{perform, perform_until};

use self::raw::RawLock;
pub use self::{guard::MutexGuard, operation::LockOperation};
use crate::{
    poison::{LockResult, Poison, PoisonError, TryLockError, TryLockResult},
    primitive::const_unless_loom,
};

/// A value that one fiber or thread at a time can reach.
///
/// Shaped as std's `Mutex`, but waiting for it parks a fiber and not its worker, so it may be held
/// across anything that blocks. Locking it again while holding it waits for ever.
///
/// ```
/// use fiber_sync::Mutex;
///
/// static TOTAL: Mutex<u32> = Mutex::new(40);
///
/// *TOTAL.lock().unwrap() += 2;
/// assert_eq!(*TOTAL.lock().unwrap(), 42);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawLock,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: moving the mutex moves the value, which may be moved; no waiter borrows it then (I-12).
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: the lock hands the value to one at a time, through a list under its own lock (I-12).
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    const_unless_loom! {
        /// A free mutex around `value`.
        pub fn new(value: T) -> Self {
            Self {
                raw: RawLock::new(),
                poison: Poison::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, without locking: nobody else has the mutex.
    ///
    /// # Errors
    /// When a holder panicked; the error has the value.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.is_poisoned();
        let value = self.value.into_inner();
        if poisoned {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, and unlocks it when the guard is dropped.
    ///
    /// # Suspends
    /// Until those who came before have had it.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here without the lock, unless it has been handed over already.
    ///
    /// # Errors
    /// When a holder panicked; the error has the guard.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        perform(self.lock_operation())
    }

    /// Locks it if nobody holds it. Never suspends.
    ///
    /// # Errors
    /// When somebody holds it, or when a holder panicked.
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_lock() {
            Ok(self.owned()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// [`Mutex::lock`] that gives up after `span`.
    ///
    /// # Suspends
    /// Until those who came before have had it, for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Mutex::lock`].
    ///
    /// # Errors
    /// When the time is over, or when a holder panicked.
    pub fn lock_timeout(&self, span: Duration) -> LockTimeoutResult<MutexGuard<'_, T>> {
        match perform_until(self.lock_operation(), Some(span)) {
            Ok(locked) => Ok(locked?),
            Err(_) => Err(LockTimeoutError::Elapsed),
        }
    }

    /// Locking, as an operation.
    pub const fn lock_operation(&self) -> LockOperation<'_, T> {
        LockOperation::new(self)
    }

    /// Whether a holder panicked.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Says that the value is sound again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, without locking: the borrow proves that nobody else has it.
    ///
    /// # Errors
    /// When a holder panicked; the error has the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.mark(self.value.get_mut())
    }

    /// The guard of a caller that has just got the lock.
    fn owned(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.mark(MutexGuard::new(self))
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => out.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => out.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => out.field("data", &format_args!("<locked>")),
        };
        out.field("poisoned", &self.is_poisoned());
        out.finish_non_exhaustive()
    }
}

/// What locking with a limit of time gives.
pub type LockTimeoutResult<T> = Result<T, LockTimeoutError<T>>;

/// Why a lock was not taken in time, or not in a sound state.
#[expect(clippy::exhaustive_enums, reason = "the sum of two errors")]
pub enum LockTimeoutError<T> {
    /// The lock is held, but somebody panicked while holding it.
    Poisoned(PoisonError<T>),
    /// The time is over; somebody else holds it.
    Elapsed,
}

impl<T> From<PoisonError<T>> for LockTimeoutError<T> {
    fn from(error: PoisonError<T>) -> Self {
        Self::Poisoned(error)
    }
}

impl<T> fmt::Debug for LockTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poisoned(_) => "Poisoned(..)",
            Self::Elapsed => "Elapsed",
        })
    }
}

impl<T> fmt::Display for LockTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => fmt::Display::fmt(error, f),
            Self::Elapsed => f.write_str("the lock did not become free in time"),
        }
    }
}

impl<T> Error for LockTimeoutError<T> {}

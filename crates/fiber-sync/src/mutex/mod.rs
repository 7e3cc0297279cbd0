//! Mutual exclusion.
//!
//! First come, first served; but the one that waits longest is woken for a free lock, not given it,
//! and others may pass it by until it has looked, once; and a holder that comes back before it has
//! let others run may, some times (`raw_lock` says how). The lock knows its
//! holder, so waiting in a circle is found as the circle closes, and is an error.

mod guard;
mod operation;

use alloc::sync::Arc;
use core::{
    cell::UnsafeCell,
    fmt,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    time::Duration,
};

use fiber_core::operation::{Dead, Holder, perform, perform_until};

pub use self::{
    guard::{MutexGuard, OwnedMutexGuard},
    operation::LockOperation,
};
use crate::{
    poison::{
        HeldSince, LockResult, LockTimeoutError, LockTimeoutResult, Poison, PoisonError,
        TryLockError, TryLockResult,
    },
    primitive::const_unless_loom,
    raw_lock::{Patience, RawLock},
};

/// A value that one fiber or thread at a time can reach.
///
/// Shaped as std's `Mutex`, but waiting for it parks a fiber and not its worker, so it may be held
/// across anything that blocks; nobody starves; and locking it in a circle, also twice in a row, is
/// an error that names the fibers and lines of the program. For that, a guard counts as held by the
/// fiber that has locked, also if it is given to another fiber of the same worker.
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
    pub fn into_inner(self) -> Result<T, PoisonError<T>> {
        let Self { poison, value, .. } = self;
        poison.mark(value.into_inner())
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
    /// When a holder panicked or was killed; the error has the guard. When the holder waits for the
    /// caller, or is the caller, so that the lock would never become free; and when it was
    /// abandoned with its process. Who waits already is told of that, too: a plain thread within a
    /// second.
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_from(Location::caller())
    }

    /// [`Mutex::lock`] for somebody who called from `site`.
    #[inline(always)]
    pub(crate) fn lock_from(
        &self,
        site: &'static Location<'static>,
    ) -> LockResult<MutexGuard<'_, T>> {
        // A free lock needs no operation, which would be built in memory first.
        let holder = Holder::charged(site);
        if self.raw.try_lock() {
            self.raw.holder().set_to(holder);
            return Ok(self.locked()?);
        }
        self.lock_taken(site)
    }

    #[cold]
    fn lock_taken(&self, site: &'static Location<'static>) -> LockResult<MutexGuard<'_, T>> {
        perform(LockOperation::new(self, site, Patience::LooksAgain))
    }

    /// [`Mutex::lock`] for a guard that keeps the mutex alive, and so may lie in anything.
    ///
    /// # Suspends
    /// As [`Mutex::lock`].
    ///
    /// # Cancellation
    /// As [`Mutex::lock`].
    ///
    /// # Errors
    /// As [`Mutex::lock`].
    #[track_caller]
    pub fn lock_owned(self: &Arc<Self>) -> LockResult<OwnedMutexGuard<T>> {
        match self.lock() {
            Ok(guard) => Ok(OwnedMutexGuard::new(Arc::clone(self), guard)),
            Err(error) => Err(error.map(|guard| OwnedMutexGuard::new(Arc::clone(self), guard))),
        }
    }

    /// Locks it if nobody holds it. Never suspends.
    ///
    /// # Errors
    /// When somebody holds it, or when a holder panicked or was killed.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_lock() {
            self.raw.holder().set(Location::caller());
            Ok(self.locked()?)
        } else {
            Err(self.held())
        }
    }

    #[cold]
    fn held<G>(&self) -> TryLockError<G> {
        TryLockError::held(Dead::in_the_way_of(&self.raw))
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
    /// When the time is over, or when a holder panicked, was killed or was abandoned.
    #[track_caller]
    pub fn lock_timeout(&self, span: Duration) -> LockTimeoutResult<MutexGuard<'_, T>> {
        match perform_until(self.lock_operation(), Some(span)) {
            Ok(locked) => Ok(locked?),
            Err(_) => Err(LockTimeoutError::Elapsed),
        }
    }

    /// Locking, as an operation. What has waited for it in vain has not locked.
    #[track_caller]
    pub const fn lock_operation(&self) -> LockOperation<'_, T> {
        LockOperation::new(self, Location::caller(), Patience::TakesOver)
    }

    /// Who holds it, as far as one can tell from outside: that may change at any time.
    pub fn holder(&self) -> Option<Holder> {
        self.raw.holder().get()
    }

    /// Whether a holder panicked or was killed.
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
    pub fn get_mut(&mut self) -> Result<&mut T, PoisonError<&mut T>> {
        self.poison.mark(self.value.get_mut())
    }

    /// The guard of a caller that has just got the lock.
    #[inline]
    fn locked(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
        self.poison.mark(MutexGuard::new(self))
    }

    /// What guards do in the end.
    #[inline]
    fn unlock(&self, since: HeldSince) {
        self.poison.release(since, || self.holder());
        self.raw.unlock();
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
            Err(_) => out.field("data", &format_args!("<locked>")),
        };
        out.field("poisoned", &self.is_poisoned());
        out.finish_non_exhaustive()
    }
}

//! Many who read, or one who writes.
//!
//! First come, first served: readers that come while a writer waits stand behind it, so that no
//! stream of readers starves a writer, and none of writers a reader. So a fiber that reads must not
//! lock for reading again: a writer that came in between would wait for the first of its guards,
//! and its second lock for the writer. That circle, the change from reading to writing, and longer
//! ones are found and are errors, as for a mutex.

mod guard;
mod operation;
mod raw;

use alloc::sync::Arc;
use core::{
    cell::UnsafeCell,
    fmt,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    time::Duration,
};

use fiber_core::operation::{Dead, Holder, perform, perform_until};

use self::raw::{Access, Candidate, RawRwLock};
pub use self::{
    guard::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLockReadGuard, RwLockWriteGuard},
    operation::{ReadOperation, WriteOperation},
};
use crate::{
    poison::{
        LockResult, LockTimeoutError, LockTimeoutResult, Poison, PoisonError, TryLockError,
        TryLockResult,
    },
    primitive::const_unless_loom,
};

/// A value that many can read, or one can change.
///
/// Shaped as std's `RwLock`, but waiting parks a fiber and not its worker; writers do not starve;
/// and waiting in a circle is an error that names the fibers and lines of the program. For that, a
/// guard counts as held by the fiber that has locked; of more than eight readers at a time, reports
/// know eight.
///
/// ```
/// use fiber_sync::RwLock;
///
/// let lock = RwLock::new(5);
/// let readers = (lock.read().unwrap(), lock.read().unwrap());
/// assert!(lock.try_write().is_err());
/// drop(readers);
/// *lock.write().unwrap() += 1;
/// assert_eq!(*lock.read().unwrap(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: moving the lock moves the value, which may be moved; no waiter borrows it then (I-12).
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: the lock hands the value to one, or by reference to many, through a state under its own
// lock (I-12).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    const_unless_loom! {
        /// A free lock around `value`.
        pub fn new(value: T) -> Self {
            Self {
                raw: RawRwLock::new(),
                poison: Poison::new(),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value, without locking: nobody else has the lock.
    ///
    /// # Errors
    /// When a writer panicked; the error has the value.
    pub fn into_inner(self) -> Result<T, PoisonError<T>> {
        let Self { poison, value, .. } = self;
        poison.mark(value.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks it for reading, until the guard is dropped.
    ///
    /// # Suspends
    /// Until those who came before, and write, have had it.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here without the lock, unless it has been handed over already.
    ///
    /// # Errors
    /// When a writer panicked or was killed; the error has the guard. When those who hold the lock
    /// wait for the caller, or are the caller, so that it would never become free; and when one of
    /// them, of the eight that are known, was abandoned with its process. Who waits already is told
    /// of that, too: a plain thread within a second.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        perform(ReadOperation::new(self, Location::caller(), true))
    }

    /// Locks it for writing, until the guard is dropped.
    ///
    /// # Suspends
    /// Until those who came before have had it.
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    ///
    /// # Errors
    /// As [`RwLock::read`].
    #[inline]
    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        perform(WriteOperation::new(self, Location::caller(), true))
    }

    /// [`RwLock::read`] for a guard that keeps the lock alive, and so may lie in anything.
    ///
    /// # Suspends
    /// As [`RwLock::read`].
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    ///
    /// # Errors
    /// As [`RwLock::read`].
    #[track_caller]
    pub fn read_owned(self: &Arc<Self>) -> LockResult<OwnedRwLockReadGuard<T>> {
        let own = |guard| OwnedRwLockReadGuard::new(Arc::clone(self), guard);
        match self.read() {
            Ok(guard) => Ok(own(guard)),
            Err(error) => Err(error.map(own)),
        }
    }

    /// [`RwLock::write`] for a guard that keeps the lock alive, and so may lie in anything.
    ///
    /// # Suspends
    /// As [`RwLock::write`].
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    ///
    /// # Errors
    /// As [`RwLock::read`].
    #[track_caller]
    pub fn write_owned(self: &Arc<Self>) -> LockResult<OwnedRwLockWriteGuard<T>> {
        let own = |guard| OwnedRwLockWriteGuard::new(Arc::clone(self), guard);
        match self.write() {
            Ok(guard) => Ok(own(guard)),
            Err(error) => Err(error.map(own)),
        }
    }

    /// Locks it for reading if nobody writes, or waits. Never suspends.
    ///
    /// # Errors
    /// When somebody writes or waits, or when a writer panicked or was killed.
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let place = self.raw.try_lock(Access::Read);
        let place = place.ok_or_else(|| self.held(Access::Read))?;
        self.raw.note(place, Location::caller());
        Ok(self.poison.mark(RwLockReadGuard::new(self, place))?)
    }

    /// Locks it for writing if nobody has it. Never suspends.
    ///
    /// # Errors
    /// When somebody has it, or when a writer panicked or was killed.
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let place = self.raw.try_lock(Access::Write);
        let place = place.ok_or_else(|| self.held(Access::Write))?;
        self.raw.note(place, Location::caller());
        Ok(self.poison.mark(RwLockWriteGuard::new(self, place))?)
    }

    #[cold]
    fn held<G>(&self, access: Access) -> TryLockError<G> {
        let candidate = Candidate::new(&self.raw, access, Location::caller(), false);
        TryLockError::held(Dead::in_the_way_of(&candidate))
    }

    /// [`RwLock::read`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`RwLock::read`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    ///
    /// # Errors
    /// When the time is over, or when a writer panicked or was killed.
    #[track_caller]
    pub fn read_timeout(&self, span: Duration) -> LockTimeoutResult<RwLockReadGuard<'_, T>> {
        match perform_until(self.read_operation(), Some(span)) {
            Ok(locked) => Ok(locked?),
            Err(_) => Err(LockTimeoutError::Elapsed),
        }
    }

    /// [`RwLock::write`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`RwLock::write`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`RwLock::read`].
    ///
    /// # Errors
    /// When the time is over, or when a writer panicked or was killed.
    #[track_caller]
    pub fn write_timeout(&self, span: Duration) -> LockTimeoutResult<RwLockWriteGuard<'_, T>> {
        match perform_until(self.write_operation(), Some(span)) {
            Ok(locked) => Ok(locked?),
            Err(_) => Err(LockTimeoutError::Elapsed),
        }
    }

    /// Locking for reading, as an operation.
    #[track_caller]
    pub const fn read_operation(&self) -> ReadOperation<'_, T> {
        ReadOperation::new(self, Location::caller(), false)
    }

    /// Locking for writing, as an operation.
    #[track_caller]
    pub const fn write_operation(&self) -> WriteOperation<'_, T> {
        WriteOperation::new(self, Location::caller(), false)
    }

    /// Tells of those who hold it, eight at the most, as far as one can tell from outside: that may
    /// change at any time.
    pub fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        self.raw.holders(tell);
    }

    /// Whether a writer panicked or was killed.
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
    /// When a writer panicked; the error has the reference.
    pub fn get_mut(&mut self) -> Result<&mut T, PoisonError<&mut T>> {
        self.poison.mark(self.value.get_mut())
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => out.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => out.field("data", &&**error.get_ref()),
            Err(_) => out.field("data", &format_args!("<locked>")),
        };
        out.field("poisoned", &self.is_poisoned());
        out.finish_non_exhaustive()
    }
}

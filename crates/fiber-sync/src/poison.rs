//! What is wrong with a lock: a panic has left its value half changed, or it will never be free.
//!
//! Shaped as std's types of the same names, which `core` does not have. A panic poisons; a cancel
//! and a timeout do not: they unwind at points at which code expects to be left.

use core::{error::Error, fmt};

use fiber_core::{
    operation::Deadlock,
    park::{self, UnwindReason},
};

use crate::primitive::{AtomicBool, Ordering, const_unless_loom};

/// What locking gives.
pub type LockResult<T> = Result<T, LockError<T>>;

/// What trying to lock gives.
pub type TryLockResult<T> = Result<T, TryLockError<T>>;

/// Somebody panicked while holding the lock. The lock is held all the same, and the error has it.
pub struct PoisonError<T> {
    data: T,
}

impl<T> PoisonError<T> {
    /// An error around what locking gave.
    pub const fn new(data: T) -> Self {
        Self { data }
    }

    /// What locking gave, poison or not.
    pub fn into_inner(self) -> T {
        self.data
    }

    /// What locking gave, by reference.
    pub const fn get_ref(&self) -> &T {
        &self.data
    }

    /// What locking gave, by mutable reference.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T> fmt::Debug for PoisonError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoisonError").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PoisonError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("poisoned lock: another fiber or thread panicked while it held it")
    }
}

impl<T> Error for PoisonError<T> {}

/// Why a lock was not taken, or not in a sound state.
///
/// Std's locks have only the first reason: waiting in a circle, they wait for ever.
#[expect(clippy::exhaustive_enums, reason = "there is no third reason")]
pub enum LockError<T> {
    /// The lock is held, but somebody panicked while holding it.
    Poisoned(PoisonError<T>),
    /// The lock is not held: it would never have become free, since its holder waits for the
    /// caller, directly or through others.
    Deadlock(Deadlock),
}

impl<T> LockError<T> {
    /// What locking gave, poison or not.
    ///
    /// # Panics
    /// When it gave nothing because of a deadlock, with its report.
    #[track_caller]
    pub fn into_inner(self) -> T {
        match self {
            Self::Poisoned(error) => error.into_inner(),
            Self::Deadlock(deadlock) => panic!("{deadlock}"),
        }
    }

    /// The same reason around something else that locking gives.
    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> LockError<U> {
        match self {
            Self::Poisoned(error) => LockError::Poisoned(PoisonError::new(map(error.data))),
            Self::Deadlock(deadlock) => LockError::Deadlock(deadlock),
        }
    }
}

impl<T> From<PoisonError<T>> for LockError<T> {
    fn from(error: PoisonError<T>) -> Self {
        Self::Poisoned(error)
    }
}

impl<T> From<Deadlock> for LockError<T> {
    fn from(deadlock: Deadlock) -> Self {
        Self::Deadlock(deadlock)
    }
}

// The report is what one wants to read of a failed `unwrap`.
impl<T> fmt::Debug for LockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(_) => f.write_str("Poisoned(..)"),
            Self::Deadlock(deadlock) => write!(f, "Deadlock({deadlock})"),
        }
    }
}

impl<T> fmt::Display for LockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => fmt::Display::fmt(error, f),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
        }
    }
}

impl<T> Error for LockError<T> {}

/// Why a lock was not taken at once, or not in a sound state.
#[expect(clippy::exhaustive_enums, reason = "as in std")]
pub enum TryLockError<T> {
    /// The lock is held, but somebody panicked while holding it.
    Poisoned(PoisonError<T>),
    /// Somebody else holds it.
    WouldBlock,
}

impl<T> From<PoisonError<T>> for TryLockError<T> {
    fn from(error: PoisonError<T>) -> Self {
        Self::Poisoned(error)
    }
}

impl<T> fmt::Debug for TryLockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poisoned(_) => "Poisoned(..)",
            Self::WouldBlock => "WouldBlock",
        })
    }
}

impl<T> fmt::Display for TryLockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => fmt::Display::fmt(error, f),
            Self::WouldBlock => f.write_str("the lock is held by somebody else"),
        }
    }
}

impl<T> Error for TryLockError<T> {}

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

impl<T> From<LockError<T>> for LockTimeoutError<T> {
    fn from(error: LockError<T>) -> Self {
        match error {
            LockError::Poisoned(error) => Self::Poisoned(error),
            LockError::Deadlock(_) => unreachable!("a wait with a limit ends by itself"),
        }
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

/// Whether a lock is poisoned. Written and read under the lock it belongs to.
#[derive(Debug)]
pub(crate) struct Poison(AtomicBool);

/// Whether a holder was unwinding already when it took the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldSince {
    unwinding: bool,
}

impl Poison {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// To be called when the lock is taken.
    #[inline]
    pub(crate) fn hold() -> HeldSince {
        HeldSince {
            unwinding: park::unwinding().is_some(),
        }
    }

    /// To be called before the lock is released. A destructor that locks and unlocks while it is
    /// itself run by a panic leaves nothing half done.
    #[inline]
    pub(crate) fn release(&self, since: HeldSince) {
        if !since.unwinding && park::unwinding().is_some_and(poisons) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// `value`, with a warning if the lock is poisoned.
    pub(crate) fn mark<T>(&self, value: T) -> Result<T, PoisonError<T>> {
        if self.is_set() {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }
}

/// Whether a holder that unwinds for this leaves something half done.
const fn poisons(why: UnwindReason) -> bool {
    match why {
        UnwindReason::Panic | UnwindReason::Kill => true,
        UnwindReason::Interrupt => false,
    }
}

//! What is wrong with a lock: somebody has left its value half changed, or it will never be free.
//!
//! Shaped as std's types of the same names, which `core` does not have. A panic and a kill poison;
//! a cancel and a timeout do not: they unwind at points at which code expects to be left.

use alloc::{boxed::Box, sync::Arc};
use core::{error::Error, fmt};

use fiber_core::{
    operation::{Dead, Deadlock, Holder},
    park::{self, UnwindReason},
    spin::SpinLock,
};

use crate::primitive::{AtomicBool, Ordering, const_unless_loom};

/// What locking gives.
pub type LockResult<T> = Result<T, LockError<T>>;

/// What trying to lock gives.
pub type TryLockResult<T> = Result<T, TryLockError<T>>;

/// Somebody panicked, or was killed, while holding the lock. The lock is held all the same, and the
/// error has it. Unlike std's it knows who that was, see [`PoisonError::dead`].
pub struct PoisonError<T> {
    data: T,
    dead: Option<Arc<Dead>>,
}

impl<T> PoisonError<T> {
    /// An error around what locking gave.
    pub const fn new(data: T) -> Self {
        Self { data, dead: None }
    }

    /// Who has died with the lock, why, and where it had been taken. `None` if the error was made
    /// with [`PoisonError::new`].
    pub fn dead(&self) -> Option<&Dead> {
        self.dead.as_deref()
    }

    /// The same around something else.
    fn map<U>(self, map: impl FnOnce(T) -> U) -> PoisonError<U> {
        PoisonError {
            data: map(self.data),
            dead: self.dead,
        }
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
        f.debug_struct("PoisonError")
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PoisonError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dead {
            Some(dead) => write!(f, "poisoned lock: {dead}"),
            None => f.write_str("poisoned lock: another fiber or thread panicked while it held it"),
        }
    }
}

impl<T> Error for PoisonError<T> {}

/// Whoever has the lock was abandoned with its process: it never runs again, and does not let go.
///
/// The lock can not be taken over. The guard may be with somebody who goes on; then the lock works
/// again once that one has dropped it.
#[derive(Clone, Debug)]
pub struct Abandoned {
    dead: Box<Dead>,
}

impl Abandoned {
    pub(crate) const fn new(dead: Box<Dead>) -> Self {
        Self { dead }
    }

    /// Who has it, why that one was abandoned, and where it had taken the lock.
    pub const fn dead(&self) -> &Dead {
        &self.dead
    }
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lock does not become free: {}", self.dead)
    }
}

impl Error for Abandoned {}

/// Why a lock was not taken, or not in a sound state.
///
/// Std's locks have only the first reason: waiting in a circle, they wait for ever.
#[expect(clippy::exhaustive_enums, reason = "there is no fourth reason")]
pub enum LockError<T> {
    /// The lock is held, but somebody panicked or was killed while holding it.
    Poisoned(PoisonError<T>),
    /// The lock is not held: it would never have become free, since its holder waits for the
    /// caller, directly or through others.
    Deadlock(Deadlock),
    /// The lock is not held: whoever has it was abandoned.
    Abandoned(Abandoned),
}

impl<T> LockError<T> {
    /// What locking gave, poison or not.
    ///
    /// # Panics
    /// When it gave nothing, with the report of that.
    #[track_caller]
    pub fn into_inner(self) -> T {
        match self {
            Self::Poisoned(error) => error.into_inner(),
            Self::Deadlock(deadlock) => panic!("{deadlock}"),
            Self::Abandoned(abandoned) => panic!("{abandoned}"),
        }
    }

    /// The same reason around something else that locking gives.
    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> LockError<U> {
        match self {
            Self::Poisoned(error) => LockError::Poisoned(error.map(map)),
            Self::Deadlock(deadlock) => LockError::Deadlock(deadlock),
            Self::Abandoned(abandoned) => LockError::Abandoned(abandoned),
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

impl<T> From<Abandoned> for LockError<T> {
    fn from(abandoned: Abandoned) -> Self {
        Self::Abandoned(abandoned)
    }
}

// The report is what one wants to read of a failed `unwrap`.
impl<T> fmt::Debug for LockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => write!(f, "Poisoned({error})"),
            Self::Deadlock(deadlock) => write!(f, "Deadlock({deadlock})"),
            Self::Abandoned(abandoned) => write!(f, "Abandoned({abandoned})"),
        }
    }
}

impl<T> fmt::Display for LockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => fmt::Display::fmt(error, f),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::Abandoned(abandoned) => fmt::Display::fmt(abandoned, f),
        }
    }
}

impl<T> Error for LockError<T> {}

/// Why a lock was not taken at once, or not in a sound state.
#[expect(clippy::exhaustive_enums, reason = "as in std, and one more")]
pub enum TryLockError<T> {
    /// The lock is held, but somebody panicked or was killed while holding it.
    Poisoned(PoisonError<T>),
    /// Somebody else holds it.
    WouldBlock,
    /// Somebody else holds it, who was abandoned.
    Abandoned(Abandoned),
}

impl<T> TryLockError<T> {
    /// Somebody else holds it, or perhaps somebody who was abandoned.
    pub(crate) fn held(dead: Option<Box<Dead>>) -> Self {
        match dead {
            None => Self::WouldBlock,
            Some(dead) => Self::Abandoned(Abandoned::new(dead)),
        }
    }
}

impl<T> From<PoisonError<T>> for TryLockError<T> {
    fn from(error: PoisonError<T>) -> Self {
        Self::Poisoned(error)
    }
}

impl<T> fmt::Debug for TryLockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => write!(f, "Poisoned({error})"),
            Self::WouldBlock => f.write_str("WouldBlock"),
            Self::Abandoned(abandoned) => write!(f, "Abandoned({abandoned})"),
        }
    }
}

impl<T> fmt::Display for TryLockError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => fmt::Display::fmt(error, f),
            Self::WouldBlock => f.write_str("the lock is held by somebody else"),
            Self::Abandoned(abandoned) => fmt::Display::fmt(abandoned, f),
        }
    }
}

impl<T> Error for TryLockError<T> {}

/// What locking with a limit of time gives.
pub type LockTimeoutResult<T> = Result<T, LockTimeoutError<T>>;

/// Why a lock was not taken in time, or not in a sound state.
#[expect(clippy::exhaustive_enums, reason = "the sum of two errors")]
pub enum LockTimeoutError<T> {
    /// The lock is held, but somebody panicked or was killed while holding it.
    Poisoned(PoisonError<T>),
    /// The time is over; somebody else holds it.
    Elapsed,
    /// Somebody else holds it, who was abandoned.
    Abandoned(Abandoned),
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
            LockError::Abandoned(abandoned) => Self::Abandoned(abandoned),
        }
    }
}

impl<T> fmt::Debug for LockTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => write!(f, "Poisoned({error})"),
            Self::Elapsed => f.write_str("Elapsed"),
            Self::Abandoned(abandoned) => write!(f, "Abandoned({abandoned})"),
        }
    }
}

impl<T> fmt::Display for LockTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => fmt::Display::fmt(error, f),
            Self::Elapsed => f.write_str("the lock did not become free in time"),
            Self::Abandoned(abandoned) => fmt::Display::fmt(abandoned, f),
        }
    }
}

impl<T> Error for LockTimeoutError<T> {}

/// Whether a lock is poisoned, and by whom. Written and read under the lock it belongs to, but for
/// what clears it.
#[derive(Debug)]
pub(crate) struct Poison {
    is_set: AtomicBool,
    dead: SpinLock<Option<Arc<Dead>>>,
}

/// Whether a holder was unwinding already when it took the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldSince {
    unwinding: bool,
}

impl Poison {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                is_set: AtomicBool::new(false),
                dead: SpinLock::new(None),
            }
        }
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        if self.is_set() {
            self.set(None);
        }
    }

    fn set(&self, new: Option<Arc<Dead>>) {
        let mut dead = self.dead.lock();
        self.is_set.store(new.is_some(), Ordering::Relaxed);
        let before = core::mem::replace(&mut *dead, new);
        drop(dead);
        drop(before);
    }

    /// To be called when the lock is taken.
    #[inline]
    pub(crate) fn hold() -> HeldSince {
        HeldSince {
            unwinding: park::unwinding().is_some(),
        }
    }

    /// To be called before the lock is released, which `holder` has. A destructor that locks and
    /// unlocks while it is itself run by a panic leaves nothing half done.
    #[inline]
    pub(crate) fn release(&self, since: HeldSince, holder: impl FnOnce() -> Option<Holder>) {
        if !since.unwinding && park::unwinding().is_some_and(poisons) {
            self.poison(holder());
        }
    }

    #[cold]
    #[track_caller]
    fn poison(&self, holder: Option<Holder>) {
        // Of more readers than are known nobody has noted where they have locked.
        let taken_at = holder.map_or_else(core::panic::Location::caller, |holder| holder.since);
        self.set(Some(Arc::new(Dead::of_caller(taken_at))));
    }

    /// `value`, with a warning if the lock is poisoned.
    #[inline]
    pub(crate) fn mark<T>(&self, value: T) -> Result<T, PoisonError<T>> {
        if self.is_set() {
            Err(self.error(value))
        } else {
            Ok(value)
        }
    }

    #[cold]
    fn error<T>(&self, data: T) -> PoisonError<T> {
        PoisonError {
            data,
            dead: self.dead.lock().clone(),
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

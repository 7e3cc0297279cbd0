//! Doing something once, for everybody.
//!
//! ```text
//!              ┌── cancelled ──┐
//!              ▼               │          done
//! not done ──── call_once ────▶ running ────────▶ done
//!              ▲               │ panicked
//!              │               ▼
//!              └─ forced ── poisoned
//! ```
//!
//! Who runs it has a lock, and the others wait for that: they are served in order, the lock knows
//! who runs it since when, and a call from inside is a circle that is found.

mod lazy;
mod value;

use core::{
    fmt,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    time::Duration,
};

use fiber_core::{
    operation::{self, Holder, LatchOperation, Resource, perform, perform_until},
    timeout::Elapsed,
};

pub use self::{lazy::LazyLock, value::OnceLock};
use crate::{
    poison::{HeldSince, LockError, Poison},
    primitive::const_unless_loom,
    raw_lock::{Acquire, Patience, RawLock},
};

/// Something that is done once, by the first who comes, while the others wait.
///
/// Shaped as std's `Once`, but what is done may park; and when the fiber that does it is cancelled,
/// it counts as not done, and the next caller does it.
///
/// ```
/// use fiber_sync::Once;
///
/// static START: Once = Once::new();
///
/// let mut calls = 0;
/// for _ in 0..2 {
///     START.call_once(|| calls += 1);
/// }
/// assert_eq!(calls, 1);
/// ```
pub struct Once {
    lock: RawLock,
    done: operation::Latch,
    poison: Poison,
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

impl Once {
    const_unless_loom! {
        /// Not done yet.
        pub fn new() -> Self {
            Self {
                lock: RawLock::new(),
                done: operation::Latch::new(),
                poison: Poison::new(),
            }
        }
    }

    /// Runs `body`, unless that was done before; when this returns, it is done.
    ///
    /// # Suspends
    /// While somebody else runs it, and where `body` does.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, and from within `body`: then the next caller begins anew.
    ///
    /// # Panics
    /// When a caller before has panicked or was killed. When it is called from within `body`, or by
    /// somebody for whom the one that runs it waits: such a circle would never end. When the one
    /// that runs it was abandoned with its process.
    #[inline]
    #[track_caller]
    pub fn call_once(&self, body: impl FnOnce()) {
        if !self.is_completed() {
            self.run(Location::caller(), AfterPanic::Refuse, |_| body());
        }
    }

    /// [`Once::call_once`], also after a caller has panicked; `body` learns whether one has.
    ///
    /// # Suspends
    /// As [`Once::call_once`].
    ///
    /// # Cancellation
    /// As [`Once::call_once`].
    ///
    /// # Panics
    /// When it waits in a circle, as [`Once::call_once`].
    #[inline]
    #[track_caller]
    pub fn call_once_force(&self, body: impl FnOnce(&OnceState)) {
        if !self.is_completed() {
            self.run(Location::caller(), AfterPanic::Retry, body);
        }
    }

    /// Whether it is done. Never suspends.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.done.is_open()
    }

    /// Waits until it is done, by whomever; also after a panic, since it may be forced yet.
    ///
    /// # Suspends
    /// Until it is done.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, unless it is done.
    pub fn wait(&self) {
        perform(self.wait_operation());
    }

    /// [`Once::wait`] that gives up after `span`.
    ///
    /// # Suspends
    /// Until it is done, for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Once::wait`].
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_timeout(&self, span: Duration) -> Result<(), Elapsed> {
        perform_until(self.wait_operation(), Some(span)).map_err(|_| Elapsed::new())
    }

    /// Waiting until it is done, as an operation.
    pub const fn wait_operation(&self) -> LatchOperation<'_> {
        self.done.wait_operation("a once")
    }

    #[cold]
    fn run(
        &self,
        site: &'static Location<'static>,
        after_panic: AfterPanic,
        body: impl FnOnce(&OnceState),
    ) {
        let acquire = Acquire::new(&self.lock, self, site, Patience::LooksAgain);
        perform(acquire).unwrap_or_else(LockError::into_inner);
        let _running = Running {
            once: self,
            since: Poison::hold(),
        };
        if self.is_completed() {
            return;
        }
        let sound = self.poison.mark(());
        let poisoned = sound.is_err();
        if let Err(error) = sound
            && after_panic == AfterPanic::Refuse
        {
            let dead = error.dead().expect("a lock is poisoned by somebody");
            panic!("what is to be done once was begun before: {dead}");
        }
        body(&OnceState { poisoned });
        self.poison.clear();
        self.done.open();
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("completed", &self.is_completed())
            .finish_non_exhaustive()
    }
}

impl Resource for Once {
    fn kind(&self) -> &'static str {
        "a once"
    }

    fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        self.lock.holders(tell);
    }
}

/// What is known to one who does it although somebody has panicked.
#[derive(Debug)]
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// Whether a caller before has panicked.
    pub const fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterPanic {
    Refuse,
    Retry,
}

/// The right to do it; however it is left, the next one comes.
struct Running<'once> {
    once: &'once Once,
    since: HeldSince,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let holder = || self.once.lock.holder().get();
        self.once.poison.release(self.since, holder);
        self.once.lock.unlock();
    }
}

//! A door that opens once, for all: Guile's condition.

use core::{
    panic::{RefUnwindSafe, UnwindSafe},
    time::Duration,
};

use fiber_core::{
    operation::{self, LatchOperation, perform, perform_until},
    timeout::Elapsed,
};

use crate::primitive::const_unless_loom;

/// One bit: closed at first; once open it stays open, and nobody waits for it any more.
///
/// Std has nothing like it; it is a `OnceLock<()>` that can be waited for.
///
/// ```
/// use fiber_sync::Latch;
///
/// let ready = Latch::new();
/// assert!(!ready.try_wait());
/// assert!(ready.open(), "we were the first");
/// assert!(!ready.open());
/// ready.wait();
/// ```
#[derive(Debug, Default)]
pub struct Latch(operation::Latch);

impl UnwindSafe for Latch {}
impl RefUnwindSafe for Latch {}

impl Latch {
    const_unless_loom! {
        /// A closed latch.
        pub fn new() -> Self {
            Self(operation::Latch::new())
        }
    }

    /// Waits until it is open.
    ///
    /// # Suspends
    /// Until it is open.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, unless it is open.
    #[inline]
    pub fn wait(&self) {
        perform(self.wait_operation());
    }

    /// Whether it is open. Never suspends.
    #[inline]
    pub fn try_wait(&self) -> bool {
        self.0.is_open()
    }

    /// [`Latch::wait`] that gives up after `span`.
    ///
    /// # Suspends
    /// Until it is open, for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Latch::wait`].
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_timeout(&self, span: Duration) -> Result<(), Elapsed> {
        perform_until(self.wait_operation(), Some(span)).map_err(|_| Elapsed::new())
    }

    /// Waiting until it is open, as an operation.
    pub const fn wait_operation(&self) -> LatchOperation<'_> {
        self.0.wait_operation("a latch")
    }

    /// Opens it and wakes everybody, in the order in which they came; says whether it was closed.
    /// Never suspends.
    pub fn open(&self) -> bool {
        self.0.open()
    }
}

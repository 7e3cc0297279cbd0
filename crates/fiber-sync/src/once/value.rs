//! A value that is written once.

use core::{
    cell::UnsafeCell,
    fmt,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    time::Duration,
};

use fiber_core::{operation::LatchOperation, timeout::Elapsed};

use super::{AfterPanic, Once};
use crate::primitive::const_unless_loom;

/// A place for a value that is written once, and read by everybody from then on.
///
/// Shaped as std's `OnceLock`, but the function that makes the value may park; and when the fiber
/// that runs it is cancelled, the next caller makes the value with a function of its own.
///
/// ```
/// use fiber_sync::OnceLock;
///
/// static NAME: OnceLock<String> = OnceLock::new();
///
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "first".to_owned()), "first");
/// assert_eq!(NAME.set("second".to_owned()), Err("second".to_owned()));
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Written by the one that runs the once, and by nobody after it is done.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by one, under the lock of the once, and shared only when that is
// done; who drops it may be somebody else (I-12).
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe + RefUnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    const_unless_loom! {
        /// Without a value.
        pub fn new() -> Self {
            Self {
                once: Once::new(),
                value: UnsafeCell::new(None),
            }
        }
    }

    /// The value, if there is one. Never suspends.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: it is done, so nobody writes any more (I-2).
        unsafe { &*self.value.get() }.as_ref()
    }

    /// The value, which `init` makes if there is none.
    ///
    /// # Suspends
    /// While somebody else makes it, and where `init` does.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, and from within `init`: then there is no value yet.
    ///
    /// # Panics
    /// When `init` does; then there is no value yet. When it is called from within `init`.
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        if !self.once.is_completed() {
            self.write(Location::caller(), init);
        }
        self.get().expect("it was written just now, or before")
    }

    /// Writes the value, if there is none.
    ///
    /// # Suspends
    /// While somebody else makes one.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and drops `value`, unless it was written.
    ///
    /// # Errors
    /// When there is one; the error has `value`.
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        if !self.once.is_completed() {
            let take = || value.take().expect("it is made once");
            self.write(Location::caller(), take);
        }
        value.map_or(Ok(()), Err)
    }

    fn write(&self, site: &'static Location<'static>, init: impl FnOnce() -> T) {
        self.once.run(site, AfterPanic::Retry, |_| {
            let value = init();
            // SAFETY: the one that runs the once is alone, and nobody reads before it is done
            // (I-2).
            unsafe { *self.value.get() = Some(value) };
        });
    }

    /// Waits until there is a value, by whomever.
    ///
    /// # Suspends
    /// Until there is one.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, unless there is one.
    pub fn wait(&self) -> &T {
        self.once.wait();
        self.get().expect("it is there once it is done")
    }

    /// [`OnceLock::wait`] that gives up after `span`.
    ///
    /// # Suspends
    /// Until there is a value, for `span` at the most.
    ///
    /// # Cancellation
    /// As [`OnceLock::wait`].
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_timeout(&self, span: Duration) -> Result<&T, Elapsed> {
        self.once.wait_timeout(span)?;
        Ok(self.get().expect("it is there once it is done"))
    }

    /// Waiting until there is a value, as an operation; then [`OnceLock::get`] has it.
    pub const fn wait_operation(&self) -> LatchOperation<'_> {
        self.once.wait_operation()
    }

    /// The value, without waiting: the borrow proves that nobody is at it.
    pub const fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// The value, and what is left is without one.
    pub fn take(&mut self) -> Option<T> {
        core::mem::take(self).into_inner()
    }

    /// The value.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        let once = Once::new();
        once.done.open();
        Self {
            once,
            value: UnsafeCell::new(Some(value)),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => out.field(value),
            None => out.field(&format_args!("<not written>")),
        };
        out.finish()
    }
}

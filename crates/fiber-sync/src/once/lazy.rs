//! A value that is made when it is first wanted.

use core::{
    cell::UnsafeCell,
    fmt,
    ops::Deref,
    panic::{Location, RefUnwindSafe, UnwindSafe},
};

use super::{AfterPanic, Once};
use crate::primitive::const_unless_loom;

/// A value that a function makes when it is first wanted.
///
/// Shaped as std's `LazyLock`, but the function may park; and when the fiber that runs it is
/// cancelled, the next one that wants the value runs it anew: so it is a function that can be
/// called again, where std's need not be.
///
/// ```
/// use fiber_sync::LazyLock;
///
/// static SQUARES: LazyLock<Vec<u32>> = LazyLock::new(|| (0..4).map(|n| n * n).collect());
///
/// assert_eq!(SQUARES[3], 9);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    /// Touched by the one that runs the once, and read by everybody after it is done.
    value: UnsafeCell<Option<T>>,
    /// Touched by the one that runs the once, alone; dropped when it is done.
    init: UnsafeCell<Option<F>>,
}

// SAFETY: value and function are touched by one, under the lock of the once; the value is shared
// only when that is done, the function never (I-12).
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe + RefUnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnMut() -> T> LazyLock<T, F> {
    const_unless_loom! {
        /// A value that `init` will make.
        pub fn new(init: F) -> Self {
            Self {
                once: Once::new(),
                value: UnsafeCell::new(None),
                init: UnsafeCell::new(Some(init)),
            }
        }
    }

    /// The value, which is made now if it was not before.
    ///
    /// # Suspends
    /// While somebody else makes it, and where the function does.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here, and from within the function: then there is no value yet.
    ///
    /// # Panics
    /// When the function does, and then for ever. When it is called from within the function.
    #[inline]
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        if !this.once.is_completed() {
            this.make(Location::caller());
        }
        this.value().expect("it was made just now, or before")
    }

    #[cold]
    fn make(&self, site: &'static Location<'static>) {
        let mut spent = None;
        self.once.run(site, AfterPanic::Refuse, |_| {
            // SAFETY: the one that runs the once is alone (I-2).
            let init = unsafe { &mut *self.init.get() };
            let value = init.as_mut().expect("it is there until it has made it")();
            // SAFETY: as above, and nobody reads before it is done (I-2).
            unsafe { *self.value.get() = Some(value) };
            spent = init.take();
        });
        // When it is done: that is the user's code, which may wait and unwind.
        drop(spent);
    }
}

impl<T, F> LazyLock<T, F> {
    fn value(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: it is done, so nobody writes any more (I-2).
        unsafe { &*self.value.get() }.as_ref()
    }
}

impl<T, F: FnMut() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("LazyLock");
        match self.value() {
            Some(value) => out.field(value),
            None => out.field(&format_args!("<not made>")),
        };
        out.finish()
    }
}

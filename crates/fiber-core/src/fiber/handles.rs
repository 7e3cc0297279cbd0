//! How many references a fiber's block has: one of the runtime, until the fiber has ended, and one
//! of each handle, of which wakers are some.

use crate::{
    operation::{Holder, Resource},
    primitive::{AtomicUsize, Ordering},
};

/// The count. To a fiber that is parked until somebody calls `unpark` the handles are what it waits
/// for.
pub(crate) struct Handles(AtomicUsize);

impl Handles {
    /// The runtime's, and that of the handle that waits for the result.
    pub(super) fn two() -> Self {
        Self(AtomicUsize::new(2))
    }

    pub(super) fn add(&self) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(
            before < usize::MAX / 2,
            "a fiber's handles are leaked without end"
        );
    }

    /// Whether this was the last one: then everything that others did through theirs happened
    /// before.
    #[inline]
    pub(super) fn release(&self) -> bool {
        // Who has the only one is not joined by others: new ones are made of it.
        if self.0.load(Ordering::Acquire) == 1 {
            return true;
        }
        if self.0.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        self.0.load(Ordering::Acquire);
        true
    }
}

impl Resource for Handles {
    fn kind(&self) -> &'static str {
        "a handle of the fiber"
    }

    fn holders(&self, _tell: &mut dyn FnMut(Holder)) {}

    /// The runtime wakes nobody by itself. A new handle is made of another one, or by the fiber.
    fn peers(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Acquire).saturating_sub(1))
    }
}

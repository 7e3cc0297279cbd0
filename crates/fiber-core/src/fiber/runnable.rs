//! The right to run a fiber.

use core::{fmt, mem::ManuallyDrop, ptr::NonNull};

use super::{exit::ExitReason, handle::Fiber, header::Header};
use crate::{context::Context, registry::Closing};

/// The right to run one fiber: there is one a fiber at the most, and it cannot be copied. So a
/// fiber is in one queue at a time, and is resumed by one worker at a time (I-11).
///
/// It is made with the fiber, travels through the queues, and is hidden in the fiber's block while
/// the fiber is parked. It is the runtime's reference to the block.
pub struct Runnable(ManuallyDrop<Fiber>);

impl Runnable {
    /// Takes over the reference that `header` was counted for.
    pub(crate) const fn from_raw(header: NonNull<Header>) -> Self {
        Self(ManuallyDrop::new(Fiber::from_raw(header)))
    }

    /// Gives the right away as a pointer.
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0.as_raw()
    }

    /// The fiber has ended: what is left of the right is a handle.
    pub(crate) fn into_fiber(self) -> Fiber {
        Fiber::from_raw(self.into_raw())
    }

    /// Whether it was never resumed before, not even to wait for its operation.
    pub fn is_new(&self) -> bool {
        !self.0.has_home()
    }

    /// The fiber.
    pub fn fiber(&self) -> &Fiber {
        &self.0
    }
}

impl Drop for Runnable {
    /// A fiber that has not started ends as a cancelled one. One that has started, or waits for
    /// its operation, is never resumed again: its frames, its block and what they borrow are leaked
    /// (I-3).
    fn drop(&mut self) {
        if self.0.has_home() {
            return;
        }
        // The closure's drop is the user's code and may panic; who joins is told even so.
        let fiber = Finish(Fiber::from_raw(self.0.as_raw()));
        fiber.0.fail(ExitReason::unstarted(fiber.0.header()));
    }
}

/// Tells those who wait that a fiber has ended, when it is dropped.
struct Finish(Fiber);

impl Drop for Finish {
    fn drop(&mut self) {
        // It may have been named before its launch was given up: nobody may find it any more.
        Context::with(|context| {
            if let Some(context) = context {
                context.close_fiber(&self.0, Closing::Asked);
            }
        });
        self.0.header().finish();
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Runnable").field(self.fiber()).finish()
    }
}

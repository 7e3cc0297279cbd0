//! Waiting for a fiber's result.
//!
//! The result has one owner at a time. `claims` decides who drops it when nobody takes it:
//!
//! | bit | set by |
//! |---|---|
//! | `ENDED` | the fiber's own stack, when the result is stored |
//! | `DETACHED` | the handle, when it is dropped unused |
//! | `JOINED` | the handle, when it takes the result |
//!
//! Whoever sets the second bit drops the result: the fiber, still on its own stack, or the handle.

use core::{fmt, marker::PhantomData, mem::ManuallyDrop};

use super::{
    block::{TakeResult, take_result},
    exit::ExitReason,
    header::{Fiber, Header},
};
use crate::{context::Context, operation, primitive::Ordering};

const ENDED: u8 = 1;
const DETACHED: u8 = 2;
const JOINED: u8 = 4;

/// Waits for a fiber's result. Dropping it detaches the fiber, which goes on.
#[must_use = "dropping the handle detaches the fiber; a panic in it is then only logged"]
pub struct JoinHandle<T> {
    fiber: Fiber,
    take: TakeResult<T>,
    _result: PhantomData<T>,
}

// SAFETY: the handle gives access to the fiber, which any thread may have, and to a `T`, which may
// be sent; the result is taken only after the fiber's worker has let go of it (I-11).
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: through a shared handle only the fiber's atomics are reached (I-11).
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(super) fn new(fiber: Fiber, take: TakeResult<T>) -> Self {
        Self {
            fiber,
            take,
            _result: PhantomData,
        }
    }

    /// The fiber itself, to wake or to cancel it.
    pub fn fiber(&self) -> &Fiber {
        &self.fiber
    }

    /// Whether the fiber has ended, so that joining would not wait.
    pub fn is_finished(&self) -> bool {
        self.fiber.is_finished()
    }

    /// Asks the fiber to unwind, see [`Fiber::cancel`].
    pub fn cancel(&self) {
        self.fiber.cancel();
    }

    /// Waits until the fiber has ended, and gives its result. Works on any fiber and any thread.
    ///
    /// # Suspends
    /// Until the fiber has ended.
    ///
    /// # Cancellation
    /// A cancelled caller unwinds; the fiber goes on, detached.
    ///
    /// # Errors
    /// When it panicked, was cancelled or could not be started, or when a fiber joins itself.
    pub fn join(self) -> Result<T, ExitReason> {
        if Context::current_is(&self.fiber) {
            return Err(ExitReason::Deadlock);
        }
        operation::perform(self.fiber.header().exit.wait_operation("join"));
        self.take_result()
    }

    fn take_result(self) -> Result<T, ExitReason> {
        let this = ManuallyDrop::new(self);
        this.fiber
            .header()
            .claims
            .fetch_or(JOINED, Ordering::Relaxed);
        // SAFETY: the latch is open, so the fiber has stored its result and let go; this handle is
        // the only one and has not detached, so the claim is ours (I-11).
        let result = unsafe { take_result(this.fiber.as_raw(), this.take) };
        // SAFETY: `this` is not used again, so its handle is dropped once, here (I-3).
        drop(unsafe { core::ptr::read(&raw const this.fiber) });
        result.expect("the result is taken once")
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let header = self.fiber.header();
        if header.claims.fetch_or(DETACHED, Ordering::AcqRel) & ENDED != 0 {
            (header.vtable.discard)(self.fiber.as_raw());
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("fiber", &self.fiber)
            .finish_non_exhaustive()
    }
}

impl Header {
    /// Whether the handle was dropped unused.
    pub(super) fn is_detached(&self) -> bool {
        self.claims.load(Ordering::Relaxed) & DETACHED != 0
    }

    /// Whether a handle has taken the result.
    pub(super) fn is_joined(&self) -> bool {
        self.claims.load(Ordering::Relaxed) & JOINED != 0
    }

    /// The result is stored: says whether its handle is gone, so that it must be dropped here.
    pub(crate) fn result_is_orphaned(&self) -> bool {
        self.claims.fetch_or(ENDED, Ordering::AcqRel) & DETACHED != 0
    }
}

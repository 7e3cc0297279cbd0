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

use core::{fmt, marker::PhantomData, panic::Location, pin::Pin, time::Duration};

use super::{
    block::{TakeResult, take_result},
    exit::ExitReason,
    handle::Fiber,
    header::Header,
    reason::Reason,
};
use crate::{
    operation::{
        self, Deadlock, Holder, LatchOperation, Operation, Published, Resource, WaitCell, Waits,
    },
    primitive::Ordering,
    timeout::Elapsed,
};

const ENDED: u8 = 1;
const DETACHED: u8 = 2;
const JOINED: u8 = 4;

/// Waits for a fiber's result. Dropping it detaches the fiber, which goes on.
///
/// As `std::thread::JoinHandle`, and beyond it: the fiber can be cancelled, and joining can be
/// limited in time, tried, or be one arm of a choice. What those take, `join` does not give again.
///
/// A panic comes as [`ExitReason::Panicked`], with its payload, its place and its backtrace. One
/// that nobody can be told of any more, because the handle was dropped, is logged, once, with the
/// same. Apart from that each panic goes through the program's panic hook, when it begins; std's
/// own prints it under the name of the worker's thread, and in one of the program's own
/// [`current`](crate::park::current) is the fiber.
///
/// ```
/// use std::time::Duration;
/// use fiber_core::fiber::{ExitReason, JoinHandle};
///
/// /// The answer, or why there is none.
/// fn hear(mut child: JoinHandle<u32>) -> Result<u32, ExitReason> {
///     match child.join_timeout(Duration::from_secs(1)) {
///         Ok(ended) => ended,
///         Err(_) => {
///             child.cancel_with("nobody waits for so long");
///             child.join()
///         }
///     }
/// }
/// ```
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

    /// Asks the fiber to unwind, and says why, see [`Fiber::cancel_with`].
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.fiber.cancel_with(reason);
    }

    /// Lets the fiber go on by itself, as dropping the handle does. It can be cancelled as before,
    /// through a clone of [`JoinHandle::fiber`].
    pub fn detach(self) {}

    /// Waits until the fiber has ended, and gives its result. Works on any fiber and any thread.
    ///
    /// # Suspends
    /// Until the fiber has ended.
    ///
    /// # Cancellation
    /// A cancelled caller unwinds; the fiber goes on, detached. To keep the handle, perform
    /// [`JoinHandle::join_operation`].
    ///
    /// # Errors
    /// When it panicked, was cancelled or could not be started; when it waits for the caller, as a
    /// fiber does that joins itself; and when its result was taken before.
    #[track_caller]
    pub fn join(mut self) -> Result<T, ExitReason> {
        operation::perform(self.join_operation())
    }

    /// [`JoinHandle::join`] for `span` at the most.
    ///
    /// # Suspends
    /// Until the fiber has ended.
    ///
    /// # Cancellation
    /// A cancelled caller unwinds.
    ///
    /// # Errors
    /// [`Elapsed`] when it has not ended in time: the handle is as good as before. Otherwise as
    /// [`JoinHandle::join`].
    #[track_caller]
    pub fn join_timeout(&mut self, span: Duration) -> Result<Result<T, ExitReason>, Elapsed> {
        operation::perform_until(self.join_operation(), Some(span)).map_err(|_| Elapsed::new())
    }

    /// The fiber's result, if it has ended. Never suspends.
    pub fn try_join(&mut self) -> Option<Result<T, ExitReason>> {
        operation::try_perform(self.join_operation()).ok()
    }

    /// The operation that waits for the fiber's result. When it has committed the handle has given
    /// everything that it had: joining again gives [`ExitReason::Taken`].
    #[track_caller]
    #[must_use = "an operation does nothing until it is performed"]
    pub fn join_operation(&mut self) -> JoinOperation<'_, T> {
        let handle: &Self = self;
        JoinOperation {
            fiber: &handle.fiber,
            take: handle.take,
            site: Location::caller(),
            exit: handle.fiber.exit_operation(),
            _handle: PhantomData,
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let header = self.fiber.header();
        if header.is_joined() {
            return;
        }
        if header.claims.fetch_or(DETACHED, Ordering::AcqRel) & ENDED != 0 {
            (header.vtable.discard)(self.fiber.as_raw());
        }
    }
}

/// Waits for a fiber's result; see [`JoinHandle::join_operation`].
pub struct JoinOperation<'handle, T> {
    fiber: &'handle Fiber,
    take: TakeResult<T>,
    site: &'static Location<'static>,
    exit: LatchOperation<'handle>,
    /// Nobody else joins meanwhile.
    _handle: PhantomData<&'handle mut JoinHandle<T>>,
}

impl<'handle, T> JoinOperation<'handle, T> {
    fn exit(self: Pin<&mut Self>) -> Pin<&mut LatchOperation<'handle>> {
        // SAFETY: the field is pinned with the operation, and never moved out of it (I-12).
        unsafe { self.map_unchecked_mut(|this| &mut this.exit) }
    }
}

// SAFETY: the latch of the fiber's end keeps the promises (I-2, I-12); the result moves in
// `finish`, which comes after the one commit, and only for the first who asks.
unsafe impl<T> Operation for JoinOperation<'_, T> {
    type Output = Result<T, ExitReason>;

    fn name(&self) -> &'static str {
        self.exit.name()
    }

    fn is_simple(&self) -> bool {
        true
    }

    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: self.fiber,
            site: self.site,
            only_holders: true,
        })
    }

    fn try_now(&mut self) -> Option<u16> {
        // Without the latch's lock: whoever opens it holds the fiber until it has.
        self.exit.is_open().then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        if self.exit.is_open() {
            // As in `try_now`.
            return Published::own(cell, base);
        }
        // SAFETY: by the caller's promise (I-12).
        unsafe { self.exit().publish(cell, base) }
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            self.exit().retract(None);
        }
        // Whoever has opened the latch has unlinked the node before, and holds the fiber until it
        // has left the latch: there is nothing to wait for.
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        let header = self.fiber.header();
        // No exchange: the fiber has set its bit, and the handle, which sets the others, is
        // borrowed by this.
        let claims = header.claims.load(Ordering::Relaxed);
        if claims & JOINED != 0 {
            return Err(ExitReason::Taken);
        }
        header.claims.store(claims | JOINED, Ordering::Relaxed);
        // SAFETY: the latch is open, so the fiber has stored its result and let go; its only handle
        // is borrowed and has not detached, so the claim is ours (I-11).
        let result = unsafe { take_result(self.fiber.as_raw(), self.take) };
        result.expect("the result is taken once")
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> Self::Output {
        Err(ExitReason::Deadlock(deadlock))
    }
}

impl<T> fmt::Debug for JoinOperation<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinOperation")
            .field("fiber", &self.fiber)
            .finish_non_exhaustive()
    }
}

/// The end of a fiber, which nobody but itself can bring about.
impl Resource for Fiber {
    fn kind(&self) -> &'static str {
        "the end of a fiber"
    }

    fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        if !self.is_finished() {
            tell(Holder::new(self.id(), self.spawned_at()));
        }
    }

    #[inline]
    fn end_of(&self) -> Option<&Fiber> {
        Some(self)
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

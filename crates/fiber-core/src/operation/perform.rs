//! Performing an operation, from a fiber or from a plain thread.

use alloc::sync::Arc;
use core::{
    pin::{Pin, pin},
    time::Duration,
};

use super::{
    Operation, Published,
    cell::{CellState, WaitCell, Waiter},
};
use crate::{
    context::Context,
    env::{Instant, ThreadHooks, hooks},
    fiber::Header,
    spin,
    timer::{Armed, TimerNode},
};

/// Why an operation was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupted {
    /// The deadline has passed.
    Elapsed,
    /// The fiber was cancelled; it unwinds at its next suspension point.
    Cancelled,
}

/// Waits until `operation` has committed, and gives its value.
///
/// # Suspends
/// Unless it can commit at once.
///
/// # Cancellation
/// A cancelled fiber unwinds here, with nothing committed. What has committed is never lost: its
/// value is returned, and the cancel waits for the next point.
pub fn perform<O: Operation>(operation: O) -> O::Output {
    match perform_until(operation, None) {
        Ok(value) => value,
        Err(_) => unreachable!("without a deadline it commits or unwinds"),
    }
}

/// [`perform`] that gives up after `span`; `None` waits without end.
///
/// # Errors
/// [`Interrupted::Elapsed`], with nothing committed.
pub fn perform_until<O: Operation>(
    operation: O,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    perform_pinned(pin!(operation), span)
}

/// [`perform_until`] that leaves the operation with the caller: what was not committed can be taken
/// out of it again, as a value that was not sent in time.
///
/// # Errors
/// [`Interrupted::Elapsed`], with nothing committed.
pub fn perform_pinned<O: Operation>(
    operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    let result = wait_for(operation, span);
    if matches!(result, Err(Interrupted::Cancelled)) {
        Context::with_current(Context::deliver_cancel);
    }
    result
}

/// [`perform_until`] for primitives that must put something right before they let a cancel
/// through: a cancel is an error and does not unwind.
///
/// # Errors
/// [`Interrupted`], with nothing committed.
pub fn perform_or_interrupt<O: Operation>(
    operation: O,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    wait_for(pin!(operation), span)
}

#[inline]
fn wait_for<O: Operation>(
    mut operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    Context::with_current(|context, fiber| context.charge(fiber));
    // SAFETY: `try_now` moves nothing that must stay, as implementors promise (I-12).
    if let Some(arm) = unsafe { operation.as_mut().get_unchecked_mut() }.try_now() {
        // SAFETY: committed just now, and nothing was published (I-12).
        return Ok(unsafe { operation.finish(arm) });
    }
    wait_published(operation, span)
}

#[cold]
fn wait_published<O: Operation>(
    operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    let on_fiber = Context::with(|context| context.is_some_and(Context::is_on_fiber));
    if on_fiber {
        Context::with_fiber(operation.name(), |context, fiber| {
            perform_on_fiber(context, fiber, operation, span)
        })
    } else {
        perform_on_thread(operation, span)
    }
}

/// Commits `operation` if that is possible at once. Never suspends.
///
/// # Errors
/// The operation itself, unharmed, with what it owns.
pub fn try_perform<O: Operation>(mut operation: O) -> Result<O::Output, O> {
    match operation.try_now() {
        // SAFETY: committed just now, and nothing was published (I-12).
        Some(arm) => Ok(unsafe { pin!(operation).finish(arm) }),
        None => Err(operation),
    }
}

/// How a wait ended.
enum Waited {
    Settled(u16),
    Interrupted(Interrupted),
}

fn perform_on_fiber<O: Operation>(
    context: &Context,
    fiber: &Header,
    mut operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    // Before anybody can commit: a panic must not lose what was.
    context.assert_may_suspend(operation.name());
    if context.pending(fiber).is_some() {
        return Err(Interrupted::Cancelled);
    }
    let cell = WaitCell::new(Waiter::fiber(fiber));
    let timer = pin!(TimerNode::new());
    let timer = timer.into_ref();
    let mut published = Unpublish::new(operation.as_mut(), &cell);
    // SAFETY: the cell is in this frame, which `published` retracts before it is left (I-12).
    if let Published::Committed(arm) = unsafe { published.operation().publish(&cell, 0) } {
        return Ok(published.finish(arm));
    }
    let deadline = span.map(|span| context.now() + span);
    let _armed = deadline.map(|deadline| Armed::new(timer, context, fiber, deadline));
    let waited = wait(&cell, || {
        if context.pending(fiber).is_some() {
            return Some(Interrupted::Cancelled);
        }
        if timer.has_fired() {
            return Some(Interrupted::Elapsed);
        }
        context.park(fiber, published.name());
        None
    });
    published.end(waited)
}

fn perform_on_thread<O: Operation>(
    mut operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    let hooks = thread_hooks(operation.name());
    let unparker = (hooks.unparker)();
    let cell = WaitCell::new(Waiter::thread(Arc::clone(&unparker)));
    let mut published = Unpublish::new(operation.as_mut(), &cell);
    // SAFETY: the cell is in this frame, which `published` retracts before it is left (I-12).
    if let Published::Committed(arm) = unsafe { published.operation().publish(&cell, 0) } {
        return Ok(published.finish(arm));
    }
    let deadline: Option<Instant> = span.map(|span| (hooks.now)() + span);
    let waited = wait(&cell, || {
        let left = deadline.map(|deadline| deadline.saturating_since((hooks.now)()));
        if left == Some(Duration::ZERO) {
            return Some(Interrupted::Elapsed);
        }
        (hooks.park)(left);
        None
    });
    published.end(waited)
}

fn thread_hooks(operation: &str) -> &'static ThreadHooks {
    match (Context::with(|context| context.is_some()), hooks()) {
        (false, Some(hooks)) => hooks,
        (true, _) => panic!("{operation} would block the worker itself: do it on a fiber"),
        (_, None) => panic!("{operation} would block: make a host first, such as by `Linux::new`"),
    }
}

/// Waits until the cell is settled or `pause` gives a reason to withdraw, and withdrawing succeeds.
fn wait(cell: &WaitCell, mut pause: impl FnMut() -> Option<Interrupted>) -> Waited {
    let mut spins = 0;
    loop {
        match cell.state() {
            CellState::Settled(arm) => return Waited::Settled(arm),
            // A partner is about to settle it: a few instructions of another thread.
            CellState::Claimed => spin::relax(&mut spins),
            CellState::Waiting => {
                if let Some(reason) = pause()
                    && cell.withdraw()
                {
                    return Waited::Interrupted(reason);
                }
            }
        }
    }
}

/// Published nodes; retracted before the frame is left, also by unwinding (I-12).
struct Unpublish<'frame, O: Operation> {
    operation: Pin<&'frame mut O>,
    cell: &'frame WaitCell,
    name: &'static str,
    retracted: bool,
}

impl<'frame, O: Operation> Unpublish<'frame, O> {
    fn new(operation: Pin<&'frame mut O>, cell: &'frame WaitCell) -> Self {
        let name = operation.name();
        Self {
            operation,
            cell,
            name,
            retracted: false,
        }
    }

    fn operation(&mut self) -> Pin<&mut O> {
        self.operation.as_mut()
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn retract(&mut self, winner: Option<u16>) {
        if !self.retracted {
            self.retracted = true;
            self.operation.as_mut().retract(winner);
        }
    }

    fn finish(mut self, arm: u16) -> O::Output {
        self.retract(Some(arm));
        // SAFETY: the callers' arm is the settled one, retracted just now, and `self` ends (I-12).
        unsafe { self.operation.as_mut().finish(arm) }
    }

    fn end(mut self, waited: Waited) -> Result<O::Output, Interrupted> {
        match waited {
            Waited::Settled(arm) => Ok(self.finish(arm)),
            Waited::Interrupted(reason) => {
                self.retract(None);
                Err(reason)
            }
        }
    }
}

impl<O: Operation> Drop for Unpublish<'_, O> {
    /// Does something only when the wait itself unwinds. Then what a partner has committed is taken
    /// and dropped, as a lock that was handed over is released again.
    fn drop(&mut self) {
        if self.retracted {
            return;
        }
        match wait(self.cell, || Some(Interrupted::Cancelled)) {
            Waited::Settled(arm) => {
                self.retract(Some(arm));
                // SAFETY: settled on that arm and retracted; `self` ends (I-12).
                drop(unsafe { self.operation.as_mut().finish(arm) });
            }
            Waited::Interrupted(_) => self.retract(None),
        }
    }
}

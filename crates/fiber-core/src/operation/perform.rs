//! Performing an operation, from a fiber or from a plain thread.

use alloc::sync::Arc;
use core::{
    mem,
    pin::{Pin, pin},
    time::Duration,
};

use super::{
    Deadlock, How, Operation, Published,
    cell::{CellState, Until, WaitCell, Waiter},
    graph::Edge,
    holder::StoredWaits,
};
use crate::{
    context::Context,
    env::{Instant, ThreadHooks, hooks},
    fiber::Header,
    park::{UnwindReason, Unwinds, unwinding},
    spin,
    timeout::TimeoutScope,
    timer::{Armed, TimerNode},
};

/// How long a plain thread waits at the most before it looks again whether who has what it waits
/// for was abandoned: nobody knows of it who could wake it then.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);

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
#[inline]
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
#[inline]
pub fn perform_until<O: Operation>(
    operation: O,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    // SAFETY: it was the caller's to give away, and nobody performs it again (I-12).
    unsafe { perform_pinned(pin!(operation), span) }
}

/// [`perform_until`] that leaves the operation with the caller: what was not committed can be taken
/// out of it again, as a value that was not sent in time.
///
/// # Safety
/// The operation has not been committed before: one that was gives its value once.
///
/// # Errors
/// [`Interrupted::Elapsed`], with nothing committed.
#[inline]
pub unsafe fn perform_pinned<O: Operation>(
    operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    let result = wait_for(operation, span);
    if matches!(result, Err(Interrupted::Cancelled)) {
        unwind_now();
    }
    result
}

/// Not asked again whether the caller unwinds: it did not when it was interrupted, but others of
/// its worker may by now.
#[cold]
fn unwind_now() {
    Context::with_current(|context, fiber| {
        let interrupt = fiber.unmasked_interrupt();
        let interrupt = interrupt.expect("who was interrupted stays so until it unwinds");
        interrupt.throw(fiber, context.env())
    });
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
    // SAFETY: nothing was published, so nothing must stay where it is (I-12).
    unsafe { operation.as_mut().get_unchecked_mut() }.prepare(How::PERFORM);
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
    mut operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    let on_fiber = Context::with_current(|context, fiber| {
        wait_on_fiber(context, fiber, operation.as_mut(), span)
    });
    let waited = match on_fiber {
        Some(waited) => waited,
        None => wait_on_thread(operation.as_mut(), span),
    };
    match waited {
        // SAFETY: the cell was settled on this arm, and everything is retracted (I-12).
        Waited::Settled(arm) => Ok(unsafe { operation.finish(arm) }),
        Waited::Refused(deadlock) => Ok(operation.refuse(deadlock)),
        Waited::Interrupted(reason) => {
            operation.lose();
            Err(reason)
        }
    }
}

/// Commits `operation` if that is possible at once: if at least one of its arms could commit at
/// every moment of the call, one does. Never suspends; guards may.
///
/// # Errors
/// The operation itself, unharmed, with what it owns: it may be tried or performed again. Guards do
/// not run again then.
#[inline]
pub fn try_perform<O: Operation>(mut operation: O) -> Result<O::Output, O> {
    operation.prepare(How::TRY);
    match operation.try_now() {
        // SAFETY: committed just now, and nothing was published (I-12).
        Some(arm) => Ok(unsafe { pin!(operation).finish(arm) }),
        None if operation.arms() < 2 => Err(operation),
        None => try_published(operation),
    }
}

/// Arms that were tried one after another may each have been tried at a moment when only others
/// could commit. Published, they are all open at once: whoever comes meanwhile commits one.
#[cold]
fn try_published<O: Operation>(mut operation: O) -> Result<O::Output, O> {
    let cell = WaitCell::new(Waiter::nobody());
    // SAFETY: it is not moved before it was retracted, below or by `published` (I-12).
    let pinned = unsafe { Pin::new_unchecked(&mut operation) };
    let mut published = Unpublish::new(pinned, &cell);
    // SAFETY: the cell is in this frame, which `published` retracts before it is left (I-12).
    let committed = match unsafe { published.operation().publish(&cell, 0) } {
        Published::Committed(arm) => Some(arm),
        Published::Waiting => match wait(&cell, || Some(Waited::Interrupted(Interrupted::Elapsed)))
        {
            Waited::Settled(arm) => Some(arm),
            _ => None,
        },
    };
    published.retract(committed);
    drop(published);
    let Some(arm) = committed else {
        return Err(operation);
    };
    // SAFETY: it is not moved any more (I-12).
    let operation = unsafe { Pin::new_unchecked(&mut operation) };
    // SAFETY: the cell was settled on this arm, and everything is retracted (I-12).
    Ok(unsafe { operation.finish(arm) })
}

/// How a wait ended. Everything is retracted by then.
enum Waited {
    Settled(u16),
    Interrupted(Interrupted),
    Refused(Deadlock),
}

/// The moment for which a performer watches the clock: a limit of its own, or an arm's.
#[derive(Clone, Copy)]
pub(crate) struct Alarm {
    at: Instant,
    /// `None` for the performer's own.
    arm: Option<u16>,
}

impl Alarm {
    pub(crate) fn of<O: Operation>(
        operation: &O,
        span: Option<Duration>,
        now: &dyn Fn() -> Instant,
    ) -> Option<Self> {
        let limit = span.map(|span| Self {
            at: now() + span,
            arm: None,
        });
        let due = operation
            .due(now)
            .map(|(at, arm)| Self { at, arm: Some(arm) });
        match (limit, due) {
            // An arm that is due has committed: that beats the limit.
            (Some(limit), Some(due)) => Some(if due.at <= limit.at { due } else { limit }),
            (limit, due) => limit.or(due),
        }
    }

    pub(crate) fn at(self) -> Instant {
        self.at
    }

    /// The moment has come: commits the arm that it is of, unless a partner was faster. Gives the
    /// end of the wait if it is the performer's own.
    pub(crate) fn ring(self, cell: &WaitCell) -> Option<Interrupted> {
        let Some(arm) = self.arm else {
            return Some(Interrupted::Elapsed);
        };
        if let Some(claim) = cell.claim_own() {
            claim.settle(arm);
        }
        None
    }
}

fn wait_on_fiber<O: Operation>(
    context: &Context,
    fiber: &Header,
    operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Waited {
    let waited = wait_switched_out(context, fiber, operation, span);
    // Nothing of it is published, armed or entered any more.
    context.rest_if_abandoned(fiber);
    waited
}

fn wait_switched_out<O: Operation>(
    context: &Context,
    fiber: &Header,
    operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Waited {
    // Before anybody can commit: a panic must not lose what was.
    context.assert_may_suspend(operation.name());
    if context.pending(fiber).is_some() {
        return Waited::Interrupted(Interrupted::Cancelled);
    }
    let until = Until::of(context, fiber);
    let cell = WaitCell::with_end(Waiter::fiber(fiber), until);
    let mut published = Unpublish::new(operation, &cell);
    // SAFETY: the cell is in this frame, which `published` retracts before it is left (I-12).
    if let Published::Committed(arm) = unsafe { published.operation().publish(&cell, 0) } {
        return published.end(Waited::Settled(arm));
    }
    let alarm = Alarm::of(&*published.operation, span, &|| context.now());
    let timer = pin!(TimerNode::new());
    let timer = timer.into_ref();
    let _armed = alarm.map(|alarm| Armed::new(timer, context, fiber, alarm.at));
    let is_limited = alarm.is_some() || until == Until::Limit;
    let waits = published.operation.waits();
    // SAFETY: what it waits for lives as long as the operation, and is forgotten with this frame's
    // guard, before the caller's frame with the operation is left (I-12).
    let stored = waits.map(|waits| unsafe { StoredWaits::new(waits, is_limited) });
    let _noted = stored.map(|stored| Noted::new(fiber, stored));
    let edge = pin!(Edge::of(fiber, &cell));
    let entered = edge.as_ref().as_pin_ref().map(|edge| {
        let graph = context.env().id_space().waits();
        // SAFETY: the edge is pinned in this frame, as is what leaves the graph (I-12).
        unsafe { graph.enter(edge) }
    });
    let (_entered, deadlock) = match entered {
        None => (None, None),
        Some(Ok(entered)) => (Some(entered), None),
        Some(Err(deadlock)) => (None, Some(deadlock)),
    };
    let (mut woken, mut unwinds) = (false, Unwinds::Perhaps);
    let waited = wait(&cell, || {
        if let Some(deadlock) = &deadlock {
            return Some(Waited::Refused(deadlock.clone()));
        }
        if mem::replace(&mut woken, true)
            && let Published::Committed(_) = published.operation().look_again(&cell, 0)
        {
            return None;
        }
        if context.pending_after(fiber, unwinds).is_some() {
            return Some(Waited::Interrupted(Interrupted::Cancelled));
        }
        if timer.has_fired() {
            return alarm
                .and_then(|alarm| alarm.ring(&cell))
                .map(Waited::Interrupted);
        }
        unwinds = context.park(fiber, published.name());
        None
    });
    published.end(waited)
}

fn wait_on_thread<O: Operation>(operation: Pin<&mut O>, span: Option<Duration>) -> Waited {
    let hooks = thread_hooks(operation.name());
    let unparker = (hooks.unparker)();
    let cell = WaitCell::new(Waiter::thread(Arc::clone(&unparker)));
    let mut published = Unpublish::new(operation, &cell);
    // SAFETY: the cell is in this frame, which `published` retracts before it is left (I-12).
    if let Published::Committed(arm) = unsafe { published.operation().publish(&cell, 0) } {
        return published.end(Waited::Settled(arm));
    }
    let alarm = Alarm::of(&*published.operation, span, &|| (hooks.now)());
    let holders = published
        .operation
        .waits()
        .is_some_and(|it| it.only_holders);
    let looks_again = (holders || published.operation.arms() > 1).then_some(LOOKS_AGAIN);
    let mut woken = false;
    let waited = wait(&cell, || {
        if mem::replace(&mut woken, true)
            && let Published::Committed(_) = published.operation().look_again(&cell, 0)
        {
            return None;
        }
        let left = alarm.map(|alarm| alarm.at.saturating_since((hooks.now)()));
        if left == Some(Duration::ZERO) {
            return alarm
                .and_then(|alarm| alarm.ring(&cell))
                .map(Waited::Interrupted);
        }
        let longest = left.into_iter().chain(looks_again).min();
        (hooks.park)(longest);
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

/// Waits until the cell is settled, or `pause` gives an end and withdrawing succeeds.
fn wait(cell: &WaitCell, mut pause: impl FnMut() -> Option<Waited>) -> Waited {
    let mut spins = 0;
    loop {
        match cell.state() {
            CellState::Settled(arm) => return Waited::Settled(arm),
            // A partner is about to settle it: a few instructions of another thread.
            CellState::Claimed => spin::relax(&mut spins),
            CellState::Waiting => {
                if let Some(end) = pause()
                    && cell.withdraw()
                {
                    return end;
                }
            }
        }
    }
}

impl Until {
    /// For a wait that `fiber` begins now.
    fn of(context: &Context, fiber: &Header) -> Self {
        let mask = fiber.mask().get();
        let unwinds = || fiber.interrupted().get() != 0 && unwinding() > Some(UnwindReason::Panic);
        if !context.env().can_unwind() || unwinds() {
            Self::Partner
        } else if TimeoutScope::is_limited(fiber.scopes().get(), mask) {
            Self::Limit
        } else if mask > 0 {
            Self::Partner
        } else {
            Self::Cancelled
        }
    }
}

/// What a fiber waits for, noted in its header while this lives: for reports and for the graph.
pub(crate) struct Noted<'fiber>(&'fiber Header);

impl<'fiber> Noted<'fiber> {
    pub(crate) fn new(fiber: &'fiber Header, waits: StoredWaits) -> Self {
        fiber.waits().set(Some(waits));
        Self(fiber)
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.waits().set(None);
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

    fn end(mut self, waited: Waited) -> Waited {
        self.retract(match waited {
            Waited::Settled(arm) => Some(arm),
            _ => None,
        });
        waited
    }
}

impl<O: Operation> Drop for Unpublish<'_, O> {
    /// Does something only when the wait itself unwinds. Then what a partner has committed is taken
    /// and dropped, as a lock that was handed over is released again.
    fn drop(&mut self) {
        if self.retracted {
            return;
        }
        match wait(self.cell, || {
            Some(Waited::Interrupted(Interrupted::Cancelled))
        }) {
            Waited::Settled(arm) => {
                self.retract(Some(arm));
                // SAFETY: settled on that arm and retracted; `self` ends (I-12).
                drop(unsafe { self.operation.as_mut().finish(arm) });
            }
            _ => self.retract(None),
        }
    }
}

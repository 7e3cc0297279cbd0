//! Performing an operation, from a fiber or from a plain thread.

use core::{
    mem,
    pin::{Pin, pin},
    ptr,
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
// All of a wait becomes a part of the caller, down to the switch: see `Header::switch_out`.
#[inline(always)]
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
#[inline(always)]
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
#[inline(always)]
pub unsafe fn perform_pinned<O: Operation>(
    operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    match wait_for(operation, span) {
        Err(Interrupted::Cancelled) => unwind_now(),
        result => result,
    }
}

/// Not asked again whether the caller unwinds: it did not when it was interrupted, but others of
/// its worker may by now.
#[cold]
fn unwind_now() -> ! {
    Context::with_fiber("unwinding", |context, fiber| {
        let interrupt = fiber.unmasked_interrupt();
        let interrupt = interrupt.expect("who was interrupted stays so until it unwinds");
        interrupt.throw(fiber, context.env())
    })
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

#[inline(always)]
fn wait_for<O: Operation>(
    mut operation: Pin<&mut O>,
    span: Option<Duration>,
) -> Result<O::Output, Interrupted> {
    // SAFETY: nothing was published, so nothing must stay where it is (I-12).
    unsafe { operation.as_mut().get_unchecked_mut() }.prepare(How::PERFORM);
    let mut deadlock = None;
    // SAFETY: used within this call (I-11).
    let waited = match unsafe { Context::here() } {
        Some((context, fiber)) => {
            try_or_wait(context, fiber, operation.as_mut(), span, &mut deadlock)
        }
        None => wait_outside(operation.as_mut(), span),
    };
    match waited {
        // SAFETY: committed by `try_now`, or the cell was settled on this arm and everything is
        // retracted (I-12).
        Waited::Settled(arm) => Ok(unsafe { operation.finish(arm) }),
        Waited::Refused => Ok(operation.refuse(deadlock.expect("it was refused because of one"))),
        Waited::Interrupted(reason) => {
            operation.lose();
            Err(reason)
        }
    }
}

#[inline(always)]
fn try_or_wait<O: Operation>(
    context: &Context,
    fiber: &Header,
    mut operation: Pin<&mut O>,
    span: Option<Duration>,
    deadlock: &mut Option<Deadlock>,
) -> Waited {
    context.charge(fiber);
    let is_free = fiber.is_undisturbed() && context.may_suspend();
    if !is_free {
        // Perhaps while it paid for the call.
        context.rest_if_abandoned(fiber);
    }
    // To publish it is to try it, but for one who is perhaps not to wait.
    if !(is_free && operation.is_simple()) {
        if let Some(arm) = try_once(operation.as_mut()) {
            return Waited::Settled(arm);
        }
        if !is_free && let Some(end) = end_before(context, fiber, operation.name()) {
            return end;
        }
    }
    let waited = wait_on_fiber(context, fiber, operation, span, deadlock);
    // Nothing of it is published, armed or entered any more.
    context.rest_if_abandoned(fiber);
    waited
}

/// The end of a wait that does not begin. Before anybody can commit: a panic must not lose what
/// was.
#[cold]
fn end_before(context: &Context, fiber: &Header, what: &str) -> Option<Waited> {
    context.assert_may_suspend(what);
    context.pending(fiber)?;
    // It is not told that it has lost.
    context.rest_if_abandoned(fiber);
    Some(Waited::Interrupted(Interrupted::Cancelled))
}

#[inline]
fn try_once<O: Operation>(operation: Pin<&mut O>) -> Option<u16> {
    // SAFETY: `try_now` moves nothing that must stay, as implementors promise (I-12).
    unsafe { operation.get_unchecked_mut() }.try_now()
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
        Published::Waiting => match wait(&mut published, |_| {
            Some(Waited::Interrupted(Interrupted::Elapsed))
        }) {
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

/// How a wait ended. Everything is retracted by then. Goes from hand to hand in a register.
#[derive(Clone, Copy)]
enum Waited {
    Settled(u16),
    Interrupted(Interrupted),
    Refused,
}

/// The moment for which a performer watches the clock: a limit of its own, or an arm's.
#[derive(Clone, Copy)]
pub(crate) struct Alarm {
    at: Instant,
    /// `None` for the performer's own.
    arm: Option<u16>,
}

impl Alarm {
    #[inline]
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

#[inline(always)]
fn wait_on_fiber<O: Operation>(
    context: &Context,
    fiber: &Header,
    operation: Pin<&mut O>,
    span: Option<Duration>,
    deadlock: &mut Option<Deadlock>,
) -> Waited {
    let until = Until::of(context, fiber);
    let cell = WaitCell::with_end(Waiter::fiber(fiber), until, operation.is_simple());
    let mut published = Unpublish::new(operation, &cell);
    // SAFETY: the cell is in this frame, which `published` retracts before it is left (I-12).
    if let Published::Committed(arm) = unsafe { published.operation().publish(&cell, 0) } {
        published.retract(Some(arm));
        return Waited::Settled(arm);
    }
    let alarm = Alarm::of(&*published.operation, span, &|| context.now());
    let timer = pin!(alarm.map(|_| TimerNode::new()));
    let timer = timer.as_ref().as_pin_ref();
    let _armed = timer
        .zip(alarm)
        .map(|(timer, alarm)| Armed::new(timer, context, fiber, alarm.at));
    let is_limited = alarm.is_some() || until == Until::Limit;
    let waits = published.operation.waits();
    // SAFETY: what it waits for lives as long as the operation, and is forgotten with this frame's
    // guard, before the caller's frame with the operation is left (I-12).
    let stored = waits.map(|waits| unsafe { StoredWaits::new(waits, is_limited) });
    let _noted = stored.as_ref().map(|stored| Noted::new(fiber, stored));
    let edge = pin!(Edge::of(fiber, stored, &cell));
    let entered = edge.as_ref().as_pin_ref().map(|edge| {
        let graph = context.id_space().waits();
        // SAFETY: the edge is pinned in this frame, as is what leaves the graph (I-12).
        unsafe { graph.enter(edge) }
    });
    let (_entered, refused) = match entered {
        None => (None, false),
        Some(Ok(entered)) => (Some(entered), false),
        Some(Err(circle)) => {
            *deadlock = Some(circle);
            (None, true)
        }
    };
    let ends = Ends {
        refused,
        alarm,
        timer,
    };
    let waited = sit_out(context, fiber, &mut published, ends);
    published.end(waited);
    waited
}

/// What ends a wait, besides a partner and a cancel.
struct Ends<'frame> {
    /// It would close a circle.
    refused: bool,
    alarm: Option<Alarm>,
    timer: Option<Pin<&'frame TimerNode>>,
}

/// [`wait`] on a fiber, written out: a closure might be left as a frame of its own.
#[inline(always)]
fn sit_out<O: Operation>(
    context: &Context,
    fiber: &Header,
    published: &mut Unpublish<'_, O>,
    ends: Ends<'_>,
) -> Waited {
    let (mut woken, mut unwinds, mut spins) = (false, Unwinds::Perhaps, 0);
    loop {
        let cell = published.cell;
        let end = match cell.state() {
            CellState::Settled(arm) => return Waited::Settled(arm),
            CellState::Claimed => {
                spin::relax(&mut spins);
                continue;
            }
            CellState::Waiting if ends.refused => Some(Waited::Refused),
            CellState::Waiting => {
                if mem::replace(&mut woken, true)
                    && let Published::Committed(_) = published.operation().look_again(cell, 0)
                {
                    continue;
                }
                if context.pending_after(fiber, unwinds).is_some() {
                    Some(Waited::Interrupted(Interrupted::Cancelled))
                } else if ends.timer.is_some_and(|timer| timer.has_fired()) {
                    let interrupted = ends.alarm.and_then(|alarm| alarm.ring(cell));
                    interrupted.map(Waited::Interrupted)
                } else {
                    unwinds = context.park(fiber, published.operation.name());
                    None
                }
            }
        };
        if let Some(end) = end
            && published.withdraw()
        {
            return end;
        }
    }
}

#[cold]
fn wait_outside<O: Operation>(mut operation: Pin<&mut O>, span: Option<Duration>) -> Waited {
    match try_once(operation.as_mut()) {
        Some(arm) => Waited::Settled(arm),
        None => wait_on_thread(operation, span),
    }
}

fn wait_on_thread<O: Operation>(operation: Pin<&mut O>, span: Option<Duration>) -> Waited {
    let hooks = thread_hooks(operation.name());
    let waiter = Waiter::thread((hooks.unparker)());
    let cell = WaitCell::with_end(waiter, Until::Cancelled, operation.is_simple());
    let mut published = Unpublish::new(operation, &cell);
    // SAFETY: the cell is in this frame, which `published` retracts before it is left (I-12).
    if let Published::Committed(arm) = unsafe { published.operation().publish(&cell, 0) } {
        published.retract(Some(arm));
        return Waited::Settled(arm);
    }
    let alarm = Alarm::of(&*published.operation, span, &|| (hooks.now)());
    let holders = published
        .operation
        .waits()
        .is_some_and(|it| it.only_holders);
    let looks_again = (holders || published.operation.arms() > 1).then_some(LOOKS_AGAIN);
    let mut woken = false;
    let waited = wait(&mut published, |published| {
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
    published.end(waited);
    waited
}

fn thread_hooks(operation: &str) -> &'static ThreadHooks {
    match (Context::with(|context| context.is_some()), hooks()) {
        (false, Some(hooks)) => hooks,
        (true, _) => panic!("{operation} would block the worker itself: do it on a fiber"),
        (_, None) => panic!("{operation} would block: make a host first, such as by `Linux::new`"),
    }
}

/// Waits until the cell is settled, or `pause` gives an end and withdrawing succeeds.
#[inline(always)]
fn wait<'frame, O: Operation>(
    published: &mut Unpublish<'frame, O>,
    mut pause: impl FnMut(&mut Unpublish<'frame, O>) -> Option<Waited>,
) -> Waited {
    let mut spins = 0;
    loop {
        match published.cell.state() {
            CellState::Settled(arm) => return Waited::Settled(arm),
            // A partner is about to settle it: a few instructions of another thread.
            CellState::Claimed => spin::relax(&mut spins),
            CellState::Waiting => {
                if let Some(end) = pause(published)
                    && published.withdraw()
                {
                    return end;
                }
            }
        }
    }
}

impl Until {
    /// For a wait that `fiber` begins now.
    #[inline]
    fn of(context: &Context, fiber: &Header) -> Self {
        let is_plain = fiber.scopes().get().is_null()
            && fiber.mask().get() == 0
            && fiber.interrupted().get() == 0;
        match (is_plain, context.can_unwind()) {
            (true, true) => Self::Cancelled,
            (false, true) => Self::inside(fiber),
            (_, false) => Self::Partner,
        }
    }

    /// For one that is inside of something.
    #[inline(never)]
    fn inside(fiber: &Header) -> Self {
        let mask = fiber.mask().get();
        if fiber.interrupted().get() != 0 && unwinding() > Some(UnwindReason::Panic) {
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
pub(crate) struct Noted<'frame> {
    fiber: &'frame Header,
    _waits: &'frame StoredWaits,
}

impl<'frame> Noted<'frame> {
    #[inline]
    pub(crate) fn new(fiber: &'frame Header, waits: &'frame StoredWaits) -> Self {
        fiber.waits().set(waits);
        Self {
            fiber,
            _waits: waits,
        }
    }
}

impl Drop for Noted<'_> {
    #[inline]
    fn drop(&mut self) {
        self.fiber.waits().set(ptr::null());
    }
}

/// Published nodes; retracted before the frame is left, also by unwinding (I-12).
struct Unpublish<'frame, O: Operation> {
    operation: Pin<&'frame mut O>,
    cell: &'frame WaitCell,
    retracted: bool,
}

impl<'frame, O: Operation> Unpublish<'frame, O> {
    #[inline]
    fn new(operation: Pin<&'frame mut O>, cell: &'frame WaitCell) -> Self {
        Self {
            operation,
            cell,
            retracted: false,
        }
    }

    #[inline]
    fn operation(&mut self) -> Pin<&mut O> {
        self.operation.as_mut()
    }

    #[inline]
    fn retract(&mut self, winner: Option<u16>) {
        if !self.retracted {
            self.retracted = true;
            self.operation.as_mut().retract(winner);
        }
    }

    /// Gives up; false if a partner was faster, or is about to be.
    #[cold]
    fn withdraw(&mut self) -> bool {
        if !self.cell.is_simple() {
            return self.cell.withdraw();
        }
        // Out of its one list, under the lock of that, it is met by nobody any more.
        self.retract(None);
        self.cell.state() == CellState::Waiting
    }

    #[inline]
    fn end(&mut self, waited: Waited) {
        self.retract(match waited {
            Waited::Settled(arm) => Some(arm),
            _ => None,
        });
    }
}

impl<O: Operation> Drop for Unpublish<'_, O> {
    #[inline]
    fn drop(&mut self) {
        if !self.retracted {
            self.unwind();
        }
    }
}

impl<O: Operation> Unpublish<'_, O> {
    /// The wait itself unwinds: what a partner has committed is taken and dropped, as a lock that
    /// was handed over is released again.
    #[cold]
    fn unwind(&mut self) {
        match wait(self, |_| Some(Waited::Interrupted(Interrupted::Cancelled))) {
            Waited::Settled(arm) => {
                self.retract(Some(arm));
                // SAFETY: settled on that arm and retracted; `self` ends (I-12).
                drop(unsafe { self.operation.as_mut().finish(arm) });
            }
            _ => self.retract(None),
        }
    }
}

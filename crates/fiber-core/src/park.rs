//! Suspension points: the one way to block (I-2), and the places where a fiber can be cancelled.
//!
//! A fiber keeps over a suspension what a function keeps over a call: its frames, and the registers
//! that the platform's calling convention has the callee save. It does not keep what belongs to its
//! thread, which other fibers use meanwhile: the control words of the floating-point unit, such as
//! the rounding mode (put them back before you suspend), and C's `errno` (read it before you
//! suspend; an error value that was made from it keeps).
//!
//! A destructor that runs because of a panic or a cancel may suspend, too. That its thread unwinds
//! is set aside until it goes on (`Unwind::set_aside`): meanwhile `std::thread::panicking()` is
//! `false` for the others, a lock of std's that they unlock is not poisoned, and a panic of theirs
//! poisons as ever. Where the host cannot do that (`Caps::aside`), they look as if they unwound.

use core::{cell::Cell, panic::Location, pin::pin, time::Duration};

use crate::{
    context::Context,
    env::{Instant, Site, hooks},
    fiber::{Fiber, Header, Interrupt, SHIELD},
    operation::{Noted, StoredWaits, Waits},
    timeout::TimeoutScope,
    timer::{Armed, TimerNode},
};

mod budget;
mod reason;

pub(crate) use self::budget::BUDGET;
pub use self::{
    budget::Budget,
    reason::{UnwindReason, unwinding},
};

const PREEMPT: Site = Site::new("sched.preempt");

/// Whether a fiber that waits is unwinding. The host knows of threads only: where it could not set
/// a suspended fiber's unwinding aside, all others of its worker look like that, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwinds {
    /// Nobody was, when it was switched out.
    Not,
    Perhaps,
}

impl Context {
    /// Why `fiber` must unwind here and now, if it must.
    ///
    /// Not while it is masked, not while it unwinds already, and never where the program cannot
    /// unwind.
    pub(crate) fn pending(&self, fiber: &Header) -> Option<Interrupt> {
        self.pending_after(fiber, Unwinds::Perhaps)
    }

    /// [`Context::pending`] in the loop of a wait, with what [`Context::park`] has said.
    #[inline]
    pub(crate) fn pending_after(&self, fiber: &Header, unwinds: Unwinds) -> Option<Interrupt> {
        if fiber.is_undisturbed() {
            return None;
        }
        self.pending_slow(fiber, unwinds)
    }

    #[cold]
    fn pending_slow(&self, fiber: &Header, unwinds: Unwinds) -> Option<Interrupt> {
        let interrupt = fiber.unmasked_interrupt()?;
        if interrupt == Interrupt::Abandon {
            // It needs no unwinding, so nothing is in its way.
            return Some(interrupt);
        }
        if !self.can_unwind() {
            return None;
        }
        if unwinds == Unwinds::Perhaps && self.is_unwinding() {
            // A second unwinding on one stack would abort. If another's unwinding could not be set
            // aside, it is perhaps not this fiber that unwinds: it is asked again later.
            if self.disturbing().get() != 0 && fiber.interrupted().get() == 0 {
                self.defer_interrupts();
            }
            return None;
        }
        Some(interrupt)
    }

    /// Unwinds `fiber`, which is the caller, if it was cancelled.
    #[inline]
    pub(crate) fn deliver_cancel(&self, fiber: &Header) {
        self.deliver_after(fiber, Unwinds::Perhaps);
    }

    /// [`Context::deliver_cancel`] in the loop of a wait, as [`Context::pending_after`].
    #[inline]
    fn deliver_after(&self, fiber: &Header, unwinds: Unwinds) {
        if !fiber.is_undisturbed() {
            self.deliver_slow(fiber, unwinds);
        }
    }

    #[cold]
    fn deliver_slow(&self, fiber: &Header, unwinds: Unwinds) {
        if let Some(interrupt) = self.pending_after(fiber, unwinds) {
            interrupt.throw(fiber, self.env());
        }
    }

    /// Switches the calling `fiber` out until it is woken; may return without reason. The caller
    /// has published what wakes it, and looks at its condition again (I-2).
    #[inline(always)]
    pub(crate) fn park(&self, fiber: &Header, waiting_for: &'static str) -> Unwinds {
        self.assert_may_suspend(waiting_for);
        fiber.wait_for(waiting_for);
        // Asked before: whoever is unwinding afterwards is perhaps somebody else.
        let unwinding = self.is_unwinding();
        if fiber.wake_word().announce_park() {
            // SAFETY: `fiber` is the running one, as every caller has it from `with_fiber` (I-11).
            unsafe { self.switch_out(fiber, unwinding) };
            fiber.wake_word().resumed();
        }
        match unwinding {
            true => Unwinds::Perhaps,
            false => Unwinds::Not,
        }
    }

    /// Puts the calling `fiber` behind everybody who is ready.
    #[inline(always)]
    pub(crate) fn yield_turn(&self, fiber: &Header) {
        self.assert_may_suspend("yield");
        fiber.wait_for("its turn");
        self.count_yield();
        if self.owed().is_some() {
            // Whoever that wakes is ready, and so comes before the caller.
            self.pay_debt();
        }
        self.requeue(fiber);
        // SAFETY: as in `park` (I-11); it is queued, and resumed only after it is out.
        unsafe { self.switch_out(fiber, self.is_unwinding()) };
    }

    /// Lets others run until `fiber` is resumed; `unwinding` is whether it is.
    ///
    /// # Safety
    /// The caller runs on this fiber's stack.
    #[inline(always)]
    unsafe fn switch_out(&self, fiber: &Header, unwinding: bool) {
        if unwinding {
            // SAFETY: the caller's promise (I-11).
            return unsafe { self.switch_out_unwinding(fiber) };
        }
        // SAFETY: the caller's promise (I-11).
        unsafe { fiber.switch_out() };
    }

    /// [`Context::switch_out`] in a destructor of a fiber that unwinds: the others do not.
    ///
    /// # Safety
    /// The caller runs on this fiber's stack.
    #[cold]
    unsafe fn switch_out_unwinding(&self, fiber: &Header) {
        self.env().set_aside(&mut || {
            let still = self.is_unwinding();
            let _disturbs = still.then(|| Raised::new(self.disturbing()));
            // SAFETY: the caller's promise (I-11).
            unsafe { fiber.switch_out() };
        });
    }

    /// Ends here if `fiber`, which is the caller, was abandoned while it was switched out: it runs
    /// nothing more of the user's. Called where nothing of it is published any more.
    #[inline]
    pub(crate) fn rest_if_abandoned(&self, fiber: &Header) {
        if fiber.is_abandoned() {
            fiber.come_to_rest();
        }
    }

    /// What every blocking call does first: pays for the call, lets others run when the budget is
    /// spent, and gives a simulator the chance to do so anywhere.
    #[inline]
    pub(crate) fn charge(&self, fiber: &Header) {
        let budget = self.budget();
        match budget.get() {
            0 => self.give_way(fiber),
            left => budget.set(left - 1),
        }
        if self.has_chooser() {
            self.choose_preemption(fiber);
        }
    }

    /// The budget of `fiber` is used up.
    #[cold]
    fn give_way(&self, fiber: &Header) {
        self.budget().set(BUDGET);
        if self.may_preempt() {
            // Not only who is ready here: timers, completions and other workers' wake-ups have
            // waited, too.
            self.set_overdue();
            self.yield_turn(fiber);
        }
    }

    /// Whether the fiber that runs may be switched out without having asked for it.
    fn may_preempt(&self) -> bool {
        self.no_suspend_depth().get() == 0 && !self.is_unwinding()
    }

    #[cold]
    fn choose_preemption(&self, fiber: &Header) {
        let ready = self.ready_len();
        if ready == 0 || !self.may_preempt() {
            return;
        }
        if self.choose(PREEMPT, ready + 1) != 0 {
            self.yield_turn(fiber);
        }
    }
}

/// Panics unless the caller may suspend here and now: for those who will have to, later, and could
/// not give up then.
///
/// # Panics
/// Outside of a fiber, and inside of [`no_suspend`]; `what` says who wanted to.
pub fn assert_may_suspend(what: &str) {
    Context::with_fiber(what, |context, _| context.assert_may_suspend(what));
}

/// Pays for a step of work: now and then lets others run. Blocking calls do it by themselves; call
/// it in long loops that never block. Not a cancellation point; outside of a fiber it does nothing.
#[inline]
pub fn charge() {
    Context::with_current(|context, fiber| {
        context.charge(fiber);
        context.rest_if_abandoned(fiber);
    });
}

/// [`charge`], and a cancellation point.
///
/// # Cancellation
/// A cancelled fiber unwinds here.
pub fn checkpoint() {
    Context::with_current(|context, fiber| {
        context.charge(fiber);
        context.deliver_cancel(fiber);
    });
}

/// Lets everybody of the caller's priority who is ready run once before the caller goes on; a
/// simulator may choose another order. On a plain thread it does what the host's scheduler does.
///
/// # Cancellation
/// A cancelled fiber unwinds here.
// Into the caller's frame: see `Header::switch_out`.
#[inline(always)]
pub fn yield_now() {
    // SAFETY: used within this call (I-11).
    let Some((context, fiber)) = (unsafe { Context::here() }) else {
        return relax();
    };
    context.deliver_cancel(fiber);
    context.yield_turn(fiber);
    context.rest_if_abandoned(fiber);
}

#[cold]
fn relax() {
    if let Some(hooks) = hooks() {
        (hooks.relax)();
    }
}

/// Blocks until somebody has called [`Fiber::unpark`], as `std::thread::park` does: one token, and
/// it may return without reason. On a plain thread it parks the thread.
///
/// # Suspends
/// Until the token is there.
///
/// # Cancellation
/// A cancelled fiber unwinds here.
#[track_caller]
pub fn park() {
    park_for(None);
}

/// [`park`] for `span` at the most.
#[track_caller]
pub fn park_timeout(span: Duration) {
    let deadline = Context::with_current(|context, _| context.now() + span);
    match deadline {
        Some(deadline) => park_for(Some(deadline)),
        None => thread_park(Some(span)),
    }
}

/// [`park`]. Plain threads have no deadline of the runtime's clock.
#[track_caller]
fn park_for(deadline: Option<Instant>) {
    let site = Location::caller();
    // SAFETY: used within this call (I-11).
    let Some((context, fiber)) = (unsafe { Context::here() }) else {
        return thread_park(None);
    };
    context.charge(fiber);
    let waits = Waits {
        resource: fiber.handles(),
        site,
        only_holders: false,
    };
    let is_limited =
        deadline.is_some() || TimeoutScope::is_limited(fiber.scopes().get(), fiber.mask().get());
    // SAFETY: the count stays as long as the fiber, and is forgotten with this frame (I-12).
    let waits = unsafe { StoredWaits::new(waits, is_limited) };
    let _noted = Noted::new(fiber, &waits);
    wait_until(context, fiber, deadline, "unpark", || fiber.take_token());
}

/// Blocks the calling fiber, or the calling thread, for at least `span`.
///
/// A fiber sleeps up to a 64th of `span` longer, and at most as much as its host's
/// [`Clock::slack`](crate::env::Clock::slack), a millisecond on Linux: so those that end near each
/// other are woken at once. The same holds for every limit of time.
///
/// # Cancellation
/// A cancelled fiber unwinds here.
pub fn sleep(span: Duration) {
    let deadline = Context::with_current(|context, _| context.now() + span);
    match deadline {
        Some(deadline) => sleep_to(deadline),
        None => {
            let now = thread_hooks().now;
            let deadline = now() + span;
            while now() < deadline {
                thread_park(Some(deadline.saturating_since(now())));
            }
        }
    }
}

/// Blocks the calling fiber until `done`, and says what for.
pub(crate) fn park_until(what: &'static str, mut done: impl FnMut(&Header) -> bool) {
    Context::with_fiber(what, |context, fiber| {
        context.charge(fiber);
        wait_until(context, fiber, None, what, || done(fiber));
    });
}

/// [`sleep`] until a moment of the runtime's clock has come.
///
/// # Panics
/// Outside of a fiber, where there is no runtime whose clock could be meant.
pub fn sleep_until(deadline: Instant) {
    Context::with_fiber("sleep_until", |context, _| context.look_at_clock());
    sleep_to(deadline);
}

/// [`sleep_until`] a moment that was computed just now.
fn sleep_to(deadline: Instant) {
    Context::with_fiber("sleep_until", |context, fiber| {
        context.charge(fiber);
        wait_until(context, fiber, Some(deadline), "sleep", || false);
    });
}

/// The loop of every simple wait: until `done`, the deadline, or a cancel, which unwinds.
#[inline(always)]
fn wait_until(
    context: &Context,
    fiber: &Header,
    deadline: Option<Instant>,
    waiting_for: &'static str,
    mut done: impl FnMut() -> bool,
) {
    let timer = pin!(TimerNode::new());
    let timer = timer.into_ref();
    let armed = deadline.map(|deadline| Armed::new(timer, context, fiber, deadline));
    let mut unwinds = Unwinds::Perhaps;
    loop {
        if fiber.is_abandoned() {
            drop(armed);
            fiber.come_to_rest();
        }
        context.deliver_after(fiber, unwinds);
        if done() || timer.has_fired() {
            return;
        }
        unwinds = context.park(fiber, waiting_for);
    }
}

pub(crate) fn thread_hooks() -> &'static crate::env::ThreadHooks {
    hooks().expect("a plain thread can block once a host was made, such as by `Linux::new`")
}

/// # Panics
/// On a worker outside of its fibers, as in a closure that is dropped there: nobody could wake it.
pub(crate) fn thread_park(span: Option<Duration>) {
    let on_worker = Context::with(|context| context.is_some());
    assert!(!on_worker, "a park would block the worker itself");
    (thread_hooks().park)(span);
}

/// The calling fiber; `None` on a plain thread.
pub fn current() -> Option<Fiber> {
    Context::with_current(|_, fiber| fiber.handle())
}

/// Runs `body` with the calling fiber masked: a cancel waits until the outermost mask is left.
/// Leaving a mask is not a cancellation point; the next park is. A `timeout` or a scope inside of
/// `body` ends what is inside of it as ever. Without effect on plain threads.
pub fn mask<T>(body: impl FnOnce() -> T) -> T {
    let mut body = Some(body);
    let masked = Context::with_current(|_, fiber| {
        let _masked = Masked::new(fiber);
        body.take().map(|body| body())
    });
    match masked.flatten() {
        Some(value) => value,
        None => body.take().expect("the body is called once")(),
    }
}

/// [`mask`] that a kill does not open either: for waits whose end others' memory depends on, as
/// that of a scope for its fibers. Nothing of the user's is to run in `body`.
pub fn shield<T>(body: impl FnOnce() -> T) -> T {
    let mut body = Some(body);
    let shielded = Context::with_current(|_, fiber| {
        let _shielded = Masked::shield(fiber);
        body.take().map(|body| body())
    });
    match shielded.flatten() {
        Some(value) => value,
        None => body.take().expect("the body is called once")(),
    }
}

/// A line that is noted; the one before is noted again when this is dropped.
struct Since<'context> {
    place: &'context Cell<Option<&'static Location<'static>>>,
    before: Option<&'static Location<'static>>,
}

impl<'context> Since<'context> {
    fn new(
        place: &'context Cell<Option<&'static Location<'static>>>,
        since: &'static Location<'static>,
    ) -> Self {
        Self {
            before: place.replace(Some(since)),
            place,
        }
    }
}

impl Drop for Since<'_> {
    fn drop(&mut self) {
        self.place.set(self.before);
    }
}

/// A mask that is open, or a region in which none is; what was before is back when this is dropped.
pub(crate) struct Masked<'fiber> {
    fiber: &'fiber Header,
    before: u32,
}

impl Header {
    /// The calling fiber, which this is, was abandoned: it is switched out for good. Its frames
    /// stay as they are, and with them what they borrow and what is lent to them (I-3).
    #[cold]
    pub(crate) fn come_to_rest(&self) -> ! {
        self.rest();
        self.wait_for("nothing: it was abandoned");
        loop {
            Context::with_fiber("rest", |context, _| {
                // Only here does a fiber leave its worker inside of a `no_suspend`; it does so for
                // ever, and the others may suspend.
                context.no_suspend_depth().set(0);
                // SAFETY: it runs on its own stack (I-11). If it unwinds, that stays set aside.
                unsafe { context.switch_out(self, context.is_unwinding()) };
            });
        }
    }
}

impl<'fiber> Masked<'fiber> {
    /// Protects from everything that is around: from a cancel, and from the end of each part of the
    /// fiber's work that is open.
    pub(crate) fn new(fiber: &'fiber Header) -> Self {
        let shield = fiber.mask().get() & SHIELD;
        Self::put(
            fiber,
            shield | (1 + TimeoutScope::count(fiber.scopes().get())),
        )
    }

    /// As [`Masked::new`], and from a kill.
    pub(crate) fn shield(fiber: &'fiber Header) -> Self {
        let masked = Self::new(fiber);
        fiber.mask().set(fiber.mask().get() | SHIELD);
        masked
    }

    /// Protects from nothing, whatever masks are open.
    pub(crate) fn open(fiber: &'fiber Header) -> Self {
        Self::put(fiber, 0)
    }

    fn put(fiber: &'fiber Header, mask: u32) -> Self {
        let before = fiber.mask().replace(mask);
        Self { fiber, before }
    }
}

impl Drop for Masked<'_> {
    fn drop(&mut self) {
        self.fiber.mask().set(self.before);
    }
}

/// A count that is higher by one until this is dropped.
pub(crate) struct Raised<'count>(&'count Cell<u32>);

impl<'count> Raised<'count> {
    pub(crate) fn new(count: &'count Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Whether the calling fiber was asked to unwind, masked or not. `false` on plain threads.
pub fn is_cancelled() -> bool {
    Context::with_current(|_, fiber| fiber.interrupt().is_some()).unwrap_or(false)
}

/// Runs `body`, in which nothing may suspend.
///
/// # Panics
/// When something in `body` would park, naming what, and the line that has called this.
#[track_caller]
pub fn no_suspend<T>(body: impl FnOnce() -> T) -> T {
    let mut body = Some(body);
    let since = Location::caller();
    let inside = Context::with_current(|context, _| {
        let _guard = Raised::new(context.no_suspend_depth());
        let _since = Since::new(context.no_suspend_since(), since);
        body.take().map(|body| body())
    });
    match inside.flatten() {
        Some(value) => value,
        None => body.take().expect("the body is called once")(),
    }
}

//! One worker as its fibers see it, and as its scheduler drives it.
//!
//! ```text
//!   scheduler's loop                            fibers of this worker
//!   ───────────────                             ─────────────────────
//!   take_ready ─▶ resume(fiber) ──────────────▶ …runs, stages requests, arms timers…
//!        ▲              ◀── park / yield / end ──┘
//!        └── turn(wait): staged out, completions in, their fibers ready
//! ```
//!
//! The thread slot points here while the worker runs; everything in it stays on that thread.

use alloc::{boxed::Box, rc::Rc, sync::Arc, vec::Vec};
use core::{
    any::Any,
    cell::{Cell, RefCell},
    fmt, mem,
    panic::Location,
    ptr::{self, NonNull},
    sync::atomic::{Ordering, compiler_fence},
};

use crate::{
    blocking::Helpers,
    dice::Dice,
    env::{Env, Instant, Port, SharedEnv, Site, StackClass, Staged, ThreadHooks, WorkerId, hooks},
    error::Stale,
    fiber::{
        Bands, FiberQueue, FreeBlocks, Header, Home, Inbox, Links, Position, Reason, Runnable,
    },
    id::{Id, Namespace},
    inflight::Inflight,
    local::Locals,
    operation::Debt,
    park::Budget,
    process::{Membership, Record, Refused, Whose},
    registry::{IdSpace, Shard},
    request::{Completion, RawDescriptor},
    timer::{self, TimerNode},
};

mod drive;
mod glance;
mod life;
mod probe;
mod ready;
mod refuse;
mod stacks;
mod started;

pub(crate) use self::probe::Probe;
use self::stacks::StackCache;
pub use self::{
    drive::Turned,
    glance::{Glance, NEIGHBOURS_MAX, Neighbour},
    life::Resumed,
    stacks::StackUse,
    started::FiberReport,
};

/// What a worker's scheduler does for its fibers. All of it happens on the worker's own thread.
pub trait Schedule {
    /// Puts a timer into the wheel.
    ///
    /// # Safety
    /// The node stays in place until it has expired or was disarmed (I-12).
    unsafe fn arm(&self, node: NonNull<TimerNode>);

    /// Takes a timer out of the wheel before it has expired.
    ///
    /// # Safety
    /// The node was armed here, and has neither expired nor been disarmed since (I-12).
    unsafe fn disarm(&self, node: &TimerNode);

    /// Takes a new fiber, of this worker's `context`, and runs it soon.
    fn launch(&self, context: &Context, fiber: Runnable, placement: Placement);

    /// Takes many new fibers, and spreads them over all workers.
    fn launch_many(&self, fibers: FiberQueue);

    /// Has every worker in `workers` (bits by index modulo 64), this one included, cancel its
    /// requests on a descriptor.
    fn cancel_on(&self, workers: u64, descriptor: RawDescriptor);

    /// A fiber of `process` has used an id that is refused.
    fn refused(&self, process: &Arc<Record>, stale: &Stale);

    /// Cancels a process, which may have been cancelled before.
    fn cancel_process(&self, process: &Arc<Record>, reason: Reason);

    /// The scheduler itself, for its own functions to find it again.
    fn as_any(&self) -> &dyn Any;
}

/// Where a new fiber may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// On the worker that spawns it, unless another one is free first.
    Anywhere,
    /// On the worker that spawns it: its closure may not leave the thread.
    Here,
    /// On the less loaded of two workers drawn at random, unless another one is free first.
    Spread,
    /// On this worker.
    On(WorkerId),
}

/// Everything that a [`Context`] is made of.
#[expect(missing_debug_implementations, reason = "parts of trait objects")]
#[expect(clippy::exhaustive_structs, reason = "the scheduler builds it")]
pub struct Parts {
    /// The world.
    pub env: SharedEnv,
    /// Which worker.
    pub worker: WorkerId,
    /// Its door to the host.
    pub port: Box<dyn Port>,
    /// Where other threads make its fibers ready.
    pub inbox: Arc<dyn Inbox>,
    /// Its scheduler.
    pub schedule: Rc<dyn Schedule>,
    /// The process to which fibers spawned outside of any other belong.
    pub process: Option<Id>,
    /// The stack of fibers that do not say otherwise.
    pub stack: StackClass,
    /// How many requests may be in flight at once.
    pub requests_max: u32,
    /// How many ids may be live at once.
    pub ids_max: usize,
}

/// One worker. Made, used and dropped on the worker's own thread.
pub struct Context {
    env: SharedEnv,
    /// That of `env`, for those who need it all the time.
    space: NonNull<IdSpace>,
    hooks: &'static ThreadHooks,
    has_chooser: bool,
    /// See [`Clock::slack`](crate::env::Clock::slack); in nanoseconds.
    slack: u64,
    /// What the clock has shown last.
    seen: Cell<Instant>,
    can_unwind: bool,
    dice: Dice,
    worker: WorkerId,
    inbox: Arc<dyn Inbox>,
    home: Rc<Home>,
    schedule: Rc<dyn Schedule>,
    process: Option<Id>,
    stack: StackClass,
    current: Cell<*const Header>,
    /// Who waits without a stack and is asked or published just now.
    acting: Cell<*const Header>,
    /// What the running fiber has its worker see to once it is switched out.
    owed: Cell<Option<NonNull<dyn Debt>>>,
    /// How many fibers were abandoned here with their process.
    at_rest: Cell<usize>,
    budget: Arc<Budget>,
    /// A fiber has used its budget up: the host is to get its turn.
    overdue: Cell<bool>,
    yields: Cell<u64>,
    no_suspend: Cell<u32>,
    /// Where the innermost region began in which nothing may suspend.
    no_suspend_since: Cell<Option<&'static Location<'static>>>,
    ready: RefCell<Bands>,
    /// New ones that are let past those in `ready`, see [`Context::position_of_new`].
    branches: RefCell<Bands>,
    /// Where the next fiber stands that is spawned.
    position: Cell<Position>,
    /// How many fibers have spawned others in their first run.
    branched: Cell<u32>,
    pub(crate) port: RefCell<Box<dyn Port>>,
    pub(crate) staged: RefCell<Staged>,
    pub(crate) inflight: RefCell<Inflight>,
    helpers: Helpers,
    completions: RefCell<Vec<Completion>>,
    pub(crate) shard: RefCell<Shard>,
    stacks: RefCell<StackCache>,
    free_blocks: FreeBlocks,
    locals: Locals,
    started: Cell<*const Links>,
    started_count: Cell<usize>,
    /// How many fibers are suspended in an unwinding that the host could not set aside: they keep
    /// the whole thread looking like that.
    disturbing: Cell<u32>,
    /// A fiber did not unwind, perhaps because of one of those.
    deferred: Cell<bool>,
    /// Whether there is something to see to when the running fiber has come back: `owed`, or what
    /// was deferred.
    later: Cell<bool>,
}

impl Context {
    /// A worker that runs nothing yet.
    ///
    /// # Safety
    /// It is not dropped while fibers have started on it and not ended, whose home it is: it is
    /// ended by [`Context::finish`] or [`Context::abandon`], or leaked (I-11).
    pub unsafe fn new(parts: Parts) -> Self {
        parts.env.id_space().join_workers(Arc::clone(&parts.inbox));
        let shard = Shard::new(parts.ids_max, parts.port.unparker())
            .in_runtime(parts.process, parts.worker.index());
        Self {
            hooks: parts.env.hooks(),
            has_chooser: parts.env.chooser().is_some(),
            slack: u64::try_from(parts.env.slack().as_nanos()).unwrap_or(u64::MAX),
            seen: Cell::new(parts.env.now()),
            can_unwind: parts.env.can_unwind(),
            space: NonNull::from_ref(parts.env.id_space()),
            dice: Dice::new(&*parts.env),
            env: parts.env,
            worker: parts.worker,
            home: Rc::new(Home::new(&parts.inbox)),
            inbox: parts.inbox,
            schedule: parts.schedule,
            process: parts.process,
            stack: parts.stack,
            current: Cell::new(ptr::null()),
            acting: Cell::new(ptr::null()),
            owed: Cell::new(None),
            at_rest: Cell::new(0),
            budget: Arc::new(Budget::new()),
            overdue: Cell::new(false),
            yields: Cell::new(0),
            no_suspend: Cell::new(0),
            no_suspend_since: Cell::new(None),
            ready: RefCell::default(),
            branches: RefCell::default(),
            position: Cell::new(Position::Last),
            branched: Cell::new(0),
            port: RefCell::new(parts.port),
            staged: RefCell::default(),
            inflight: RefCell::new(Inflight::new(parts.requests_max)),
            helpers: Helpers::new(),
            completions: RefCell::default(),
            shard: RefCell::new(shard),
            stacks: RefCell::default(),
            free_blocks: FreeBlocks::new(),
            locals: Locals::new(),
            started: Cell::new(ptr::null()),
            started_count: Cell::new(0),
            disturbing: Cell::new(0),
            deferred: Cell::new(false),
            later: Cell::new(false),
        }
    }

    /// Makes this the calling thread's worker while `body` runs; what it was before is restored.
    pub fn enter<R>(&self, body: impl FnOnce() -> R) -> R {
        let hooks = self.env.hooks();
        hooks.install();
        let hooks = crate::env::hooks().unwrap_or(hooks);
        let _restore = Restore {
            before: (hooks.slot)(),
            set: hooks.set_slot,
        };
        (hooks.set_slot)(ptr::from_ref(self).cast());
        body()
    }

    /// Gives the calling thread's worker, if it is one.
    // Always inlined, as `with_current`: `body` may switch, see `Header::switch_out`.
    #[inline(always)]
    pub fn with<R>(body: impl FnOnce(Option<&Self>) -> R) -> R {
        let slot = hooks().map_or(ptr::null(), |hooks| (hooks.slot)());
        // SAFETY: the slot is null or was set by `enter`, whose `&self` outlives everything that
        // runs on this thread until the slot is restored; fibers stay on it (I-11).
        body(unsafe { slot.cast::<Self>().as_ref() })
    }

    /// The running fiber and its worker; `None` on a plain thread, and on a worker outside of its
    /// fibers.
    ///
    /// Unlike [`Context::with_current`] it has no closure, which the compiler may leave as a frame
    /// of its own between the caller and a switch, see `Header::switch_out`.
    ///
    /// # Safety
    /// The caller uses them within its own call, which runs on this fiber or on no fiber.
    #[inline(always)]
    pub(crate) unsafe fn here<'a>() -> Option<(&'a Self, &'a Header)> {
        let slot = hooks().map_or(ptr::null(), |hooks| (hooks.slot)());
        // SAFETY: as in `with`; a fiber's call is over before its worker leaves `enter` (I-11).
        let context = unsafe { slot.cast::<Self>().as_ref() }?;
        // SAFETY: as in `with_current`; a fiber's block outlives its calls (I-11).
        let fiber = unsafe { context.current.get().as_ref() }?;
        Some((context, fiber))
    }

    /// Gives the running fiber and its worker; `None` on a plain thread, and on a worker outside
    /// of its fibers.
    #[inline(always)]
    pub(crate) fn with_current<R>(body: impl FnOnce(&Self, &Header) -> R) -> Option<R> {
        Self::with(|context| {
            let context = context?;
            // SAFETY: set around each resume; the running fiber's block is alive (I-11).
            let fiber = unsafe { context.current.get().as_ref() }?;
            Some(body(context, fiber))
        })
    }

    /// [`Context::with_current`] for what only a fiber can do.
    #[inline(always)]
    pub(crate) fn with_fiber<R>(what: &str, body: impl FnOnce(&Self, &Header) -> R) -> R {
        match Self::with_current(body) {
            Some(result) => result,
            None => needs_a_fiber(what),
        }
    }

    #[inline]
    pub(crate) fn free_blocks(&self) -> &FreeBlocks {
        &self.free_blocks
    }

    pub(crate) fn is_on_fiber(&self) -> bool {
        !self.current.get().is_null()
    }

    /// The world.
    pub fn env(&self) -> &dyn Env {
        &*self.env
    }

    /// The ids of the world.
    #[inline(always)]
    pub fn id_space(&self) -> &IdSpace {
        // SAFETY: borrowed from what `env` counts references to, which is one of them for as long
        // as this lives: it stays, and nobody can have it to change it (I-4).
        unsafe { self.space.as_ref() }
    }

    /// Whether the calling thread unwinds. As [`Unwind::is_unwinding`](crate::env::Unwind), for
    /// switches, which ask each time.
    #[inline(always)]
    pub(crate) fn is_unwinding(&self) -> bool {
        (self.hooks.is_unwinding)()
    }

    /// The world, to keep.
    pub fn shared_env(&self) -> SharedEnv {
        Arc::clone(&self.env)
    }

    /// Which worker this is.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The scheduler behind it.
    pub fn schedule(&self) -> &dyn Schedule {
        &*self.schedule
    }

    /// The world's clock, read now.
    pub fn now(&self) -> Instant {
        let now = self.env.now();
        self.seen.set(now);
        now
    }

    /// Reads the clock for one who is about to wait until a moment that was perhaps computed long
    /// ago, if that makes a difference, see [`Context::end_of_wait`].
    pub(crate) fn look_at_clock(&self) {
        if self.slack != 0 {
            self.now();
        }
    }

    /// When a wait ends that is to end at `deadline`, if the clock was read just now: together with
    /// others that end close to it, as far as the host's clock allows.
    #[inline]
    pub(crate) fn end_of_wait(&self, deadline: Instant) -> Instant {
        timer::round(deadline, self.seen.get(), self.slack)
    }

    /// The stack of fibers that do not say otherwise.
    pub fn default_stack(&self) -> StackClass {
        self.stack
    }

    /// The process that stands for the runtime as a whole.
    pub(crate) fn runtime(&self) -> Option<Id> {
        self.process
    }

    /// The process of the running fiber; `None` if that is the runtime's first one.
    pub fn process(&self) -> Option<Arc<Record>> {
        // SAFETY: as in `with_current` (I-11).
        let running = unsafe { self.current.get().as_ref() };
        running.and_then(Header::process).map(Arc::clone)
    }

    /// Admits one more fiber to the calling fiber's process; `None` if that is the runtime's first
    /// one.
    ///
    /// # Errors
    /// When the process does not admit it.
    pub fn admit(&self) -> Result<Option<Membership>, Refused> {
        // SAFETY: as in `with_current` (I-11).
        let running = unsafe { self.current.get().as_ref() };
        running
            .and_then(Header::process)
            .map(Record::admit)
            .transpose()
    }

    /// Whose what is opened now is to be: the running fiber's, or of the one that is about to wait
    /// without a stack.
    pub(crate) fn whose(&self) -> Whose {
        let acting = match self.current.get().is_null() {
            true => self.acting.get(),
            false => self.current.get(),
        };
        // SAFETY: as in `with_current`; who waits without a stack lives while it acts (I-11).
        unsafe { acting.as_ref() }.and_then(Header::whose)
    }

    /// Runs `body` on behalf of `fiber`, which has no stack.
    pub(crate) fn acting_for<R>(&self, fiber: &Header, body: impl FnOnce() -> R) -> R {
        let before = self.acting.replace(fiber);
        let result = body();
        self.acting.set(before);
        result
    }

    /// Decides something in a simulator; elsewhere it is always 0.
    #[inline]
    pub fn choose(&self, site: Site, n: usize) -> usize {
        if !self.has_chooser || n < 2 {
            return 0;
        }
        let limit = u32::try_from(n).unwrap_or(u32::MAX);
        self.env
            .chooser()
            .map_or(0, |chooser| chooser.choose(site, limit)) as usize
    }

    /// A number below `n`, which is not 0: a simulator's decision, elsewhere random.
    #[inline]
    pub fn roll(&self, site: Site, n: usize) -> usize {
        if self.has_chooser {
            self.choose(site, n)
        } else {
            self.dice.roll(n)
        }
    }

    pub(crate) fn has_chooser(&self) -> bool {
        self.has_chooser
    }

    /// Whether this program can unwind at all.
    pub(crate) fn can_unwind(&self) -> bool {
        self.can_unwind
    }

    pub(crate) fn locals(&self) -> &Locals {
        &self.locals
    }

    pub(crate) fn helpers(&self) -> &Helpers {
        &self.helpers
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The budget of whichever fiber runs here, for others to end it.
    pub fn shared_budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// The running fiber's block, or null: read as a signal handler has to.
    fn running(&self) -> *const Header {
        // SAFETY: a cell of this live context, on its own thread (I-11).
        unsafe { self.current.as_ptr().read_volatile() }
    }

    /// Says which fiber runs, so that a signal handler sees it before anything else happens.
    pub(crate) fn set_running(&self, fiber: *const Header) {
        compiler_fence(Ordering::SeqCst);
        self.current.set(fiber);
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn owed(&self) -> Option<NonNull<dyn Debt>> {
        self.owed.get()
    }

    pub(crate) fn set_owed(&self, owed: Option<NonNull<dyn Debt>>) {
        self.owed.set(owed);
        self.later.set(owed.is_some() || self.deferred.get());
    }

    pub(crate) fn set_overdue(&self) {
        self.overdue.set(true);
    }

    /// Whether a fiber gave way because its budget was used up, so that the host should get its
    /// turn before more fibers run. Asking clears it.
    #[inline]
    pub fn take_overdue(&self) -> bool {
        self.overdue.take()
    }

    pub(crate) fn count_yield(&self) {
        self.yields.set(self.yields.get() + 1);
    }

    /// How often a fiber has let others run.
    pub fn yields(&self) -> u64 {
        self.yields.get()
    }

    pub(crate) fn disturbing(&self) -> &Cell<u32> {
        &self.disturbing
    }

    pub(crate) fn no_suspend_depth(&self) -> &Cell<u32> {
        &self.no_suspend
    }

    pub(crate) fn no_suspend_since(&self) -> &Cell<Option<&'static Location<'static>>> {
        &self.no_suspend_since
    }

    /// Whether nothing forbids to suspend here and now.
    #[inline]
    pub(crate) fn may_suspend(&self) -> bool {
        self.no_suspend.get() == 0
    }

    #[inline]
    pub(crate) fn assert_may_suspend(&self, waiting_for: &str) {
        if self.no_suspend.get() != 0 {
            self.refuse_to_suspend(waiting_for);
        }
    }

    #[cold]
    fn refuse_to_suspend(&self, waiting_for: &str) -> ! {
        match self.no_suspend_since.get() {
            Some(since) => panic!("suspended inside of no_suspend, from {since}: {waiting_for}"),
            None => panic!("suspended where the runtime lets nothing suspend: {waiting_for}"),
        }
    }

    pub(crate) fn is_home(&self, home: NonNull<Home>) -> bool {
        self.home() == home
    }

    pub(crate) fn home(&self) -> NonNull<Home> {
        NonNull::from_ref(&*self.home)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("worker", &self.worker)
            .field("ready", &self.ready_len())
            .field("started", &self.started_count.get())
            .finish_non_exhaustive()
    }
}

#[cold]
fn needs_a_fiber(what: &str) -> ! {
    panic!("{what} needs a fiber: call it inside of `Runtime::run`")
}

/// Puts the thread slot back.
struct Restore {
    before: *const (),
    set: fn(*const ()),
}

impl Drop for Restore {
    fn drop(&mut self) {
        (self.set)(self.before);
    }
}

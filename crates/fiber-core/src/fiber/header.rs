//! The typeless part of a fiber's block.

use alloc::{boxed::Box, sync::Arc};
use core::{
    cell::{Cell, UnsafeCell},
    mem::{self, ManuallyDrop},
    panic::Location,
    ptr::{self, NonNull},
};

use corosensei::{Coroutine, Yielder};

use super::{
    attributes::Attributes,
    bands::Priority,
    block::VTable,
    exit::{ExitReason, Interrupt},
    handle::Fiber,
    handles::Handles,
    layout::Layout,
    rare::Rare,
    reason::Reason,
    runnable::Runnable,
    started::Started,
    wake::{Home, WakeWord},
    watch::{AtEnd, ExitWatcher},
};
use crate::{
    context::{Context, Probe},
    env::{StackClass, Unwind},
    id::Id,
    local::Inherited,
    operation::{Joiner, Latch, StoredWaits},
    primitive::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering},
    process::{Membership, Record, Stage, Whose, whose},
    spin,
    stack::Frames,
    timeout::TimeoutScope,
};

/// What a fiber is resumed with: nothing, and it goes on; or a probe, and it answers that.
pub(crate) type Resume = Option<NonNull<Probe>>;
pub(crate) type FiberCoroutine = Coroutine<Resume, (), (), Frames>;

/// How a fiber was asked to end. It only rises.
struct Level;

impl Level {
    const NONE: u8 = 0;
    /// Somebody is about to ask it for the first time, and says why.
    const ASKING: u8 = 1;
    const CANCELLED: u8 = 2;
    const KILLED: u8 = 3;
    const ABANDONED: u8 = 4;
}

/// The bit of a mask that keeps off a kill, too.
pub(crate) const SHIELD: u32 = 1 << 31;

/// Everything about a fiber but its closure and result.
///
/// | fields | touched by |
/// |---|---|
/// | `wake`, `token`, `cancel`, `started`, `refs`, `wakes` | anyone, atomics |
/// | `reason` | written once, by who has set `cancel` to `ASKING`; read once that is higher |
/// | `finished`, `panicked`, `claims`, `exit`, `joiner` | anyone, atomics |
/// | `next` | whoever has the fiber in a queue |
/// | `id` | written by whoever launches or starts it, once; read by anyone |
/// | `inherited` | whoever has the fiber: its spawner, then its home worker |
/// | `process` | whoever has the fiber: its spawner, then its home worker |
/// | `home` | written before the fiber can be parked; then read by anyone |
/// | `vtable`, `priority`, `stack_class`, `borrows`, `spawned_at`, `rare`, `outlives` | read only |
/// | the rest, and what lies with its stack, see [`Started`] | the home worker only |
#[repr(C)]
pub(crate) struct Header {
    // 64 bytes, and so one or two lines of the cache: what each wake and each turn looks at.
    pub(super) wake: WakeWord,
    mask: Cell<u32>,
    pub(super) home: Cell<Option<NonNull<Home>>>,
    pub(super) next: AtomicPtr<Self>,
    /// At the top of its stack, while it has one.
    started_part: Cell<Option<NonNull<Started>>>,
    process: Cell<Option<Membership>>,
    pub(super) vtable: &'static VTable,
    /// How it was asked to end, a `Level`.
    cancel: AtomicU8,
    pub(super) token: AtomicBool,
    started: AtomicBool,
    /// Whether it was abandoned and rests.
    rests: Cell<bool>,
    /// Whether it has ever held a lock, or tried to, so that others may wait for it.
    has_held: Cell<bool>,
    priority: Priority,
    stack_class: StackClass,
    borrows: bool,
    /// Who could end its wait: in the frame of that, or beside its edge if it has no stack.
    waits: Cell<*const StoredWaits>,

    // What its beginning and its end look at.
    pub(super) refs: Handles,
    /// 0 until it has one.
    id: AtomicU64,
    inherited: Inherited,
    /// Who waits for its end, as long as it has not waited for anybody itself.
    joiner: Joiner,
    pub(crate) exit: Latch,
    /// Why it was asked to end. Not in a box: a cancel allocates nothing.
    reason: UnsafeCell<Reason>,
    spawned_at: &'static Location<'static>,
    rare: Option<Box<Rare>>,
    /// How often wakers that were made of a handle were used, round and round.
    pub(super) wakes: AtomicU32,
    pub(super) finished: AtomicBool,
    pub(super) panicked: AtomicBool,
    /// Who owes the result its drop, see `join`.
    pub(super) claims: AtomicU8,
    outlives: bool,
}

impl Header {
    #[inline(always)]
    pub(super) fn new(attributes: Attributes, vtable: &'static VTable) -> Self {
        Self {
            wake: WakeWord::new(),
            mask: Cell::new(0),
            home: Cell::new(None),
            next: AtomicPtr::new(ptr::null_mut()),
            started_part: Cell::new(None),
            process: Cell::new(attributes.process),
            vtable,
            cancel: AtomicU8::new(Level::NONE),
            token: AtomicBool::new(false),
            started: AtomicBool::new(false),
            rests: Cell::new(false),
            has_held: Cell::new(false),
            priority: attributes.priority,
            stack_class: attributes.stack,
            borrows: attributes.borrows,
            waits: Cell::new(ptr::null()),
            refs: Handles::two(),
            id: AtomicU64::new(0),
            inherited: Inherited::from_caller(),
            joiner: Joiner::new(),
            exit: Latch::new(),
            reason: UnsafeCell::new(Reason::default()),
            spawned_at: attributes.spawned_at,
            rare: Rare::of(attributes.name, attributes.watcher),
            wakes: AtomicU32::new(0),
            finished: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            claims: AtomicU8::new(0),
            outlives: attributes.outlives,
        }
    }

    /// The whole block, closure and all, which a reference to the header does not reach.
    #[inline]
    fn this(&self) -> NonNull<Self> {
        // The address was exposed when the block was made.
        let this = ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr());
        NonNull::new(this).expect("a reference is not null")
    }

    fn watcher(&self) -> Option<&Arc<dyn ExitWatcher>> {
        self.rare.as_ref()?.watcher.as_ref()
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.rare.as_ref()?.name.as_deref()
    }

    /// Its name, or else that of its process. On its own worker.
    pub(crate) fn name_or_process(&self) -> Option<&str> {
        let process = || self.process().and_then(|process| process.name());
        self.name().or_else(process)
    }

    pub(crate) fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }

    pub(crate) fn stack_class(&self) -> StackClass {
        self.stack_class
    }

    pub(crate) fn id(&self) -> Option<Id> {
        // A number and nothing behind it: there is nothing to be ordered with.
        Id::from_bits(self.id.load(Ordering::Relaxed))
    }

    pub(crate) fn priority(&self) -> Priority {
        self.priority
    }

    /// Its process, if that has a record: on the home worker, or wherever the unstarted fiber is.
    pub(crate) fn process(&self) -> Option<&Arc<Record>> {
        // SAFETY: one party at a time reaches the cell, as the table above says, and it is taken
        // at the fiber's end only, by the same party (I-11).
        let process = unsafe { &*self.process.as_ptr() };
        process.as_ref().map(Membership::record)
    }

    /// The same for what the fiber opens.
    pub(crate) fn whose(&self) -> Whose {
        self.process().map(whose)
    }

    /// Names the fiber.
    pub(crate) fn set_id(&self, id: Id) {
        self.id.store(id.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn wake_word(&self) -> &WakeWord {
        &self.wake
    }

    /// Fixes the home worker, at the first run (I-11).
    pub(crate) fn set_home(&self, home: NonNull<Home>) {
        self.home.set(Some(home));
    }

    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether it can start now, rather than wait for something first, without a stack.
    #[inline]
    pub(crate) fn begin(&self, this: NonNull<Self>, context: &Context) -> bool {
        self.vtable.begin.is_none_or(|begin| begin(this, context))
    }

    /// Whether `context` is its home worker, if it has one yet. Asked while it waits.
    pub(crate) fn is_at(&self, context: &Context) -> bool {
        self.home.get().is_some_and(|home| context.is_home(home))
    }

    /// For the one who was told to by the wake word.
    pub(crate) fn queue_at_home(&self) {
        let home = self.home.get().expect("a parked fiber has been started");
        // SAFETY: the fiber is suspended and nobody else may queue it, so its runtime, which
        // waits for all of its fibers, is alive (I-11).
        let inbox = unsafe { home.as_ref() }.inbox;
        // SAFETY: as above, and the inbox keeps itself alive from here (I-11).
        let inbox = unsafe { inbox.as_ref() };
        let mut fiber = Some(self.runnable());
        Context::with(|context| {
            if let Some(context) = context.filter(|context| context.is_home(home))
                && let Some(fiber) = fiber.take()
            {
                context.ready(fiber);
            }
        });
        if let Some(fiber) = fiber {
            inbox.push(fiber);
        }
    }

    /// The right to run it, which a suspended fiber leaves behind: taken by whoever queues the
    /// fiber, and by nobody else.
    pub(crate) fn runnable(&self) -> Runnable {
        Runnable::from_raw(self.this())
    }

    /// A new handle.
    pub(crate) fn handle(&self) -> Fiber {
        let borrowed = ManuallyDrop::new(Fiber::from_raw(self.this()));
        Fiber::clone(&borrowed)
    }

    /// Runs the body, on the fiber's stack.
    pub(crate) fn run(&self, this: NonNull<Self>, unwind: &dyn Unwind) {
        (self.vtable.run)(this, unwind);
    }

    /// Ends it unstarted, as [`Fiber::fail`].
    pub(crate) fn fail(&self, this: NonNull<Self>, reason: ExitReason) {
        (self.vtable.fail)(this, reason);
    }

    /// Drops the result that nobody waits for.
    pub(crate) fn discard(&self, this: NonNull<Self>) {
        (self.vtable.discard)(this);
    }

    pub(crate) fn cancel(&self, reason: Reason) {
        self.raise(Level::CANCELLED, reason.by_caller());
    }

    /// As [`Header::cancel`], and masks do not help.
    pub(crate) fn kill(&self, reason: Reason) {
        self.raise(Level::KILLED, reason.by_caller());
    }

    /// Has it end as its process, which is at this stage.
    pub(crate) fn heed(&self, stage: Stage, reason: Reason) {
        match stage {
            Stage::Running => {}
            Stage::Cancelled => self.raise(Level::CANCELLED, reason),
            Stage::Killed => self.raise(Level::KILLED, reason),
            Stage::Abandoned | Stage::Ended => self.raise(Level::ABANDONED, reason),
        }
    }

    fn raise(&self, level: u8, reason: Reason) {
        let mut spins = 0;
        loop {
            let asking = self.cancel.compare_exchange(
                Level::NONE,
                Level::ASKING,
                Ordering::Acquire,
                Ordering::Acquire,
            );
            match asking {
                Ok(_) => {
                    // SAFETY: nobody else writes it, and nobody reads it before the store (I-9).
                    unsafe { *self.reason.get() = reason };
                    self.cancel.store(level, Ordering::Release);
                    break;
                }
                Err(Level::ASKING) => spin::relax(&mut spins),
                Err(_) => {
                    self.cancel.fetch_max(level, Ordering::AcqRel);
                    break;
                }
            }
        }
        self.wake();
    }

    /// Whether it was killed: then it poisons what it holds.
    pub(crate) fn is_killed(&self) -> bool {
        self.cancel.load(Ordering::Acquire) >= Level::KILLED
    }

    /// Whether it must not run a frame of the user's any more. On its own worker.
    #[inline]
    pub(crate) fn is_abandoned(&self) -> bool {
        // A process is abandoned at once, and only after all of its fibers were cancelled.
        self.is_cancelled() && self.process_is_abandoned()
    }

    #[cold]
    fn process_is_abandoned(&self) -> bool {
        self.process()
            .is_some_and(|process| process.stage() >= Stage::Abandoned)
    }

    /// It was abandoned and has come to rest: nothing of it runs any more.
    pub(crate) fn rest(&self) {
        self.rests.set(true);
    }

    pub(crate) fn rests(&self) -> bool {
        self.rests.get()
    }

    /// Tells whoever watches what came of it.
    #[inline(never)]
    pub(super) fn tell_result(&self, at_end: AtEnd, wrong: Option<&ExitReason>) {
        if let Some(watcher) = self.watcher() {
            Arc::clone(watcher).result(at_end, wrong);
        }
    }

    pub(crate) fn borrows(&self) -> bool {
        self.borrows
    }

    pub(crate) fn outlives(&self) -> bool {
        self.outlives
    }

    /// Why it was cancelled, if it was.
    pub(crate) fn cancel_reason(&self) -> Option<Reason> {
        // SAFETY: who sees it cancelled sees the reason, which nobody writes any more (I-9).
        self.is_cancelled()
            .then(|| unsafe { &*self.reason.get() }.clone())
    }

    /// From what the innermost mask protects the fiber. 0: from nothing, there is none. n + 1: from
    /// a cancel, and from the end of the n outermost parts of its work that are open. With
    /// `SHIELD`: from a kill, too.
    pub(crate) fn mask(&self) -> &Cell<u32> {
        &self.mask
    }

    /// The parts of its work that may end by themselves. Of one that has started.
    #[inline]
    pub(crate) fn scopes(&self) -> &Cell<*const TimeoutScope> {
        &self.started_part().scopes
    }

    /// Of one that runs.
    #[inline]
    pub(crate) fn interrupted(&self) -> &Cell<usize> {
        &self.started_part().interrupted
    }

    /// Whether another fiber may ever wait for this one: for a lock of its, or for its end.
    pub(crate) fn may_be_waited_for(&self) -> bool {
        self.has_held.get() || !self.is_detached()
    }

    /// Those who can wake it, whatever it waits for.
    pub(crate) fn handles(&self) -> &Handles {
        &self.refs
    }

    /// What it is parked for, if it is known who could end that; or null. Of one without a stack
    /// only what the graph is to know.
    pub(crate) fn waits(&self) -> &Cell<*const StoredWaits> {
        &self.waits
    }

    pub(crate) fn joiner(&self) -> &Joiner {
        &self.joiner
    }

    /// Whether it has ended, in whatever way: it waits for nothing any more.
    pub(crate) fn has_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    pub(crate) fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// Whether ending it unstarted runs nothing of the user's.
    pub(crate) fn drops_nothing(&self) -> bool {
        !self.vtable.drops_closure && self.inherited.is_empty()
    }

    pub(crate) fn has_held(&self) -> &Cell<bool> {
        &self.has_held
    }

    /// Says what it waits for from now on: the calling fiber.
    #[inline]
    pub(crate) fn wait_for(&self, what: &'static str) {
        self.started_part().waiting_for.set(what);
    }

    /// What it waits for. On its own worker, or for whoever has the unstarted fiber.
    pub(crate) fn waiting_for(&self) -> &'static str {
        match self.try_started_part() {
            Some(started) => started.waiting_for.get(),
            None => (self.vtable.waiting_for)(self.this()),
        }
    }

    /// Who could end what it waits for, if that is known and it has no stack. On its own worker.
    pub(crate) fn unstarted_waits(&self) -> Option<StoredWaits> {
        match self.try_started_part() {
            Some(_) => None,
            None => (self.vtable.waits)(self.this()),
        }
    }

    /// What goes with its stack, while it has one. On its own worker.
    #[inline]
    pub(crate) fn try_started_part(&self) -> Option<&Started> {
        // SAFETY: at the top of its stack, which it keeps until that was taken away, by the caller
        // alone, and for ever if it was abandoned (I-3).
        self.started_part.get().map(|part| unsafe { part.as_ref() })
    }

    /// [`Header::try_started_part`] of one that has started and not ended.
    #[inline]
    pub(crate) fn started_part(&self) -> &Started {
        let part = self.try_started_part();
        part.expect("a started fiber has its stack")
    }

    /// From here on it has a stack, with this at its top; or none any more.
    pub(crate) fn set_started_part(&self, part: Option<NonNull<Started>>) {
        self.started_part.set(part);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Acquire) >= Level::CANCELLED
    }

    pub(crate) fn wakes(&self) -> u32 {
        self.wakes.load(Ordering::Acquire)
    }

    pub(crate) fn take_token(&self) -> bool {
        self.token.swap(false, Ordering::AcqRel)
    }

    /// Whether nothing asks it to unwind: neither it nor a part of its work was told to end, and
    /// there is no part that could run out of time.
    #[inline]
    pub(crate) fn is_undisturbed(&self) -> bool {
        self.cancel.load(Ordering::Acquire) == Level::NONE && self.scopes().get().is_null()
    }

    /// Why the fiber should unwind at its next point, masks aside.
    pub(crate) fn interrupt(&self) -> Option<Interrupt> {
        self.interrupt_below(0)
    }

    /// Why the fiber should unwind at its next point: a mask keeps off what is around it.
    pub(crate) fn unmasked_interrupt(&self) -> Option<Interrupt> {
        self.interrupt_below(self.mask.get())
    }

    fn interrupt_below(&self, mask: u32) -> Option<Interrupt> {
        let level = self.cancel.load(Ordering::Acquire);
        if level >= Level::CANCELLED {
            if self.process_is_abandoned() {
                return Some(Interrupt::Abandon);
            }
            if mask == 0 || level >= Level::KILLED && mask & SHIELD == 0 {
                return Some(Interrupt::Cancel);
            }
        }
        let mask = mask & !SHIELD;
        let scopes = self.try_started_part()?.scopes.get();
        TimeoutScope::outermost_expired(scopes, mask).map(Interrupt::Expired)
    }

    pub(crate) fn set_yielder(&self, yielder: &Yielder<Resume, ()>) {
        self.started_part().yielder.set(yielder);
    }

    /// The lowest address of its stack.
    pub(crate) fn stack_limit(&self) -> usize {
        self.started_part().stack_limit()
    }

    /// Switches back to the worker.
    ///
    /// Inlined, as everything between the switches and the loops on both of their sides: a
    /// processor predicts where a return goes by the calls that came before it, and those of the
    /// other stack mislead it. Each frame that is left between two switches, on either side, costs
    /// as much as a switch itself.
    ///
    /// # Safety
    /// The caller runs on this fiber's stack.
    #[inline(always)]
    pub(crate) unsafe fn switch_out(&self) {
        // SAFETY: set when the body started, on the stack that the caller runs on, where it lies
        // until the body returns (I-3).
        let yielder = unsafe { &*self.started_part().yielder.get() };
        while let Some(probe) = yielder.suspend(()) {
            // SAFETY: `Context::probe` has resumed this very fiber with it, and waits (I-3).
            unsafe { Probe::take(probe) };
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// It has ended: those who wait are told, and its process has a fiber less.
    pub(crate) fn finish(&self) {
        // Who is told may spawn in its place at once; but the process is not empty before all that
        // wait for its fibers were told.
        let _leaving = self.process.take().map(Membership::leave);
        if self.rests() && self.borrows() {
            // Whoever waits for it lends it what its frames still name (I-3).
            return;
        }
        self.finished.store(true, Ordering::Release);
        self.exit.open();
        if let Some(watcher) = self.watcher() {
            watcher.ended();
        }
    }
}

impl Layout {
    pub(crate) const THIS: Self = Self {
        version: 2,
        id: mem::offset_of!(Header, id),
        wake: mem::offset_of!(Header, wake),
        rare: mem::offset_of!(Header, rare),
        started: mem::offset_of!(Header, started_part),
        name: Self::NAME,
        waiting_for: Self::WAITING_FOR,
        stack_limit: Self::STACK_LIMIT,
        coroutine: Self::COROUTINE,
        coroutine_bytes: size_of::<FiberCoroutine>(),
    };
}

#[cfg(not(loom))]
const _: () = assert!(
    size_of::<Header>() <= 184,
    "most fibers are nothing but this"
);

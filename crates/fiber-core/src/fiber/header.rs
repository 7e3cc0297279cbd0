//! The typeless part of a fiber's block, and the handle to it.

use alloc::{boxed::Box, sync::Arc};
use core::{
    cell::{Cell, UnsafeCell},
    fmt,
    mem::{self, ManuallyDrop},
    panic::Location,
    ptr::{self, NonNull},
};

use corosensei::{Coroutine, Yielder};

use super::{
    bands::Priority,
    block::VTable,
    exit::{ExitReason, Interrupt},
    layout::Layout,
    reason::Reason,
    runnable::Runnable,
    wake::{Inbox, WakeWord},
    watch::ExitWatcher,
};
use crate::{
    context::{Context, Probe},
    env::{StackClass, Unwind},
    id::Id,
    local::{Inherited, Own},
    operation::{Latch, LatchOperation, StoredWaits},
    primitive::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    spin::SpinLock,
    stack::OwnedStack,
    timeout::TimeoutScope,
};

/// What a fiber is resumed with: nothing, and it goes on; or a probe, and it answers that.
pub(crate) type Resume = Option<NonNull<Probe>>;
pub(crate) type FiberCoroutine = Coroutine<Resume, (), (), OwnedStack>;

/// What is fixed about a fiber before it starts.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attributes {
    /// A name for reports.
    pub name: Option<Box<str>>,
    /// How large a stack it gets at its first run.
    pub stack: StackClass,
    /// How urgent it is.
    pub priority: Priority,
    /// Whose it is; of the process that launches it if this says nothing.
    pub process: Option<Id>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// Who is told when it has ended, besides those who wait for it.
    pub watcher: Option<Arc<dyn ExitWatcher>>,
}

impl Attributes {
    /// No name, the default stack, the normal priority.
    pub const fn new(spawned_at: &'static Location<'static>) -> Self {
        Self {
            name: None,
            stack: StackClass::K256,
            priority: Priority::Normal,
            process: None,
            spawned_at,
            watcher: None,
        }
    }
}

/// Everything about a fiber but its closure and result.
///
/// | fields | touched by |
/// |---|---|
/// | `refs`, `wake`, `token`, `wakes`, `cancel`, `started` | anyone, atomics |
/// | `reason` | anyone, under its lock; written before `cancel` is set, once |
/// | `finished`, `panicked`, `claims`, `exit` | anyone, atomics |
/// | `next` | whoever has the fiber in a queue |
/// | `id` | written by whoever launches or starts it, once; read by anyone |
/// | `inherited` | whoever has the fiber: its spawner, then its home worker |
/// | `home` | written before the fiber can be parked; then read by anyone |
/// | the rest | the home worker only |
pub(crate) struct Header {
    refs: AtomicUsize,
    wake: WakeWord,
    token: AtomicBool,
    /// How often wakers that were made of a handle were used, round and round.
    wakes: AtomicU32,
    cancel: AtomicBool,
    reason: SpinLock<Reason>,
    started: AtomicBool,
    finished: AtomicBool,
    panicked: AtomicBool,
    /// Who owes the result its drop, see `join`.
    pub(super) claims: AtomicU8,
    pub(super) next: AtomicPtr<Self>,
    /// The whole block, closure and all, which a reference to the header does not reach.
    this: Cell<Option<NonNull<Self>>>,
    home: Cell<Option<NonNull<dyn Inbox>>>,
    /// 0 until it has one.
    id: AtomicU64,
    process: Cell<Option<Id>>,
    mask: Cell<u32>,
    waiting_for: Cell<&'static str>,
    scopes: Cell<*const TimeoutScope>,
    /// The address of what unwinds it, if that is a cancel or a timeout rather than a panic; or 0.
    interrupted: Cell<usize>,
    /// Whether it has ever held a lock, so that others may wait for it.
    has_held: Cell<bool>,
    waits: Cell<Option<StoredWaits>>,
    yielder: Cell<*const Yielder<Resume, ()>>,
    stack_limit: Cell<usize>,
    coroutine: UnsafeCell<Option<FiberCoroutine>>,
    own: Own,
    inherited: Inherited,
    /// Links of the home worker's list of started fibers.
    pub(crate) all_prev: Cell<*const Self>,
    pub(crate) all_next: Cell<*const Self>,
    pub(super) vtable: &'static VTable,
    pub(crate) exit: Latch,
    attributes: Attributes,
}

impl Header {
    pub(super) fn new(attributes: Attributes, vtable: &'static VTable) -> Self {
        Self {
            refs: AtomicUsize::new(1),
            wake: WakeWord::new(),
            token: AtomicBool::new(false),
            wakes: AtomicU32::new(0),
            cancel: AtomicBool::new(false),
            reason: SpinLock::new(Reason::default()),
            started: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            claims: AtomicU8::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            this: Cell::new(None),
            home: Cell::new(None),
            id: AtomicU64::new(0),
            process: Cell::new(attributes.process),
            mask: Cell::new(0),
            waiting_for: Cell::new("its first run"),
            scopes: Cell::new(ptr::null()),
            interrupted: Cell::new(0),
            has_held: Cell::new(false),
            waits: Cell::new(None),
            yielder: Cell::new(ptr::null()),
            stack_limit: Cell::new(0),
            coroutine: UnsafeCell::new(None),
            own: Own::new(),
            inherited: Inherited::from_caller(),
            all_prev: Cell::new(ptr::null()),
            all_next: Cell::new(ptr::null()),
            vtable,
            exit: Latch::new(),
            attributes,
        }
    }

    pub(super) fn set_this(&self, this: NonNull<Self>) {
        self.this.set(Some(this));
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.attributes.name.as_deref()
    }

    pub(crate) fn spawned_at(&self) -> &'static Location<'static> {
        self.attributes.spawned_at
    }

    pub(crate) fn stack_class(&self) -> StackClass {
        self.attributes.stack
    }

    pub(crate) fn id(&self) -> Option<Id> {
        // A number and nothing behind it: there is nothing to be ordered with.
        Id::from_bits(self.id.load(Ordering::Relaxed))
    }

    pub(crate) fn priority(&self) -> Priority {
        self.attributes.priority
    }

    pub(crate) fn process(&self) -> Option<Id> {
        self.process.get()
    }

    /// Names the fiber.
    pub(crate) fn set_id(&self, id: Id) {
        self.id.store(id.to_bits(), Ordering::Relaxed);
    }

    /// Says whose it is; before it is launched, while one thread has it.
    pub(crate) fn set_process(&self, process: Option<Id>) {
        self.process.set(process);
    }

    pub(crate) fn wake_word(&self) -> &WakeWord {
        &self.wake
    }

    /// Fixes the home worker, at the first run (I-11).
    pub(crate) fn set_home(&self, home: NonNull<dyn Inbox>) {
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

    pub(super) fn queue_at_home(&self) {
        let home = self.home.get().expect("a parked fiber has been started");
        // SAFETY: the fiber is suspended and nobody else may queue it, so its runtime, which
        // waits for all of its fibers, is alive, and the inbox keeps itself alive from here (I-11).
        let inbox = unsafe { home.as_ref() };
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
        Runnable::from_raw(self.this.get().expect("set when the block was made"))
    }

    /// A new handle.
    pub(crate) fn handle(&self) -> Fiber {
        let this = self.this.get().expect("set when the block was made");
        let borrowed = ManuallyDrop::new(Fiber::from_raw(this));
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
        let reason = reason.by_caller();
        let mut first = self.reason.lock();
        if !self.is_cancelled() {
            *first = reason;
            self.cancel.store(true, Ordering::Release);
        }
        drop(first);
        self.wake();
    }

    /// Why it was cancelled, if it was.
    pub(crate) fn cancel_reason(&self) -> Option<Reason> {
        self.is_cancelled().then(|| self.reason.lock().clone())
    }

    /// From what the innermost mask protects the fiber. 0: from nothing, there is none. n + 1: from
    /// a cancel, and from the end of the n outermost parts of its work that are open.
    pub(crate) fn mask(&self) -> &Cell<u32> {
        &self.mask
    }

    pub(crate) fn scopes(&self) -> &Cell<*const TimeoutScope> {
        &self.scopes
    }

    pub(crate) fn interrupted(&self) -> &Cell<usize> {
        &self.interrupted
    }

    /// Whether another fiber may ever wait for this one: for a lock of its, or for its end.
    pub(crate) fn may_be_waited_for(&self) -> bool {
        self.has_held.get() || !self.is_detached()
    }

    /// What it is parked for, if certain fibers have that.
    pub(crate) fn waits(&self) -> &Cell<Option<StoredWaits>> {
        &self.waits
    }

    pub(crate) fn own(&self) -> &Own {
        &self.own
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

    pub(crate) fn waiting_for(&self) -> &Cell<&'static str> {
        &self.waiting_for
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Acquire)
    }

    pub(crate) fn wakes(&self) -> u32 {
        self.wakes.load(Ordering::Acquire)
    }

    pub(crate) fn take_token(&self) -> bool {
        self.token.swap(false, Ordering::AcqRel)
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
        if mask == 0 && self.is_cancelled() {
            return Some(Interrupt::Cancel);
        }
        TimeoutScope::outermost_expired(self.scopes.get(), mask).map(Interrupt::Expired)
    }

    pub(crate) fn set_yielder(&self, yielder: &Yielder<Resume, ()>) {
        self.yielder.set(yielder);
    }

    pub(crate) fn set_stack_limit(&self, limit: usize) {
        self.stack_limit.set(limit);
    }

    /// The lowest address of its stack.
    pub(crate) fn stack_limit(&self) -> usize {
        self.stack_limit.get()
    }

    /// Switches back to the worker.
    ///
    /// # Safety
    /// The caller runs on this fiber's stack.
    pub(crate) unsafe fn switch_out(&self) {
        // SAFETY: set when the body started, on the stack that the caller runs on, where it lies
        // until the body returns (I-3).
        let yielder = unsafe { &*self.yielder.get() };
        while let Some(probe) = yielder.suspend(()) {
            // SAFETY: `Context::probe` has resumed this very fiber with it, and waits (I-3).
            unsafe { Probe::take(probe) };
        }
    }

    /// The coroutine's place.
    ///
    /// # Safety
    /// Only on the home worker, outside of the fiber, with no other reference into the place.
    #[expect(
        clippy::mut_from_ref,
        reason = "the home worker alone reaches it, as promised"
    )]
    pub(crate) unsafe fn coroutine(&self) -> &mut Option<FiberCoroutine> {
        // SAFETY: exclusive by the caller's promise (I-11).
        unsafe { &mut *self.coroutine.get() }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn note_panic(&self) {
        self.panicked.store(true, Ordering::Release);
    }

    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.exit.open();
        if let Some(watcher) = &self.attributes.watcher {
            watcher.ended();
        }
    }
}

impl Layout {
    pub(crate) const THIS: Self = Self {
        version: 1,
        id: mem::offset_of!(Header, id),
        name: mem::offset_of!(Header, attributes) + mem::offset_of!(Attributes, name),
        waiting_for: mem::offset_of!(Header, waiting_for),
        wake: mem::offset_of!(Header, wake),
        stack_limit: mem::offset_of!(Header, stack_limit),
        coroutine: mem::offset_of!(Header, coroutine),
        coroutine_bytes: size_of::<Option<FiberCoroutine>>(),
    };
}

/// A handle to a fiber: it can be woken and cancelled through it, from any thread. Cloning costs a
/// reference count.
pub struct Fiber(NonNull<Header>);

// SAFETY: through a handle only the atomics and what is fixed before launch are reached; the cells
// of the home worker are behind crate-private calls made there (I-11).
unsafe impl Send for Fiber {}
// SAFETY: as above (I-11).
unsafe impl Sync for Fiber {}

impl Fiber {
    /// Takes over the reference that `header` was counted for.
    pub(crate) const fn from_raw(header: NonNull<Header>) -> Self {
        Self(header)
    }

    /// Gives the reference away as a pointer.
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    pub(crate) const fn as_raw(&self) -> NonNull<Header> {
        self.0
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the handle holds a reference count on the block (I-3).
        unsafe { self.0.as_ref() }
    }

    /// The fiber's id, once it was launched.
    pub fn id(&self) -> Option<Id> {
        self.header().id()
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<&str> {
        self.header().name()
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.header().spawned_at()
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.header().priority()
    }

    /// Whether it has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.header().finished.load(Ordering::Acquire)
    }

    /// Whether it has ended by a panic that no handle was told of.
    pub fn has_unseen_panic(&self) -> bool {
        self.header().panicked.load(Ordering::Acquire) && !self.header().is_joined()
    }

    /// Whether its handle was dropped, so that nobody will ever be told how it has ended.
    pub fn is_detached(&self) -> bool {
        self.header().is_detached()
    }

    /// The operation that waits until it has ended, in whatever way.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn exit_operation(&self) -> LatchOperation<'_> {
        self.header().exit.wait_operation("join")
    }

    /// Whether it has run at all.
    pub fn is_started(&self) -> bool {
        self.header().is_started()
    }

    /// Whether it waits for an operation before it starts, see [`Spawn::fiber_when`], or has
    /// started: then it lives on one worker. Asked by whoever has the right to run it.
    ///
    /// [`Spawn::fiber_when`]: super::Spawn::fiber_when
    pub(crate) fn has_home(&self) -> bool {
        self.header().home.get().is_some()
    }

    /// Makes the fiber's next [`park`](crate::park::park) return, or the current one; as
    /// [`std::thread::Thread::unpark`], with one token. Legal at any time, from any thread.
    ///
    /// [`std::thread::Thread::unpark`]: https://doc.rust-lang.org/std/thread/struct.Thread.html
    pub fn unpark(&self) {
        self.header().token.store(true, Ordering::Release);
        self.header().wake();
    }

    /// [`Fiber::unpark`] by a waker: whoever waits for a future tells it from other tokens, which
    /// others may take.
    pub(crate) fn unpark_counted(&self) {
        self.header().wakes.fetch_add(1, Ordering::Release);
        self.unpark();
    }

    /// Asks the fiber to unwind: at its next unmasked park or checkpoint, and at every one after
    /// that, so that a loop around `catch_unwind` cannot swallow it. Never waits, never allocates,
    /// and is no suspension point, also on oneself. Twice is as good as once; after the end, by
    /// whatever it came, it changes nothing; and it makes no difference whether anybody waits.
    ///
    /// One that has not started never runs: its closure is dropped. One that is masked goes on
    /// until it leaves its masks. One that computes without end, or waits in a call of the system,
    /// is not reached.
    pub fn cancel(&self) {
        self.header().cancel(Reason::default());
    }

    /// [`Fiber::cancel`], and says why; heard if nobody has cancelled it before. Text that is no
    /// literal is allocated.
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.header().cancel(reason.into());
    }

    /// Why it was cancelled; `None` if it was not.
    pub fn cancel_reason(&self) -> Option<Reason> {
        self.header().cancel_reason()
    }

    /// Ends a fiber that was not started: drops its closure, which is the user's code.
    pub(crate) fn fail(&self, reason: ExitReason) {
        (self.header().vtable.fail)(self.0, reason);
    }
}

impl Clone for Fiber {
    fn clone(&self) -> Self {
        let before = self.header().refs.fetch_add(1, Ordering::Relaxed);
        assert!(
            before < usize::MAX / 2,
            "a fiber's handles are leaked without end"
        );
        Self(self.0)
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        if self.header().refs.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // The last reference: everything that others did through theirs happened before.
        self.header().refs.load(Ordering::Acquire);
        (self.header().vtable.free)(self.0);
    }
}

impl PartialEq for Fiber {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Fiber {}

impl fmt::Debug for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.id()) {
            (Some(name), Some(id)) => write!(f, "'{name}' ({id})"),
            (Some(name), None) => write!(f, "'{name}'"),
            (None, Some(id)) => write!(f, "{id}"),
            (None, None) => f.write_str("a fiber"),
        }
    }
}

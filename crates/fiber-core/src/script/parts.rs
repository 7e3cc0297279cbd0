//! What std lends to the script: threads and their slot, memory for stacks, unwinding.

extern crate std;

use alloc::{
    alloc::{alloc, dealloc},
    boxed::Box,
    sync::Arc,
};
use core::{
    alloc::Layout,
    any::Any,
    cell::Cell,
    panic::AssertUnwindSafe,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{
    backtrace::{Backtrace as StdBacktrace, BacktraceStatus},
    panic::{self, catch_unwind, resume_unwind},
    process,
    sync::OnceLock,
    thread, thread_local,
    time::Instant as StdInstant,
};

use super::{ScriptEnv, chooser::mix};
use crate::{
    env::{
        AfterWork, Backtrace, Clock, Entropy, EnvError, Instant, Job, Offload, OffloadFull,
        PanicWatch, Panicking, Payload, Room, StackClass, StackError, StackMemory, StackStats,
        Stacks, ThreadHooks, Threads, Unpark, Unwind, WallTime, WorkerId, Workers,
    },
    stack,
};

impl Clock for ScriptEnv {
    fn now(&self) -> Instant {
        self.stage.world().now
    }

    /// The virtual clock begins at 2000-01-01.
    fn wall(&self) -> WallTime {
        const BEGIN: Duration = Duration::from_secs(946_684_800);
        WallTime::from_unix(BEGIN + self.now().saturating_since(Instant::ORIGIN))
    }

    /// Running costs nothing in virtual time.
    fn cpu(&self) -> Duration {
        Duration::ZERO
    }
}

impl Entropy for ScriptEnv {
    /// The same bytes in every run.
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut world = self.stage.world();
            world.drawn += 1;
            *byte = mix(world.drawn).to_le_bytes()[0];
        }
    }
}

impl Workers for ScriptEnv {
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Result<(), EnvError> {
        let work = |worker| {
            let _over = Over(self);
            // This host is for tests alone: it ends its threads whatever was left on them.
            let _ = body(WorkerId(worker));
        };
        // Whether all threads have started, once that is known.
        let gate = OnceLock::new();
        thread::scope(|scope| {
            for worker in 1..n {
                let (gate, work) = (&gate, &work);
                let held_back = move || {
                    if *gate.wait() {
                        work(worker);
                    }
                };
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, held_back) {
                    let _ = gate.set(false);
                    let code = error.raw_os_error().unwrap_or(0);
                    return Err(EnvError::new("thread start", code, "run fewer workers"));
                }
            }
            self.stage.world().wake_count(i32::from(n));
            let _ = gate.set(true);
            if n > 0 {
                work(0);
            }
            Ok(())
        })
    }

    fn parallelism(&self) -> u16 {
        1
    }
}

/// A worker is over, however it ended.
struct Over<'env>(&'env ScriptEnv);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.stage.world().wake_count(-1);
    }
}

impl Offload for ScriptEnv {
    /// Runs the job on a helper thread and waits for its end, so that the order of things is always
    /// the same. A job that itself waits for a fiber therefore never ends.
    fn offload(&self, job: Job) -> Result<(), OffloadFull> {
        thread::scope(|scope| {
            scope.spawn(job);
        });
        Ok(())
    }

    fn room(&self) -> &Room {
        &self.room
    }
}

impl Unwind for ScriptEnv {
    fn catch(&self, body: &mut dyn FnMut()) -> Result<(), Payload> {
        catch_unwind(AssertUnwindSafe(body))
    }

    fn throw(&self, payload: Box<dyn Any + Send>) -> ! {
        resume_unwind(payload)
    }

    fn is_unwinding(&self) -> bool {
        thread::panicking()
    }

    fn can_unwind(&self) -> bool {
        cfg!(panic = "unwind")
    }
}

/// Bytes below a stack that nobody may touch.
const RED_ZONE: usize = 64;
const RED: u8 = 0xa5;

fn layout(class: StackClass) -> Layout {
    Layout::from_size_align(class.bytes() + RED_ZONE, 64).expect("64 is a power of two")
}

// SAFETY: each stack is an allocation of its own. std has no guard pages: below `limit` lies a red
// zone instead, and a stack that comes back with a damaged one aborts the program. An overflow that
// jumps over it is not seen, which is why this host is for tests alone (I-3).
unsafe impl Stacks for ScriptEnv {
    fn map_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        let limit = self.stage.script.stacks_max;
        if self.stage.world().stacks.iter().sum::<usize>() >= limit {
            let remedy = "run fewer fibers at once, or raise `Script::stacks_max`";
            return Err(StackError::Exhausted { limit, remedy });
        }
        // SAFETY: the layout's size is not zero (I-3).
        let bottom = unsafe { alloc(layout(class)) };
        let bottom = NonNull::new(bottom).ok_or(StackError::OutOfMemory { code: 0 })?;
        // SAFETY: the allocation is `RED_ZONE` and more bytes long (I-3).
        unsafe { bottom.write_bytes(RED, RED_ZONE) };
        // SAFETY: as above (I-3).
        let limit = unsafe { bottom.add(RED_ZONE) };
        // SAFETY: one past the end of the allocation (I-3).
        let base = unsafe { limit.add(class.bytes()) };
        self.stage.world().stacks[class.index()] += 1;
        // SAFETY: fresh memory, and both ends are multiples of 64 (I-3).
        Ok(unsafe { StackMemory::new(base, limit, class) })
    }

    unsafe fn unmap_stack(&self, memory: StackMemory) {
        // SAFETY: `map_stack` has put the red zone there (I-3).
        let bottom = unsafe { memory.limit().sub(RED_ZONE) };
        // SAFETY: written by `map_stack`, and nobody may have touched it since (I-3).
        let red = unsafe { bottom.cast::<[u8; RED_ZONE]>().read() };
        if red != [RED; RED_ZONE] {
            std::eprintln!(
                "a fiber overflowed its stack of {} bytes",
                memory.class().bytes()
            );
            process::abort();
        }
        self.stage.world().stacks[memory.class().index()] -= 1;
        // SAFETY: from `map_stack` with this layout; the caller promises that it is unused (I-3).
        unsafe { dealloc(bottom.as_ptr(), layout(memory.class())) };
    }

    fn leak_stack(&self, class: StackClass) {
        let mut world = self.stage.world();
        world.stacks[class.index()] -= 1;
        world.leaked[class.index()] += 1;
    }

    unsafe fn clear_stack(&self, memory: &StackMemory) -> bool {
        // SAFETY: the caller promises that nothing in it is needed (I-3).
        unsafe { memory.limit().write_bytes(0, memory.class().bytes()) };
        true
    }

    unsafe fn stack_depth(&self, memory: &StackMemory) -> Option<usize> {
        let (limit, bytes) = (memory.limit(), memory.class().bytes());
        // SAFETY: cleared, so all of it was written; no frame on it is live by the caller's
        // promise (I-3).
        let deepest = unsafe { stack::first_used(limit, bytes) };
        let base = memory.base().addr().get();
        Some(deepest.map_or(0, |deepest| base - deepest.addr().get()))
    }

    fn stack_stats(&self) -> StackStats {
        let mut stats = StackStats::default();
        let world = self.stage.world();
        for class in StackClass::ALL {
            let (in_use, leaked) = (world.stacks[class.index()], world.leaked[class.index()]);
            let numbers = &mut stats.classes[class.index()];
            numbers.in_use = in_use;
            numbers.leaked = leaked;
            numbers.mapped_bytes = (in_use + leaked) * class.bytes();
        }
        stats
    }
}

thread_local! {
    static SLOT: Cell<*const ()> = const { Cell::new(ptr::null()) };
    static UNPARK: Arc<ThreadUnpark> = Arc::new(ThreadUnpark::of_this_thread());
}

static HOOKS: ThreadHooks = ThreadHooks {
    slot,
    set_slot,
    park,
    unparker: || UNPARK.with(|unpark| -> Arc<dyn Unpark> { Arc::<ThreadUnpark>::clone(unpark) }),
    relax: thread::yield_now,
    now,
    is_unwinding: thread::panicking,
    watch_panics,
};

impl Threads for ScriptEnv {
    fn hooks(&self) -> &'static ThreadHooks {
        &HOOKS
    }
}

#[inline(never)]
fn slot() -> *const () {
    SLOT.get()
}

#[inline(never)]
fn set_slot(pointer: *const ()) {
    SLOT.set(pointer);
}

fn park(timeout: Option<Duration>) {
    let unpark = UNPARK.with(Arc::clone);
    if !unpark.is_set() {
        match timeout {
            Some(timeout) => thread::park_timeout(timeout),
            None => thread::park(),
        }
    }
    unpark.take();
}

fn watch_panics(watch: PanicWatch) {
    if thread::panicking() {
        // std lets nobody change its hook now, so panics stay without a place.
        return;
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let panicking = Panicking {
            payload: panic.payload(),
            location: panic.location(),
            backtrace: &backtrace,
        };
        watch(&panicking, &mut || before(panic));
    }));
}

fn backtrace() -> Option<Backtrace> {
    let backtrace = StdBacktrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => Some(Box::new(backtrace)),
        _ => None,
    }
}

/// Real time: plain threads live outside the virtual clock.
fn now() -> Instant {
    static BEGIN: OnceLock<StdInstant> = OnceLock::new();
    Instant::ORIGIN + BEGIN.get_or_init(StdInstant::now).elapsed()
}

/// A flag that outlives the wait, and a thread to wake.
pub(super) struct ThreadUnpark {
    set: AtomicBool,
    thread: thread::Thread,
}

impl ThreadUnpark {
    pub(super) fn of_this_thread() -> Self {
        Self {
            set: AtomicBool::new(false),
            thread: thread::current(),
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) {
        self.set.swap(false, Ordering::Acquire);
    }

    /// Makes the thread look again, without ending its wait.
    pub(super) fn wake(&self) {
        self.thread.unpark();
    }
}

impl Unpark for ThreadUnpark {
    fn unpark(&self) {
        if !self.set.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

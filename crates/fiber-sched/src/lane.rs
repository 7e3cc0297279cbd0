//! One worker's part that others reach: where its work comes in, and what it counts.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};
use core::mem;

use crossbeam_utils::CachePadded;
use fiber_core::{
    context::{Context, StackUse},
    env::{ThreadNumber, Unpark},
    fiber::{Bands, Fiber, FiberQueue, Inbox, Position, Priority, RemoteQueue, Runnable},
    park::Budget,
    request::RawDescriptor,
    spin::SpinLock,
};

use crate::{
    ask::Asks,
    counters::Counters,
    primitive::{AtomicBool, AtomicUsize, Ordering, loom_fence},
    process::Sweeps,
};

/// How many fibers a thief takes at the most.
const STEAL_MAX: usize = 128;

/// One worker's part that others reach.
pub(crate) struct Lane {
    this: Weak<Self>,
    /// Whether one fiber has the worker to itself, or nobody: nothing is placed on it by itself.
    pub(crate) dedicated: bool,
    /// Whether a fiber has the dedicated worker.
    pub(crate) taken: AtomicBool,
    /// Fibers of this worker that were woken elsewhere, or placed here from elsewhere. Bound: the
    /// fibers of the runtime.
    pub(crate) inbox: CachePadded<RemoteQueue>,
    /// Fibers that may start anywhere. Bound: the fibers of the runtime.
    unstarted: SpinLock<Bands>,
    unstarted_lens: [AtomicUsize; 3],
    /// Descriptors whose requests this worker is to cancel. Bound: the closing descriptors.
    cancels: SpinLock<Vec<RawDescriptor>>,
    has_cancels: AtomicBool,
    /// Whether the worker waits in the host, or is about to look at its queues once more and then
    /// wait. Whoever pushes and does not see it is seen by that look.
    pub(crate) sleeping: AtomicBool,
    /// What the watchdog sees of the worker while it runs fibers.
    seen: SpinLock<Option<Seen>>,
    pub(crate) asks: Asks,
    pub(crate) sweeps: Sweeps,
    /// Whether a fiber of this world was abandoned, and nobody has looked here who waits for it.
    lost: AtomicBool,
    unparker: SpinLock<Option<Arc<dyn Unpark>>>,
    /// Written by the worker alone.
    pub(crate) counters: CachePadded<Counters>,
    /// Wake-ups of this worker by others.
    pub(crate) wakes: CachePadded<Wakes>,
    /// How deep stacks were used here; the worker's copy for others.
    pub(crate) stack_use: SpinLock<Vec<StackUse>>,
}

/// A worker as the watchdog sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) thread: ThreadNumber,
    pub(crate) budget: Arc<Budget>,
}

/// How often others had something for the worker.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    /// And it slept, so that it was rung up.
    pub(crate) sent: AtomicUsize,
    /// And it was awake, or on its way.
    pub(crate) elided: AtomicUsize,
}

impl Lane {
    pub(crate) fn new(dedicated: bool) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            dedicated,
            taken: AtomicBool::new(false),
            inbox: CachePadded::new(RemoteQueue::new()),
            unstarted: SpinLock::new(Bands::new()),
            unstarted_lens: core::array::from_fn(|_| AtomicUsize::new(0)),
            cancels: SpinLock::new(Vec::new()),
            has_cancels: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            seen: SpinLock::new(None),
            asks: Asks::new(),
            sweeps: Sweeps::new(),
            lost: AtomicBool::new(false),
            unparker: SpinLock::new(None),
            counters: CachePadded::default(),
            wakes: CachePadded::default(),
            stack_use: SpinLock::new(Vec::new()),
        })
    }

    /// From here on the worker can be woken.
    pub(crate) fn open(&self, unparker: Arc<dyn Unpark>) {
        *self.unparker.lock() = Some(unparker);
    }

    /// The worker is gone: what it was woken through is given back.
    pub(crate) fn close(&self) {
        let unparker = self.unparker.lock().take();
        drop(unparker);
    }

    /// Ends the worker's wait, now or the next one.
    pub(crate) fn unpark(&self) {
        // Cloned, so that no system call is made under the lock.
        let unparker = self.unparker.lock().clone();
        if let Some(unparker) = unparker {
            unparker.unpark();
        }
    }

    /// Has the worker look at what was pushed for it before: rings it up if it sleeps.
    pub(crate) fn notify(&self) {
        if self.is_sleeping() {
            self.wakes.sent.fetch_add(1, Ordering::Relaxed);
            self.unpark();
        } else {
            self.wakes.elided.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn seen(&self) -> Option<Seen> {
        self.seen.lock().clone()
    }

    /// From here on the worker is watched, or not any more.
    pub(crate) fn set_seen(&self, seen: Option<Seen>) {
        let before = mem::replace(&mut *self.seen.lock(), seen);
        drop(before);
    }

    /// Has the fiber that runs there let others run at its next charged call. *Thread*: any.
    pub(crate) fn end_slice(&self) {
        if let Some(seen) = self.seen() {
            seen.budget.end();
        }
    }

    /// Whoever has pushed and does not see it sleep is seen by the worker's look.
    pub(crate) fn is_sleeping(&self) -> bool {
        loom_fence();
        self.sleeping.load(Ordering::SeqCst)
    }

    /// The worker says whether it is about to sleep; if so it looks at its queues once more.
    pub(crate) fn set_sleeping(&self, sleeping: bool) {
        self.sleeping.store(sleeping, Ordering::SeqCst);
        loom_fence();
    }

    pub(crate) fn push_unstarted(&self, fiber: Runnable, position: Position) {
        let mut unstarted = self.unstarted.lock();
        unstarted.push_past(fiber, position);
        self.publish(&unstarted);
    }

    pub(crate) fn push_all_unstarted(&self, fibers: &mut FiberQueue) {
        let mut unstarted = self.unstarted.lock();
        unstarted.push_all(fibers);
        self.publish(&unstarted);
    }

    pub(crate) fn pop_unstarted(&self, priority: Priority) -> Option<Runnable> {
        if self.unstarted_lens[priority.index()].load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut unstarted = self.unstarted.lock();
        let fiber = unstarted.pop(priority);
        self.publish(&unstarted);
        fiber
    }

    /// Whether others may take from here. Not while the worker sleeps: it was rung up for what was
    /// put here, and a fiber lives where it was put unless that worker is busy.
    pub(crate) fn is_stealable(&self) -> bool {
        self.unstarted_len() > 0 && !self.is_sleeping()
    }

    /// Takes a share of what waits here.
    pub(crate) fn steal(&self) -> FiberQueue {
        if self.unstarted_len() == 0 {
            return FiberQueue::new();
        }
        let mut unstarted = self.unstarted.lock();
        let stolen = unstarted.split(STEAL_MAX);
        self.publish(&unstarted);
        stolen
    }

    /// Handles of fibers that wait to be started here: at most `max`.
    pub(crate) fn unstarted_fibers(&self, max: usize) -> Vec<Fiber> {
        // Allocated outside of the lock.
        let mut fibers = Vec::with_capacity(max.min(self.unstarted_len()));
        let room = fibers.capacity().min(max);
        self.unstarted.lock().each(|fiber| {
            if fibers.len() < room {
                fibers.push(fiber.clone());
            }
        });
        fibers
    }

    pub(crate) fn take_unstarted(&self) -> Bands {
        let mut unstarted = self.unstarted.lock();
        let all = mem::take(&mut *unstarted);
        self.publish(&unstarted);
        all
    }

    fn publish(&self, unstarted: &Bands) {
        for (published, len) in self.unstarted_lens.iter().zip(unstarted.lens()) {
            if published.load(Ordering::Relaxed) != len {
                published.store(len, Ordering::SeqCst);
            }
        }
    }

    pub(crate) fn unstarted_lens(&self) -> [usize; 3] {
        [0, 1, 2].map(|band| self.unstarted_lens[band].load(Ordering::SeqCst))
    }

    pub(crate) fn unstarted_len(&self) -> usize {
        self.unstarted_lens().into_iter().sum()
    }

    /// How many fibers wait for their turn here, as far as others can see.
    pub(crate) fn queued(&self) -> usize {
        self.counters.ready.get_usize() + self.unstarted_len()
    }

    pub(crate) fn push_cancel(&self, descriptor: RawDescriptor) {
        {
            let mut cancels = self.cancels.lock();
            cancels.push(descriptor);
            self.has_cancels.store(true, Ordering::SeqCst);
        }
        self.notify();
    }

    pub(crate) fn take_cancels(&self) -> Vec<RawDescriptor> {
        let mut cancels = self.cancels.lock();
        self.has_cancels.store(false, Ordering::SeqCst);
        mem::take(&mut *cancels)
    }

    pub(crate) fn has_cancels(&self) -> bool {
        self.has_cancels.load(Ordering::SeqCst)
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// A fiber of this world was abandoned: wakes those here who wait for what it holds.
    #[cold]
    pub(crate) fn look_for_lost(&self, context: &Context) {
        self.lost.store(false, Ordering::SeqCst);
        context.look_for_lost();
    }

    /// Whether nothing waits here that others have put.
    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
            && self.unstarted_len() == 0
            && !self.has_cancels()
            && !self.asks.is_waiting()
            && !self.sweeps.is_waiting()
            && !self.has_lost()
    }

    /// How many fibers have ended here. Who sees an end sees the launches before it.
    pub(crate) fn ended(&self) -> u64 {
        self.counters.ended.acquire()
    }
}

// SAFETY: the worker takes its inbox between rounds and resumes each fiber that it finds once, and
// `keep` holds the lane until `push` is over: the runtime of a fiber that is parked, or is just
// being launched, and so the lane, is alive when it begins (I-11).
unsafe impl Inbox for Lane {
    fn push(&self, fiber: Runnable) {
        let keep = self
            .this
            .upgrade()
            .expect("a parked fiber's runtime is alive");
        if keep.inbox.push(fiber) {
            keep.notify();
        }
    }

    fn fiber_lost(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.notify();
    }
}

#[cfg(all(test, loom))]
mod models {
    use core::panic::Location;

    use fiber_core::fiber::{Attributes, Spawn};

    use super::*;

    struct Bell(AtomicBool);

    impl Unpark for Bell {
        fn unpark(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// A worker that has slept once falls asleep again, while others put something into its lane.
    /// It must not be asleep and not rung up at the end while something waits there.
    fn nothing_waits_unseen(put: fn(&Lane)) {
        loom::model(move || {
            let (lane, bell) = (Lane::new(false), Arc::new(Bell(AtomicBool::new(false))));
            lane.open(Arc::clone(&bell) as Arc<dyn Unpark>);
            lane.set_sleeping(true);
            let other = {
                let lane = Arc::clone(&lane);
                loom::thread::spawn(move || put(&lane))
            };
            // It rises, looks, and falls asleep.
            bell.0.swap(false, Ordering::SeqCst);
            lane.set_sleeping(false);
            drop((
                lane.inbox.take(),
                lane.take_cancels(),
                lane.take_unstarted(),
            ));
            lane.set_sleeping(true);
            let sleeps = lane.is_empty();
            other.join().unwrap();
            let rung = bell.0.load(Ordering::SeqCst);
            assert!(!sleeps || rung || lane.is_empty(), "it waits unseen");
            drop((lane.inbox.take(), lane.take_unstarted()));
        });
    }

    fn fiber() -> Runnable {
        // SAFETY: the closure is `Send` and borrows nothing (I-11).
        unsafe { Spawn::fiber(|| (), Attributes::new(Location::caller())) }.0
    }

    #[test]
    fn loom_no_woken_fiber_waits_while_its_worker_sleeps() {
        nothing_waits_unseen(|lane| lane.push(fiber()));
    }

    #[test]
    fn loom_no_cancel_waits_while_its_worker_sleeps() {
        nothing_waits_unseen(|lane| lane.push_cancel(RawDescriptor(0)));
    }

    #[test]
    fn loom_no_new_fiber_waits_while_its_worker_sleeps() {
        nothing_waits_unseen(|lane| {
            lane.push_unstarted(fiber(), Position::Last);
            // As `push_shared`, where another is called for a lane whose worker is awake.
            if lane.is_sleeping() {
                lane.notify();
            }
        });
    }
}

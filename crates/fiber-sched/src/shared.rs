//! What the workers of one runtime share.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use crossbeam_utils::CachePadded;
use fiber_core::{
    Context, Id,
    env::{SharedEnv, Unpark, WorkerId},
    fiber::{FiberQueue, Inbox, RemoteQueue, Runnable},
    request::RawDescriptor,
    spin::SpinLock,
};

use crate::{
    error::RunFault,
    primitive::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    quiet::Quiet,
    report::ParkedFiber,
    runtime::Limits,
};

const RUNNING: u8 = 0;
const WAITING: u8 = 1;
const CANCELLING: u8 = 2;
const STOPPED: u8 = 3;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The main fiber runs.
    Running,
    /// It has ended; the rest is waited for.
    Waiting,
    /// It has ended, or nothing can wake anybody; the rest is cancelled.
    Cancelling,
    /// No fiber is left (or none can ever go on): workers leave.
    Stopped,
}

/// One runtime's shared part.
pub(crate) struct Shared {
    pub(crate) env: SharedEnv,
    pub(crate) limits: Limits,
    pub(crate) process: Option<Id>,
    pub(crate) closed_world: bool,
    pub(crate) lanes: Vec<CachePadded<Arc<Lane>>>,
    pub(crate) quiet: Quiet,
    phase: AtomicU8,
    /// Workers that have cancelled their fibers.
    heeded: AtomicUsize,
    /// Fibers launched and not ended.
    live: CachePadded<AtomicUsize>,
    /// Workers that sleep, or are about to: bits by index modulo 64.
    idle: CachePadded<AtomicU64>,
    pub(crate) parked: SpinLock<Vec<ParkedFiber>>,
    fault: SpinLock<Option<RunFault>>,
    asleep_logged: AtomicU8,
    abandoned: AtomicBool,
}

/// One worker's part that others reach: where its work comes in.
pub(crate) struct Lane {
    this: Weak<Self>,
    /// Fibers of this worker that were woken elsewhere. Bound: the fibers of this worker.
    pub(crate) inbox: RemoteQueue,
    /// Fibers that may start anywhere. Bound: the fibers of the runtime.
    unstarted: SpinLock<FiberQueue>,
    unstarted_len: AtomicUsize,
    /// Descriptors whose requests this worker is to cancel. Bound: the closing descriptors.
    cancels: SpinLock<Vec<RawDescriptor>>,
    unparker: SpinLock<Option<Arc<dyn Unpark>>>,
}

impl Lane {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            inbox: RemoteQueue::new(),
            unstarted: SpinLock::new(FiberQueue::new()),
            unstarted_len: AtomicUsize::new(0),
            cancels: SpinLock::new(Vec::new()),
            unparker: SpinLock::new(None),
        })
    }

    /// From here on the worker can be woken.
    pub(crate) fn open(&self, unparker: Arc<dyn Unpark>) {
        *self.unparker.lock() = Some(unparker);
    }

    pub(crate) fn unpark(&self) {
        // Cloned, so that no system call is made under the lock.
        let unparker = self.unparker.lock().clone();
        if let Some(unparker) = unparker {
            unparker.unpark();
        }
    }

    pub(crate) fn push_unstarted(&self, fiber: Runnable) {
        let mut unstarted = self.unstarted.lock();
        unstarted.push(fiber);
        self.unstarted_len.store(unstarted.len(), Ordering::SeqCst);
    }

    pub(crate) fn pop_unstarted(&self) -> Option<Runnable> {
        if self.unstarted_len() == 0 {
            return None;
        }
        let mut unstarted = self.unstarted.lock();
        let fiber = unstarted.pop();
        self.unstarted_len.store(unstarted.len(), Ordering::SeqCst);
        fiber
    }

    pub(crate) fn unstarted_len(&self) -> usize {
        self.unstarted_len.load(Ordering::SeqCst)
    }

    pub(crate) fn take_cancels(&self) -> Vec<RawDescriptor> {
        let mut cancels = self.cancels.lock();
        if cancels.is_empty() {
            Vec::new()
        } else {
            core::mem::take(&mut *cancels)
        }
    }

    pub(crate) fn has_cancels(&self) -> bool {
        !self.cancels.lock().is_empty()
    }

    fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.unstarted_len() == 0 && !self.has_cancels()
    }
}

// SAFETY: the worker takes its inbox between rounds and resumes each fiber that it finds once, and
// `keep` holds the lane until `push` is over: a parked fiber's runtime, and so the lane, is alive
// when it begins (I-11).
unsafe impl Inbox for Lane {
    fn push(&self, fiber: Runnable) {
        let keep = self
            .this
            .upgrade()
            .expect("a parked fiber's runtime is alive");
        if keep.inbox.push(fiber) {
            keep.unpark();
        }
    }
}

impl Shared {
    pub(crate) fn new(
        env: SharedEnv,
        limits: Limits,
        process: Option<Id>,
        closed_world: bool,
        workers: u16,
    ) -> Arc<Self> {
        Arc::new(Self {
            env,
            limits,
            process,
            closed_world,
            lanes: (0..workers)
                .map(|_| CachePadded::new(Lane::new()))
                .collect(),
            quiet: Quiet::new(usize::from(workers)),
            phase: AtomicU8::new(RUNNING),
            heeded: AtomicUsize::new(0),
            live: CachePadded::new(AtomicUsize::new(0)),
            idle: CachePadded::new(AtomicU64::new(0)),
            parked: SpinLock::new(Vec::new()),
            fault: SpinLock::new(None),
            asleep_logged: AtomicU8::new(0),
            abandoned: AtomicBool::new(false),
        })
    }

    pub(crate) fn lane(&self, worker: WorkerId) -> &Arc<Lane> {
        &self.lanes[worker.index()]
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            RUNNING => Phase::Running,
            CANCELLING => Phase::Cancelling,
            WAITING => Phase::Waiting,
            _ => Phase::Stopped,
        }
    }

    /// Moves on to `phase` if the run is not further already, and lets every worker see it.
    pub(crate) fn advance(&self, phase: Phase) {
        let number = match phase {
            Phase::Running => RUNNING,
            Phase::Cancelling => CANCELLING,
            Phase::Waiting => WAITING,
            Phase::Stopped => STOPPED,
        };
        if self.phase.fetch_max(number, Ordering::SeqCst) < number {
            self.unpark_all();
        }
    }

    pub(crate) fn unpark_all(&self) {
        for lane in &self.lanes {
            lane.unpark();
        }
    }

    pub(crate) fn launched(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// A fiber has ended; the last one stops the run.
    pub(crate) fn ended(&self) {
        if self.live.fetch_sub(1, Ordering::SeqCst) == 1 && self.phase() > Phase::Running {
            self.advance(Phase::Stopped);
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Says that `worker` is about to sleep. It looks at the queues once more afterwards.
    pub(crate) fn set_idle(&self, worker: WorkerId) {
        self.idle.fetch_or(idle_bit(worker), Ordering::SeqCst);
    }

    pub(crate) fn clear_idle(&self, worker: WorkerId) {
        let bit = idle_bit(worker);
        if self.idle.load(Ordering::Relaxed) & bit != 0 {
            self.idle.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// Work that anybody may do has appeared: wakes one sleeper, if there is one.
    pub(crate) fn wake_one_idle(&self) {
        let mut idle = self.idle.load(Ordering::SeqCst);
        while idle != 0 {
            let bit = idle & idle.wrapping_neg();
            match self
                .idle
                .compare_exchange(idle, idle & !bit, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => {
                    let first = bit.trailing_zeros() as usize;
                    for lane in self.lanes.iter().skip(first).step_by(64) {
                        lane.unpark();
                    }
                    return;
                }
                Err(seen) => idle = seen,
            }
        }
    }

    pub(crate) fn cancel_on(&self, workers: u64, descriptor: RawDescriptor) {
        for (index, lane) in self.lanes.iter().enumerate() {
            if workers & 1 << (index % 64) != 0 {
                lane.cancels.lock().push(descriptor);
                lane.unpark();
            }
        }
    }

    /// The calling worker has cancelled its fibers, as `Phase::Cancelling` asks.
    pub(crate) fn heeded(&self) {
        self.heeded.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the run is in `phase`, which no worker has yet to heed, and no queue of any worker
    /// holds anything.
    pub(crate) fn nothing_pending(&self, phase: Phase) -> bool {
        let heeded =
            phase < Phase::Cancelling || self.heeded.load(Ordering::SeqCst) == self.lanes.len();
        self.phase() == phase && heeded && self.lanes.iter().all(|lane| lane.is_empty())
    }

    /// A worker could not start: nobody waits for it, neither to be quiet nor to heed the phase.
    pub(crate) fn absent(&self) {
        self.heeded();
        self.quiet.enter(|| false);
        // Who fell quiet before was not the last one then, and is now.
        self.unpark_all();
    }

    /// Fibers of a worker were abandoned: what they are inside of never becomes free.
    pub(crate) fn abandoned(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self, fault: RunFault) {
        self.fault.lock().get_or_insert(fault);
    }

    pub(crate) fn take_fault(&self) -> Option<RunFault> {
        self.fault.lock().take()
    }

    /// Whether the run ends because nothing could wake anybody.
    pub(crate) fn is_asleep(&self) -> bool {
        matches!(*self.fault.lock(), Some(RunFault::AllAsleep))
    }

    /// Says once that every fiber is parked. In an open world a plain thread may still wake one.
    /// The report lets nothing suspend while it is told (I-8).
    pub(crate) fn log_asleep(&self, context: &Context) {
        if self.live() == 0 || self.asleep_logged.fetch_max(1, Ordering::Relaxed) > 0 {
            return;
        }
        context.report(|fiber| {
            let fiber = ParkedFiber::from(fiber);
            tracing::warn!(target: "fiber::sched", %fiber, "all fibers are asleep");
        });
    }
}

fn idle_bit(worker: WorkerId) -> u64 {
    1 << (worker.index() % 64)
}

//! What the workers of one runtime share.

use alloc::{sync::Arc, vec::Vec};

use crossbeam_utils::CachePadded;
use fiber_core::{
    Id,
    env::{SharedEnv, Watching, WorkerId},
    fiber::{Fiber, Inbox, Runnable},
    operation::Latch,
    request::RawDescriptor,
    spin::SpinLock,
};

use crate::{
    error::RunFault,
    gate::Gate,
    idle::Idle,
    lane::Lane,
    primitive::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    process::{Children, Names},
    quiet::Quiet,
    report::ParkedFiber,
    rest::Rest,
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

/// Bounds and defaults of one runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) requests_max: u32,
    pub(crate) ids_max: usize,
    pub(crate) stack: fiber_core::env::StackClass,
}

/// One runtime's shared part.
pub(crate) struct Shared {
    pub(crate) env: SharedEnv,
    pub(crate) limits: Limits,
    pub(crate) process: Option<Id>,
    pub(crate) closed_world: bool,
    /// The workers that share their work, then the dedicated ones.
    pub(crate) lanes: Vec<CachePadded<Arc<Lane>>>,
    /// How many of them share.
    sharing: usize,
    pub(crate) gate: Gate,
    pub(crate) quiet: Quiet,
    pub(crate) idle: CachePadded<Idle>,
    phase: AtomicU8,
    /// Workers that have cancelled their fibers.
    heeded: AtomicUsize,
    /// Fibers launched from outside of the workers. Whoever launches one, or stops the run, holds
    /// the lock.
    outside: SpinLock<()>,
    launched_outside: AtomicU64,
    pub(crate) parked: SpinLock<Vec<ParkedFiber>>,
    fault: SpinLock<Option<RunFault>>,
    pub(crate) rest: Rest,
    pub(crate) watching: SpinLock<Option<Arc<dyn Watching>>>,
    pub(crate) watched: AtomicBool,
    asleep_told: AtomicBool,
    asleep_reported: AtomicUsize,
    abandoned: AtomicBool,
    /// The processes that the first one has made.
    pub(crate) processes: Children,
    pub(crate) names: Names,
    shutting_down: AtomicBool,
    /// Nothing can happen any more although all were cancelled: nobody waits for processes then.
    pub(crate) given_up: Latch,
}

impl Shared {
    pub(crate) fn new(
        env: SharedEnv,
        limits: Limits,
        process: Option<Id>,
        closed_world: bool,
        (workers, dedicated): (u16, u16),
    ) -> Arc<Self> {
        let all = usize::from(workers) + usize::from(dedicated);
        let lanes = (0..all)
            .map(|index| CachePadded::new(Lane::new(index >= usize::from(workers))))
            .collect();
        Arc::new(Self {
            env,
            limits,
            process,
            closed_world,
            lanes,
            sharing: usize::from(workers),
            gate: Gate::new(all),
            quiet: Quiet::new(all),
            idle: CachePadded::new(Idle::new(usize::from(workers))),
            phase: AtomicU8::new(RUNNING),
            heeded: AtomicUsize::new(0),
            outside: SpinLock::new(()),
            launched_outside: AtomicU64::new(0),
            parked: SpinLock::new(Vec::new()),
            fault: SpinLock::new(None),
            rest: Rest::new(),
            watching: SpinLock::new(None),
            watched: AtomicBool::new(false),
            asleep_told: AtomicBool::new(false),
            asleep_reported: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
            processes: Children::default(),
            names: Names::default(),
            shutting_down: AtomicBool::new(false),
            given_up: Latch::new(),
        })
    }

    pub(crate) fn lane(&self, worker: WorkerId) -> &Arc<Lane> {
        &self.lanes[worker.index()]
    }

    /// The workers that share their work.
    pub(crate) fn sharing(&self) -> &[CachePadded<Arc<Lane>>] {
        &self.lanes[..self.sharing]
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

    /// Stops the run if its main fiber has ended, and all others have.
    ///
    /// Every worker asks in each turn, so that the one whose fiber was the last finds out.
    pub(crate) fn stop_if_over(&self) {
        if self.phase() == Phase::Running || self.phase() == Phase::Stopped {
            return;
        }
        let over = {
            let _outside = self.outside.lock();
            let over = none_live(&self.lanes, &self.launched_outside);
            if over {
                self.phase.fetch_max(STOPPED, Ordering::SeqCst);
            }
            over
        };
        if over {
            self.unpark_all();
        }
    }

    /// How many fibers have been launched and not ended, more or less.
    pub(crate) fn live(&self) -> u64 {
        let ended: u64 = self.lanes.iter().map(|lane| lane.ended()).sum();
        launched(&self.lanes, &self.launched_outside).saturating_sub(ended)
    }

    /// Work that anybody may do was pushed: wakes one sleeper, if there is one.
    pub(crate) fn wake_one_idle(&self) {
        if let Some(worker) = self.idle.call_one() {
            self.lane(worker).notify();
        }
    }

    /// Whether there is a fiber that anybody may take.
    pub(crate) fn has_stealable(&self) -> bool {
        self.sharing().iter().any(|lane| lane.is_stealable())
    }

    /// Whether another worker has one.
    pub(crate) fn has_stealable_besides(&self, own: &Arc<Lane>) -> bool {
        let mut others = self.sharing().iter().filter(|lane| !Arc::ptr_eq(lane, own));
        others.any(|lane| lane.is_stealable())
    }

    /// Takes a fiber from outside of the workers; gives it back if the run is over, or about to be.
    pub(crate) fn launch_outside(
        &self,
        fiber: Runnable,
        push: impl FnOnce(&Self, Runnable),
    ) -> Result<(), Runnable> {
        {
            let _outside = self.outside.lock();
            let phase = self.phase();
            if phase >= Phase::Cancelling && !fiber.fiber().outlives_main()
                || phase == Phase::Stopped
            {
                return Err(fiber);
            }
            // From here on the run does not end before the fiber has.
            self.launched_outside.fetch_add(1, Ordering::Relaxed);
        }
        push(self, fiber);
        // A run that breaks stops with fibers left. Its end drops what is queued; if that was
        // before the push, nobody else is left who would.
        let stopped = {
            let _outside = self.outside.lock();
            self.phase() == Phase::Stopped
        };
        if stopped {
            self.drop_queued();
        }
        Ok(())
    }

    pub(crate) fn cancel_on(&self, workers: u64, descriptor: RawDescriptor) {
        for (index, lane) in self.lanes.iter().enumerate() {
            if workers & 1 << (index % 64) != 0 {
                lane.push_cancel(descriptor);
            }
        }
    }

    /// Whether a watchdog looks at the workers.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Puts a fiber on one worker for good.
    pub(crate) fn push_pinned(&self, worker: WorkerId, fiber: Runnable) {
        self.lane(worker).push(fiber);
    }

    /// What was launched so late that no worker took it ends as cancelled.
    pub(crate) fn drop_queued(&self) {
        // Whoever pushes later sees under the lock that the run has stopped.
        drop(self.outside.lock());
        let close = |fiber: &Fiber| self.env.id_space().close_unstarted(fiber);
        for lane in &self.lanes {
            let (woken, unstarted) = (lane.inbox.take(), lane.take_unstarted());
            woken.each(close);
            unstarted.each(close);
        }
    }

    /// From here on the first process makes no other one.
    pub(crate) fn begin_to_shut_down(&self) {
        self.shutting_down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::SeqCst)
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

    /// Whether the host has failed, which is why fibers could not be brought to their end.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(
            *self.fault.lock(),
            Some(RunFault::Host(_) | RunFault::Env(_))
        )
    }

    pub(crate) fn take_fault(&self) -> Option<RunFault> {
        self.fault.lock().take()
    }

    /// The calling worker has reported who is asleep there. The last one wakes the others.
    pub(crate) fn reported(&self) {
        let reported = self.asleep_reported.fetch_add(1, Ordering::SeqCst) + 1;
        if reported == self.lanes.len() {
            self.unpark_all();
        }
    }

    pub(crate) fn all_have_reported(&self) -> bool {
        self.asleep_reported.load(Ordering::SeqCst) == self.lanes.len()
    }

    /// Whether the run ends because nothing could wake anybody.
    pub(crate) fn is_asleep(&self) -> bool {
        matches!(*self.fault.lock(), Some(RunFault::AllAsleep))
    }

    /// Nothing can happen any more by itself: has every worker say so, once. False if they have,
    /// or there is nobody to tell of.
    pub(crate) fn begin_to_tell_asleep(&self) -> bool {
        if self.live() == 0 || self.asleep_told.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.unpark_all();
        true
    }

    pub(crate) fn tells_asleep(&self) -> bool {
        self.asleep_told.load(Ordering::SeqCst)
    }
}

/// Whether every fiber that was launched has ended. Nobody outside launches one meanwhile.
///
/// What has ended is read first. Who sees an end sees the launch of that fiber and of all that
/// it has launched; so if the sums are equal, what was counted has ended, and nobody was left
/// to launch more.
fn none_live(lanes: &[CachePadded<Arc<Lane>>], outside: &AtomicU64) -> bool {
    // Of two workers whose fibers end last, one sees the end at the other.
    fence(Ordering::SeqCst);
    let ended: u64 = lanes.iter().map(|lane| lane.ended()).sum();
    ended == launched(lanes, outside)
}

fn launched(lanes: &[CachePadded<Arc<Lane>>], outside: &AtomicU64) -> u64 {
    let inside = lanes.iter().map(|lane| lane.counters.launched.get());
    inside.sum::<u64>() + outside.load(Ordering::Relaxed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::panic::Location;

    use fiber_core::{
        env::StackClass,
        fiber::{Attributes, Spawn},
        script::ScriptEnv,
    };

    use super::*;

    #[test]
    fn a_fiber_that_is_launched_from_outside_while_a_run_breaks_ends() {
        let limits = Limits {
            requests_max: 1,
            ids_max: 1,
            stack: StackClass::default(),
        };
        let shared = Shared::new(ScriptEnv::new(), limits, None, false, (2, 0));
        // SAFETY: the closure is `Send` and borrows nothing (I-11).
        let (fiber, handle) = unsafe { Spawn::fiber(|| (), Attributes::new(Location::caller())) };
        let launched = shared.launch_outside(fiber, |shared, fiber| {
            // The port breaks, the workers leave and `run` returns before the fiber is queued.
            shared.advance(Phase::Stopped);
            shared.drop_queued();
            shared.push_shared(WorkerId(1), fiber);
        });
        assert!(launched.is_ok());
        assert!(handle.is_finished(), "nobody will ever run it");
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;

    /// What the model's two workers share.
    struct Last {
        lanes: Vec<CachePadded<Arc<Lane>>>,
        outside: AtomicU64,
        queued: AtomicBool,
        second_ended: AtomicBool,
    }

    impl Last {
        fn is_over(&self) -> bool {
            let over = none_live(&self.lanes, &self.outside);
            assert!(
                !over || self.second_ended.load(Ordering::Relaxed),
                "one lives"
            );
            over
        }

        fn run_second(&self) -> bool {
            // Exchanges, as the queues' own: loom lets an exchange overtake a plain store that it
            // did not read.
            if self.queued.swap(false, Ordering::AcqRel) {
                self.second_ended.store(true, Ordering::Relaxed);
                self.lanes[1].counters.ended.release(1);
            }
            self.is_over()
        }
    }

    /// The last two fibers: one launches the other, which another worker runs, and ends; both
    /// workers ask whether all is over. One of them must find it, and none before both have ended.
    #[test]
    fn loom_one_of_the_last_two_workers_finds_that_all_have_ended_and_not_before() {
        loom::model(|| {
            let last = Arc::new(Last {
                lanes: (0..2).map(|_| CachePadded::new(Lane::new(false))).collect(),
                outside: AtomicU64::new(0),
                queued: AtomicBool::new(false),
                second_ended: AtomicBool::new(false),
            });
            last.lanes[0].counters.launched.add(1);
            let second = {
                let last = Arc::clone(&last);
                loom::thread::spawn(move || last.run_second())
            };
            last.lanes[0].counters.launched.add(1);
            last.queued.swap(true, Ordering::AcqRel);
            last.lanes[0].counters.ended.release(1);
            let first_found = last.is_over();
            let mut second_found = second.join().unwrap();
            if !last.second_ended.load(Ordering::Relaxed) {
                // It looked too early, and is told to look again.
                second_found = last.run_second();
            }
            assert!(first_found || second_found, "nobody finds out");
        });
    }
}

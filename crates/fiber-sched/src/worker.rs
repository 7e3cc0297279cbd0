//! One worker's loop.
//!
//! ```text
//! turn:  clock once ─▶ due timers ─▶ rounds ─▶ host turn (submits; waits if nothing is runnable)
//! round: everybody who is ready at its start runs once; then fibers start; then the inbox is read
//! ```
//!
//! Rounds end when nothing is runnable or [`RESUMES`] fibers were resumed.

use alloc::{rc::Rc, sync::Arc, vec::Vec};
use core::{cell::RefCell, iter, mem, ptr::NonNull, time::Duration};

use fiber_core::{
    context::{Context, Parts, Placement, Resumed, Schedule},
    env::{Instant, PortConfig, Site, Wait, WorkerId},
    fiber::{Inbox, Runnable},
    request::RawDescriptor,
    timer::TimerNode,
};

use crate::{
    error::RunFault,
    shared::{Lane, Phase, Shared},
    wheel::Wheel,
};

/// How many fibers are resumed before the host gets its turn.
const RESUMES: usize = 128;
/// How long a worker waits at its end for requests that the host does not give back.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

const STEAL: Site = Site::new("sched.steal");

/// What a worker's fibers ask of the scheduler.
struct Local {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    wheel: RefCell<Wheel>,
}

impl Schedule for Local {
    unsafe fn arm(&self, node: NonNull<TimerNode>) {
        // SAFETY: by the caller's promise (I-12).
        unsafe { self.wheel.borrow_mut().insert(node) };
    }

    unsafe fn disarm(&self, node: &TimerNode) {
        self.wheel.borrow_mut().remove(node);
    }

    fn launch(&self, fiber: Runnable, placement: Placement) {
        self.shared.launched();
        if placement == Placement::Here {
            Context::with(|context| context.expect("launched on its worker").ready(fiber));
            return;
        }
        self.lane.push_unstarted(fiber);
        self.shared.wake_one_idle();
    }

    fn cancel_on(&self, workers: u64, descriptor: RawDescriptor) {
        self.shared.cancel_on(workers, descriptor);
    }
}

/// One worker, on its own thread.
struct Worker {
    context: Context,
    local: Rc<Local>,
    id: WorkerId,
    /// Whether the fibers here were cancelled after the main one had ended.
    cancelled: bool,
    /// Whether this worker is counted as quiet.
    quiet: bool,
}

/// Whoever unwinds out of a worker would leave its fibers' frames, and `run`'s caller with borrows
/// that they still use: the program ends instead (I-3). Only a bug of ours, or of what the host or
/// a subscriber does in our name, gets here.
struct NeverUnwinds;

impl Drop for NeverUnwinds {
    fn drop(&mut self) {
        // Dropped by unwinding only, where a second panic aborts.
        panic!("a worker panicked outside of its fibers");
    }
}

/// Runs one worker until the runtime stops. `first` is given to it: the main fiber, at worker 0.
pub(crate) fn work(shared: &Arc<Shared>, id: WorkerId, first: Option<Runnable>) {
    let never_unwinds = NeverUnwinds;
    start(shared, id, first);
    mem::forget(never_unwinds);
}

fn start(shared: &Arc<Shared>, id: WorkerId, first: Option<Runnable>) {
    let config = PortConfig::default().requests_max(shared.limits.requests_max);
    let port = match shared.env.open_port(id, &config) {
        Ok(port) => port,
        Err(error) => {
            tracing::error!(target: "fiber::sched", worker = id.0, %error, "no port");
            shared.fail(RunFault::Env(error));
            // Worker 0 has the main fiber: without it nothing was started at all.
            shared.advance(if first.is_some() {
                Phase::Stopped
            } else {
                Phase::Cancelling
            });
            shared.absent();
            return;
        }
    };
    let lane = Arc::clone(shared.lane(id));
    lane.open(port.unparker());
    let local = Rc::new(Local {
        shared: Arc::clone(shared),
        lane: Arc::clone(&lane),
        wheel: RefCell::new(Wheel::new(shared.env.now())),
    });
    let parts = Parts {
        env: Arc::clone(&shared.env),
        worker: id,
        port,
        inbox: lane as Arc<dyn Inbox>,
        schedule: Rc::clone(&local) as Rc<dyn Schedule>,
        process: shared.process,
        stack: shared.limits.stack,
        requests_max: shared.limits.requests_max,
        ids_max: shared.limits.ids_max,
    };
    // SAFETY: `end` finishes, abandons or leaks it, and nothing unwinds before that (I-11).
    let context = unsafe { Context::new(parts) };
    let mut worker = Worker {
        context,
        local,
        id,
        cancelled: false,
        quiet: false,
    };
    worker.run(first);
    worker.end();
}

impl Worker {
    fn run(&mut self, first: Option<Runnable>) {
        // The loop runs beside `self.context.enter`, which borrows only the context.
        let Self {
            context,
            local,
            id,
            cancelled,
            quiet,
        } = self;
        let mut turn = Turn {
            context,
            local,
            id: *id,
            cancelled,
            quiet,
        };
        context.enter(|| {
            if let Some(first) = first {
                turn.context.launch(first, Placement::Here);
            }
            turn.work();
            turn.end_unstarted();
        });
    }

    /// Gives everything back to the host; all fibers have ended, or never will.
    fn end(self) {
        let Self {
            context, local, id, ..
        } = self;
        let shared = Arc::clone(&local.shared);
        if context.started() > 0 {
            // They wait for ever, masked: their frames stay, and what they borrow with them (I-3).
            tracing::error!(
                target: "fiber::sched", worker = id.0, fibers = context.started(),
                "fibers that nothing can wake are abandoned; their stacks are leaked"
            );
            shared.abandoned();
            mem::forget(local);
            if let Err(undrained) = context.abandon(DRAIN_GRACE) {
                // What `main` borrows may be lent, and its owner goes on when `run` returns (I-3).
                panic!(
                    "the host holds memory that it was lent, and does not give it back: {undrained}"
                );
            }
            return;
        }
        if let Some(process) = shared.process {
            context.close_owned_by(process);
        }
        while context.live_ids() > 0 {
            if shared.has_abandoned() {
                mem::forget(context);
                return;
            }
            if let Err(fault) = context.enter(|| context.turn(Wait::No)) {
                shared.fail(RunFault::Host(fault));
                mem::forget(context);
                return;
            }
        }
        if let Err(undrained) = context.finish(DRAIN_GRACE) {
            tracing::error!(
                target: "fiber::sched", worker = id.0, error = %undrained, "not drained"
            );
        }
    }
}

/// The loop's view of its worker.
struct Turn<'worker> {
    context: &'worker Context,
    local: &'worker Local,
    id: WorkerId,
    cancelled: &'worker mut bool,
    quiet: &'worker mut bool,
}

impl Turn<'_> {
    fn work(&mut self) {
        while self.shared().phase() != Phase::Stopped {
            self.heed_phase();
            self.fire_timers();
            self.run_rounds();
            let wait = if self.has_work() {
                Wait::No
            } else {
                self.idle()
            };
            if let Err(fault) = self.context.turn(wait) {
                tracing::error!(
                    target: "fiber::sched", worker = self.id.0, error = %fault, "broken"
                );
                self.shared().fail(RunFault::Host(fault));
                self.shared().advance(Phase::Stopped);
            }
            self.awake();
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.local.shared
    }

    /// The main fiber has ended: what started here is cancelled, once.
    fn heed_phase(&mut self) {
        if self.shared().phase() == Phase::Cancelling && !*self.cancelled {
            *self.cancelled = true;
            if self.shared().is_asleep() {
                self.context
                    .report(|fiber| self.shared().parked.lock().push(fiber.into()));
            }
            self.context.cancel_all();
            self.shared().heeded();
        }
    }

    fn fire_timers(&self) {
        if self.local.wheel.borrow().len() == 0 {
            return;
        }
        let now = self.context.now();
        loop {
            let due = self.local.wheel.borrow_mut().pop_due(now);
            let Some(node) = due else { return };
            // SAFETY: it was in the wheel until just now, so it is in place (I-12).
            unsafe { node.as_ref() }.expire();
        }
    }

    fn run_rounds(&self) {
        let mut resumed = 0;
        while resumed < RESUMES {
            self.read_inbox();
            let round = self.run_ready() + self.run_unstarted();
            if round == 0 {
                return;
            }
            resumed += round;
        }
    }

    fn read_inbox(&self) {
        if !self.local.lane.inbox.is_empty() {
            self.context.ready_all(&mut self.local.lane.inbox.take());
        }
        if self.local.lane.has_cancels() {
            for descriptor in self.local.lane.take_cancels() {
                self.context.cancel_requests_on(descriptor);
            }
        }
    }

    /// Runs everybody who is ready now, once.
    fn run_ready(&self) -> usize {
        let round = self.context.ready_len();
        for _ in 0..round {
            // SAFETY: it is resumed just below, here (I-11).
            let Some(fiber) = (unsafe { self.context.take_ready() }) else {
                break;
            };
            self.resume(fiber);
        }
        round
    }

    /// Starts the fibers that wait for it now.
    fn run_unstarted(&self) -> usize {
        let round = self.local.lane.unstarted_len().min(RESUMES);
        let mut started = 0;
        while started < round
            && let Some(fiber) = self.local.lane.pop_unstarted()
        {
            self.resume(fiber);
            started += 1;
        }
        started
    }

    fn resume(&self, fiber: Runnable) {
        if !fiber.fiber().is_started() && self.shared().phase() >= Phase::Cancelling {
            fiber.fiber().cancel();
        }
        if self.context.resume(fiber) == Resumed::Finished {
            self.shared().ended();
        }
    }

    /// After a fault fibers may be left that have not started: they end as cancelled ones, each on
    /// a stack of its own. Those that had started are left where they are.
    fn end_unstarted(&self) {
        // What an ending one launches is ended, too; what it wakes is not resumed any more.
        loop {
            let ready = (0..self.context.ready_len()).filter_map(|_| {
                // SAFETY: it goes back, or is resumed, here (I-11).
                unsafe { self.context.take_ready() }
            });
            let (started, mut unstarted): (Vec<_>, Vec<_>) =
                ready.partition(|fiber| fiber.fiber().is_started());
            for fiber in started {
                self.context.ready(fiber);
            }
            unstarted.extend(iter::from_fn(|| self.local.lane.pop_unstarted()));
            if unstarted.is_empty() {
                return;
            }
            for fiber in unstarted {
                self.resume(fiber);
            }
        }
    }

    fn has_work(&self) -> bool {
        self.context.has_ready()
            || !self.local.lane.inbox.is_empty()
            || self.local.lane.unstarted_len() > 0
            || self.local.lane.has_cancels()
            || self.shared().phase() == Phase::Stopped
    }

    /// Nothing to run here: steals, or says how long the host may wait.
    fn idle(&mut self) -> Wait {
        if self.steal() {
            return Wait::No;
        }
        self.shared().set_idle(self.id);
        // Whoever pushed before it could see us idle is seen by us now.
        if self.has_work()
            || self
                .shared()
                .lanes
                .iter()
                .any(|lane| lane.unstarted_len() > 0)
        {
            self.shared().clear_idle(self.id);
            return Wait::No;
        }
        let deadline = self.local.wheel.borrow().next_deadline();
        // What is to happen never does not keep anybody awake.
        let deadline = deadline.filter(|deadline| *deadline < Instant::NEVER);
        match deadline {
            Some(deadline) => Wait::Until(deadline),
            None if self.context.inflight() > 0 => Wait::Forever,
            // Ids to free, descriptors to close: nobody is woken by that, and then all is quiet.
            None if self.context.has_staged() => Wait::No,
            None => self.fall_quiet(),
        }
    }

    /// Nothing here can happen by itself any more; if that is so everywhere, it is over.
    fn fall_quiet(&mut self) -> Wait {
        *self.quiet = true;
        let shared = self.shared();
        let phase = shared.phase();
        if !shared.quiet.enter(|| shared.nothing_pending(phase)) {
            return Wait::Forever;
        }
        if !shared.closed_world {
            shared.log_asleep(self.context);
            return Wait::Forever;
        }
        if phase >= Phase::Cancelling {
            // They were cancelled and cannot be: masked, or without unwinding. They are abandoned.
            shared.advance(Phase::Stopped);
        } else {
            shared.fail(RunFault::AllAsleep);
            shared.advance(Phase::Cancelling);
        }
        Wait::No
    }

    /// Takes an unstarted fiber of another worker.
    fn steal(&self) -> bool {
        let lanes = &self.shared().lanes;
        let others = lanes.len() - 1;
        if others == 0 {
            return false;
        }
        let first = self.id.index() + 1 + self.context.choose(STEAL, others);
        for offset in 0..lanes.len() {
            let index = (first + offset) % lanes.len();
            if index == self.id.index() {
                continue;
            }
            if let Some(fiber) = lanes[index].pop_unstarted() {
                self.local.lane.push_unstarted(fiber);
                return true;
            }
        }
        false
    }

    /// Called after each turn, before anything is taken out of a queue.
    fn awake(&mut self) {
        if mem::take(self.quiet) {
            self.shared().quiet.leave();
        }
        self.shared().clear_idle(self.id);
    }
}

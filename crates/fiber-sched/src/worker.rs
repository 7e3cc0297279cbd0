//! A worker's life: its port, the gate, the loop, and giving everything back.

use alloc::{rc::Rc, sync::Arc};
use core::{mem, time::Duration};

use fiber_core::{
    context::{Context, Parts, Placement, Schedule},
    env::{AfterWork, PortConfig, Undrained, Wait, WorkerId},
    fiber::{Inbox, Runnable},
};

use crate::{
    error::RunFault,
    lane::Seen,
    local::Local,
    shared::{Phase, Shared},
    turn::Turn,
};

/// How long a worker waits at its end for requests that the host does not give back.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// One worker, on its own thread.
struct Worker {
    context: Context,
    local: Rc<Local>,
    id: WorkerId,
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

/// Runs one worker until the runtime stops, and says what is to become of its thread. `first` is
/// given to it: the main fiber, at worker 0; it comes back if no fiber may run.
pub(crate) fn work(
    shared: &Arc<Shared>,
    id: WorkerId,
    first: Option<Runnable>,
) -> (Option<Runnable>, AfterWork) {
    let never_unwinds = NeverUnwinds;
    let ended = start(shared, id, first);
    mem::forget(never_unwinds);
    ended
}

fn start(
    shared: &Arc<Shared>,
    id: WorkerId,
    first: Option<Runnable>,
) -> (Option<Runnable>, AfterWork) {
    let lane = Arc::clone(shared.lane(id));
    let config = PortConfig::default().requests_max(shared.limits.requests_max);
    let port = match shared.env.open_port(id, &config) {
        Ok(port) => port,
        Err(error) => {
            tracing::error!(target: "fiber::sched", worker = id.0, %error, "no port");
            shared.fail(RunFault::Env(error));
            arrive(shared, false);
            return (first, AfterWork::Free);
        }
    };
    lane.open(port.unparker());
    let local = Rc::new(Local::new(shared, id));
    let parts = Parts {
        env: Arc::clone(&shared.env),
        worker: id,
        port,
        inbox: Arc::clone(&lane) as Arc<dyn Inbox>,
        schedule: Rc::clone(&local) as Rc<dyn Schedule>,
        process: shared.process,
        stack: shared.limits.stack,
        requests_max: shared.limits.requests_max,
        ids_max: shared.limits.ids_max,
    };
    // SAFETY: `end` finishes, abandons or leaks it, and nothing unwinds before that (I-11).
    let context = unsafe { Context::new(parts) };
    // Before any fiber can run and ask: it is answered in the first turn.
    lane.asks.open();
    lane.sweeps.open();
    arrive(shared, true);
    let worker = Worker { context, local, id };
    let unstarted = if worker.pass_gate() {
        worker.run(first);
        None
    } else {
        first
    };
    lane.asks.close();
    lane.sweeps.close();
    let after = worker.end();
    lane.close();
    (unstarted, after)
}

fn arrive(shared: &Shared, with_port: bool) {
    if shared.gate.arrive(with_port) {
        shared.unpark_all();
    }
}

impl Worker {
    /// Waits until every worker has its port; false if one has none, and nothing is to be run.
    fn pass_gate(&self) -> bool {
        let shared = &self.local.shared;
        while !shared.gate.is_complete() {
            if let Err(fault) = self.context.enter(|| self.context.turn(Wait::Forever)) {
                shared.fail(RunFault::Host(fault));
                shared.advance(Phase::Stopped);
                break;
            }
        }
        shared.gate.is_open()
    }

    fn run(&self, first: Option<Runnable>) {
        self.let_watch();
        self.context.enter(|| {
            if let Some(first) = first {
                // Counted as launched by the worker that it runs on.
                self.context.launch(first, Placement::Here);
            }
            let mut turn = Turn::new(&self.context, &self.local, self.id);
            turn.work();
            turn.end_unstarted();
        });
        self.local.lane.set_seen(None);
    }

    /// Lets the watchdog look at this worker, where there is one.
    fn let_watch(&self) {
        if let Some(watch) = self.context.env().watch() {
            self.local.lane.set_seen(Some(Seen {
                thread: watch.this_thread(),
                budget: self.context.shared_budget(),
            }));
            self.local.shared.end_rest();
        }
    }

    /// Gives everything back to the host; all fibers have ended, or never will.
    fn end(self) -> AfterWork {
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
            return AfterWork::Keep;
        }
        let after = match context.at_rest() {
            0 => AfterWork::Free,
            _ => AfterWork::Keep,
        };
        if after == AfterWork::Free {
            context.enter(|| context.drop_locals());
        } else {
            // Others may use what abandoned frames have borrowed of them (I-3).
            context.leak_locals();
        }
        context.close_all();
        while context.live_ids() > 0 {
            if let Err(fault) = context.enter(|| context.turn(Wait::No)) {
                shared.fail(RunFault::Host(fault));
                mem::forget(context);
                return after;
            }
            if context.live_ids() > 0 && shared.has_abandoned() {
                // Who is inside of an id never leaves it. All else goes back.
                if let Err(undrained) = context.abandon(DRAIN_GRACE) {
                    tell_undrained(id, undrained);
                }
                return after;
            }
        }
        if let Err(undrained) = context.finish(DRAIN_GRACE) {
            tell_undrained(id, undrained);
        }
        after
    }
}

fn tell_undrained(id: WorkerId, undrained: Undrained) {
    tracing::error!(target: "fiber::sched", worker = id.0, error = %undrained, "not drained");
}

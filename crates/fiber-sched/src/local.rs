//! A worker's scheduler as its fibers see it: timers, and where new fibers go.

use alloc::sync::Arc;
use core::{
    any::Any,
    cell::RefCell,
    ptr::{self, NonNull},
};

use fiber_core::{
    Stale,
    context::{Context, Placement, Schedule},
    env::WorkerId,
    fiber::{FiberQueue, Reason, Runnable},
    process::Record,
    request::RawDescriptor,
    timer::TimerNode,
};

use crate::{lane::Lane, place::SPREAD, process::Process, shared::Shared, wheel::Wheel};

/// What a worker's fibers ask of the scheduler.
pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lane: Arc<Lane>,
    worker: WorkerId,
    pub(crate) wheel: RefCell<Wheel>,
}

impl Local {
    pub(crate) fn new(shared: &Arc<Shared>, worker: WorkerId) -> Self {
        Self {
            shared: Arc::clone(shared),
            lane: Arc::clone(shared.lane(worker)),
            worker,
            wheel: RefCell::new(Wheel::new(shared.env.now())),
        }
    }

    /// Where a fiber goes that may go anywhere.
    fn place(&self, context: &Context, fiber: Runnable) {
        if self.lane.dedicated {
            self.spread(context, fiber);
        } else if self.shared.sharing().len() == 1 {
            // Nobody could take it: no queue that others reach is needed.
            context.ready_new(fiber);
        } else if self.shared.is_overloaded(self.worker) {
            self.spread(context, fiber);
        } else {
            self.lane.push_unstarted(fiber, context.position_of_new());
            let is_next = self.lane.unstarted_len() == 1 && !context.has_ready();
            if !is_next || !self.shared.is_watched() {
                self.shared.wake_one_idle();
            }
            // Else it runs here as soon as its spawner waits, as for its end. If that does not wait
            // the watchdog calls somebody.
        }
    }

    fn spread(&self, context: &Context, fiber: Runnable) {
        let draw = |n| context.roll(SPREAD, n);
        let worker = self.shared.pick(draw, context.now());
        self.shared.push_shared(worker, fiber);
    }
}

impl Shared {
    /// Whether this is the runtime that the worker of `context` belongs to.
    pub(crate) fn runs(&self, context: &Context) -> bool {
        let local = context.schedule().as_any().downcast_ref::<Local>();
        local.is_some_and(|local| ptr::eq(Arc::as_ptr(&local.shared), self))
    }
}

impl Schedule for Local {
    unsafe fn arm(&self, node: NonNull<TimerNode>) {
        // SAFETY: by the caller's promise (I-12).
        unsafe { self.wheel.borrow_mut().insert(node) };
    }

    unsafe fn disarm(&self, node: &TimerNode) {
        self.wheel.borrow_mut().remove(node);
    }

    fn launch(&self, context: &Context, fiber: Runnable, placement: Placement) {
        self.lane.counters.launched.add(1);
        match placement {
            Placement::Here => context.ready_new(fiber),
            Placement::On(worker) if worker == self.worker => context.ready_new(fiber),
            Placement::On(worker) => self.shared.push_pinned(worker, fiber),
            Placement::Spread => self.spread(context, fiber),
            _ => self.place(context, fiber),
        }
    }

    fn launch_many(&self, fibers: FiberQueue) {
        self.lane.counters.launched.add(fibers.len() as u64);
        self.shared.push_spread(fibers);
    }

    fn cancel_on(&self, workers: u64, descriptor: RawDescriptor) {
        self.shared.cancel_on(workers, descriptor);
    }

    fn refused(&self, process: &Arc<Record>, stale: &Stale) {
        Process::from_record(Arc::clone(process)).has_used(stale);
    }

    fn cancel_process(&self, process: &Arc<Record>, reason: Reason) {
        Process::from_record(Arc::clone(process)).cancel(reason);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

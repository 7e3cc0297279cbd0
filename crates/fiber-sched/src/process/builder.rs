//! Making processes.

use alloc::{boxed::Box, sync::Arc};
use core::{fmt, panic::Location, time::Duration};

use fiber_core::{
    Id,
    context::{Context, Placement},
    env::StackClass,
    fiber::{ExitWatcher, JoinHandle, Priority, Reason},
    operation::perform,
    process::{Limits, Membership, Record, is_heap_counted},
};

use super::{
    Process, SHUTDOWN,
    end::{End, Exit},
    life::{Life, OnStale},
    link::NoProcess,
};
use crate::{error::SpawnError, runtime::Runtime, spawn::Builder as FiberBuilder};

/// A process's configuration.
#[derive(Clone, Debug)]
#[must_use = "a process starts when `spawn` is called"]
pub struct Builder {
    name: Option<Box<str>>,
    limits: Limits,
    stack: Option<StackClass>,
    priority: Priority,
    grace: Duration,
    linked: bool,
    stops_children: bool,
    on_stale: OnStale,
}

impl Builder {
    pub(super) const fn new() -> Self {
        Self {
            name: None,
            limits: Limits::NONE,
            stack: None,
            priority: Priority::Normal,
            grace: Duration::from_secs(5),
            linked: false,
            stops_children: false,
            on_stale: OnStale::Error,
        }
    }

    /// A name for reports, also of those of its fibers that have none.
    pub fn name(self, name: impl Into<Box<str>>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// How many fibers it may have at once, started or not; its children have their own.
    pub fn fibers_max(mut self, fibers: usize) -> Self {
        self.limits.fibers = fibers;
        self
    }

    /// How many ids it may have at once: connections, listeners and the like.
    pub fn ids_max(mut self, ids: usize) -> Self {
        self.limits.ids = ids;
        self
    }

    /// How many bytes of stacks its fibers may have at once.
    pub fn stack_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.stack_bytes = bytes;
        self
    }

    /// How many bytes its fibers may have allocated and not freed. When it has more it is
    /// cancelled, for [`HEAP_LIMIT`](fiber_core::process::HEAP_LIMIT), once the fiber that went
    /// over it has let others run: no allocation fails. Needs a
    /// [`CountingAllocator`](fiber_core::process::CountingAllocator).
    pub fn heap_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.heap_bytes = bytes;
        self
    }

    /// How large a stack its main fiber gets.
    pub fn stack(self, stack: StackClass) -> Self {
        Self {
            stack: Some(stack),
            ..self
        }
    }

    /// Which fibers its main fiber goes before.
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// How long its fibers have to unwind when it is cancelled, five seconds by default. Then it
    /// is killed; and after as long again, but five seconds at the most, what has not ended is
    /// abandoned.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    pub(super) fn grace_at_least(self, grace: Duration) -> Self {
        Self {
            grace: self.grace.max(grace),
            ..self
        }
    }

    /// When it is cancelled its children are not: its main function ends them in its own order.
    pub(super) fn stops_children(self) -> Self {
        Self {
            stops_children: true,
            ..self
        }
    }

    /// Links it to the process that starts it, see [`Process::link`], before it runs: there is no
    /// moment at which it could end unseen. In the runtime's first process, which has no links,
    /// starting it is an error.
    pub fn linked(self) -> Self {
        Self {
            linked: true,
            ..self
        }
    }

    /// What becomes of it when one of its fibers uses an id that is refused; by default that is
    /// told the error, and nothing else happens.
    pub fn on_stale(self, on_stale: OnStale) -> Self {
        Self { on_stale, ..self }
    }

    /// Starts the process: `main` runs on its first fiber, and it ends with that. What it has left
    /// by then, fibers, ids and children, is ended, too.
    ///
    /// # Errors
    /// Outside of a fiber; at the limit of ids; with a limit of heap bytes that nobody counts; in
    /// the first process of a runtime that [shuts down](crate::Runtime::shut_down).
    #[track_caller]
    pub fn spawn<F, T>(mut self, main: F) -> Result<ProcessHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spawned_at = Location::caller();
        let runtime = Runtime::current().ok_or(SpawnError::NoRuntime)?;
        if self.limits.heap_bytes < usize::MAX && !is_heap_counted() {
            return Err(SpawnError::HeapNotCounted);
        }
        let (process, first) = self.make(&runtime)?;
        let told = Arc::clone(process.record()) as Arc<dyn ExitWatcher>;
        let fiber = FiberBuilder::of_process(self.stack, first).priority(self.priority);
        let fiber = fiber.watched_by(told);
        // It stays where it starts, and a process lives long: where there is room, not just here.
        // SAFETY: the closure and its value may move between threads and borrow nothing (I-11).
        let main = unsafe { fiber.launch(main, Placement::Spread, spawned_at) }?;
        Ok(ProcessHandle { process, main })
    }

    fn make(&mut self, runtime: &Runtime) -> Result<(Process, Membership), SpawnError> {
        let shared = runtime.shared_arc();
        let parent = Context::with(|context| context.and_then(Context::process));
        let parent = parent.map(Process::from_record);
        if self.linked && parent.is_none() {
            return Err(NoProcess.into());
        }
        let is_late = || parent.is_none() && shared.is_shutting_down();
        if is_late() {
            return Err(SpawnError::ShuttingDown);
        }
        let mut life = Life::new(Arc::clone(shared), parent.clone());
        life.grace = self.grace;
        life.on_stale = self.on_stale;
        life.stops_children = self.stops_children;
        let workers = shared.lanes.len();
        let (record, first) = Record::new(self.name.take(), self.limits, workers, Box::new(life));
        let named = Context::with(|context| {
            let context = context.ok_or(SpawnError::NoRuntime)?;
            context.name_process(&record).map_err(SpawnError::Ids)
        });
        named?;
        let process = Process::from_record(record);
        process.siblings().add(&process);
        if let (true, Some(parent)) = (self.linked, &parent) {
            parent.link_to(&process);
        }
        // The parent's death tells those children that it finds: it was before, or finds this one.
        // So does a shutdown.
        if is_late() {
            process.cancel(SHUTDOWN);
        }
        if let Some(parent) = parent
            && parent.is_ending()
        {
            process.begin_to_end(parent.record().stage(), &parent.record().reason());
        }
        Ok((process, first))
    }
}

/// A process that one has made, and the value that its main function gives. Dropping it changes
/// nothing for the process.
pub struct ProcessHandle<T> {
    process: Process,
    main: JoinHandle<T>,
}

impl<T> ProcessHandle<T> {
    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its id.
    pub fn id(&self) -> Id {
        self.process.id()
    }

    /// Waits until the process has ended, with all that it had; gives the value of its main
    /// function.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; the process goes on.
    ///
    /// # Errors
    /// How it has ended, if not by returning.
    pub fn join(mut self) -> Result<T, Arc<Exit>> {
        let exit = perform(self.process.end_operation());
        // Not waited for: one that comes to no suspension point may still run.
        match self.main.try_join() {
            Some(Ok(value)) if exit.end == End::Returned => Ok(value),
            _ => Err(exit),
        }
    }

    /// Cancels the process, see [`Process::cancel`].
    pub fn cancel(&self, reason: impl Into<Reason>) {
        self.process.cancel(reason);
    }

    /// Kills the process, see [`Process::kill`].
    pub fn kill(&self, reason: impl Into<Reason>) {
        self.process.kill(reason);
    }
}

impl<T> fmt::Debug for ProcessHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProcessHandle").field(&self.process).finish()
    }
}

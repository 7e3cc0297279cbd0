//! A handle to a runtime that runs.

use alloc::sync::Arc;
use core::{fmt, panic::Location};

use fiber_core::{context::Context, env::SharedEnv, fiber::JoinHandle};

use crate::{
    builder::Builder, error::SpawnError, local::Local, process::Process, shared::Shared,
    spawn::Builder as FiberBuilder, stats::Stats,
};

/// Runs fibers on an injected world.
///
/// [`Runtime::builder`] is where a program begins. A value of this type is a handle to a runtime
/// that runs: any thread may have one, to spawn fibers there and to look at it.
///
/// ```
/// # fn main() -> Result<(), fiber_sched::RunError> {
/// # let env = fiber_core::script::ScriptEnv::new();
/// use fiber_sched::Runtime;
///
/// let answer = Runtime::builder(env).run(|| {
///     let child = fiber_sched::spawn(|| 6 * 7);
///     let stats = Runtime::current().expect("this is a fiber").stats();
///     assert_eq!(stats.live, 2);
///     child.join().expect("it does not panic")
/// })?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

impl Runtime {
    /// A runtime on this world, to be configured.
    pub fn builder(env: SharedEnv) -> Builder {
        Builder::new(env)
    }

    /// The runtime that the caller runs in; `None` on a thread that is no worker.
    pub fn current() -> Option<Self> {
        Context::with(|context| {
            let local = context?.schedule().as_any().downcast_ref::<Local>()?;
            Some(Self {
                shared: Arc::clone(&local.shared),
            })
        })
    }

    /// A handler of a scope was unwound, on the calling worker.
    pub(crate) fn count_overdue_handler() {
        Context::with(|context| {
            let context = context.expect("handlers run on fibers");
            if let Some(local) = context.schedule().as_any().downcast_ref::<Local>() {
                local.lane.counters.handlers_overdue.add(1);
            }
        });
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn is(&self, context: &Context) -> bool {
        self.shared.runs(context)
    }

    pub(crate) fn shared_arc(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Starts a fiber of this runtime from any thread, see [`spawn`](crate::spawn()).
    ///
    /// # Errors
    /// When the run is over, or its fibers are being cancelled: [`SpawnError::Ended`].
    #[track_caller]
    pub fn spawn<F, T>(&self, body: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        FiberBuilder::new().spawn_at(self, body, Location::caller())
    }

    /// The runtime in numbers.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.shared)
    }

    /// How many workers share their work, and how many are dedicated.
    pub fn workers(&self) -> (usize, usize) {
        let sharing = self.shared.sharing().len();
        (sharing, self.shared.lanes.len() - sharing)
    }

    /// The process that is registered under this name, see [`register`](crate::register).
    pub fn whereis(&self, name: &str) -> Option<Process> {
        self.shared.whereis(name)
    }

    /// The world that it runs in.
    pub fn env(&self) -> &SharedEnv {
        &self.shared.env
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.workers())
            .field("live", &self.shared.live())
            .finish_non_exhaustive()
    }
}

/// Whether the caller runs inside of a runtime.
pub fn is_running() -> bool {
    Context::with(|context| context.is_some())
}

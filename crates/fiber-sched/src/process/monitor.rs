//! Being told of the end of a process, from one side.

use alloc::sync::Arc;
use core::{fmt, time::Duration};

use fiber_core::{
    Id,
    operation::{Latch, Operation, perform, try_perform},
    timeout::Elapsed,
};

use super::{
    Process,
    end::{End, Exit, ExitReport},
};

/// Watches a process, and tells how it has ended. Dropping it ends that; it changes nothing for the
/// process, and it costs the process nothing.
///
/// What it tells it tells as often as it is asked, to any fiber and any thread. As Erlang's
/// monitors, but a value and no message: it is waited for where it is wanted, alone or as one arm
/// of a choice.
///
/// ```
/// # fn main() -> Result<(), fiber_sched::RunError> {
/// # let env = fiber_core::script::ScriptEnv::new();
/// use fiber_sched::{End, Monitor, Process, Runtime};
///
/// Runtime::builder(env).run(|| {
///     let id = Process::builder().spawn(|| ()).unwrap().id();
///     let monitor = Monitor::of(id);
///     assert_eq!(monitor.wait().end, End::Returned);
///     // It is gone by now, and forgotten.
///     assert_eq!(Monitor::of(id).wait().end, End::Unknown);
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Monitor(Watched);

#[derive(Clone)]
enum Watched {
    Process(Process),
    Unknown(Arc<Gone>),
}

/// One of which nothing is known.
struct Gone {
    exit: Arc<Exit>,
    /// Open.
    ended: Latch,
}

impl Monitor {
    /// Watches the process of this id. If there is none any more it tells so at once:
    /// [`End::Unknown`]. There is no moment in between at which an end would be missed.
    pub fn of(id: Id) -> Self {
        Self(match Process::of_id(id) {
            Ok(process) => Watched::Process(process),
            Err(_) => Watched::Unknown(Arc::new(Gone::new(id))),
        })
    }

    /// The id of the process.
    pub fn id(&self) -> Id {
        match &self.0 {
            Watched::Process(process) => process.id(),
            Watched::Unknown(gone) => gone.exit.process,
        }
    }

    /// Waits until the process has ended, with all that it had, and says how.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds.
    pub fn wait(&self) -> Arc<Exit> {
        perform(self.wait_operation())
    }

    /// How it has ended, if it has. Never suspends.
    pub fn try_wait(&self) -> Option<Arc<Exit>> {
        try_perform(self.wait_operation()).ok()
    }

    /// [`Monitor::wait`] for `span` at the most.
    ///
    /// # Errors
    /// When it has not ended in time.
    pub fn wait_timeout(&self, span: Duration) -> Result<Arc<Exit>, Elapsed> {
        self.wait_operation().perform_timeout(span)
    }

    /// [`Monitor::wait`], as an operation.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn wait_operation(&self) -> impl Operation<Output = Arc<Exit>> + '_ {
        let ended = match &self.0 {
            Watched::Process(process) => &process.life().ended,
            Watched::Unknown(gone) => &gone.ended,
        };
        let operation = ended.wait_operation("the end of a process");
        operation.wrap(|()| match &self.0 {
            Watched::Process(process) => process.exit(),
            Watched::Unknown(gone) => Arc::clone(&gone.exit),
        })
    }
}

impl Gone {
    fn new(id: Id) -> Self {
        let ended = Latch::new();
        ended.open();
        let exit = Arc::new(Exit {
            process: id,
            name: None,
            end: End::Unknown,
            report: ExitReport::default(),
        });
        Self { exit, ended }
    }
}

impl Process {
    /// Watches it, see [`Monitor`].
    pub fn monitor(&self) -> Monitor {
        Monitor(Watched::Process(self.clone()))
    }

    /// How it has ended, which it has.
    pub(super) fn exit(&self) -> Arc<Exit> {
        let exit = self.life().exit.lock().clone();
        exit.expect("written before anybody is told")
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Monitor").field(&self.id()).finish()
    }
}

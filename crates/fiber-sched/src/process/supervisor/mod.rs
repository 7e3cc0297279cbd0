//! Supervisors: processes that start others, and start them again when they end as they should not.
//!
//! Read in this order: `child` (what there is to say about one), `builder` (making a supervisor),
//! `state` (what it does), `intensity` (when it gives up), `command` (what it can be asked).

mod builder;
mod child;
mod command;
mod intensity;
mod state;

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use fiber_core::operation::always;

pub(super) use self::command::Commands;
use self::command::{Answer, COMMANDS_MAX, Command};
pub use self::{
    builder::{Strategy, SupervisorBuilder},
    child::{ChildSpec, Outcome, Restart, Shutdown, Started},
    command::{ChildCounts, ChildError, ChildInfo, ChildKey},
};
use super::{Exit, Process, SHUTDOWN};
use crate::error::SpawnError;

/// A supervisor that runs. A value of this type is a handle; dropping it changes nothing.
///
/// A supervisor is a process, and its children are its child processes: whatever becomes of it,
/// they end with it. It starts them in order, ends them in the reverse order, one after another,
/// and starts those again that end as they should not, see [`Restart`] and [`Strategy`]. A child
/// is started again when the old one's death is complete: its ports can be bound, its name taken.
///
/// It does what OTP's supervisors do, with these differences:
/// - when the intensity is exceeded it ends as [`End::Failed`](crate::End::Failed), not as shut
///   down: so also a transient one is started again by the supervisor above it;
/// - it is linked to whoever starts it only if [`SupervisorBuilder::linked`] says so: it is owned
///   anyway, and ends with its owner;
/// - there are no significant children, and no automatic shutdown.
///
/// ```
/// # fn main() -> Result<(), fiber_sched::RunError> {
/// # let env = fiber_core::script::ScriptEnv::new();
/// use fiber_sched::{Runtime, park, supervisor::{ChildSpec, Restart, Strategy, Supervisor}};
///
/// Runtime::builder(env).run(|| {
///     let supervisor = Supervisor::builder()
///         .strategy(Strategy::RestForOne)
///         .child(ChildSpec::new("ledger", park))
///         .child(ChildSpec::new("clerk", park).restart(Restart::Transient))
///         .start()
///         .expect("both start");
///     let ledger = supervisor.which_children().unwrap()[0].process.clone().unwrap();
///     ledger.kill("for the sake of the example");
///     ledger.monitor().wait();
///     // Both are started again.
///     supervisor.shut_down();
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Supervisor {
    process: Process,
    commands: Arc<Commands>,
}

/// Why a child or a supervisor was not started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There may be no new process.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It has ended before it had started.
    #[error("it has ended before it had started: {0}")]
    Ended(Arc<Exit>),
    /// The supervisor was cancelled meanwhile.
    #[error("the supervisor was cancelled")]
    Cancelled,
}

impl Supervisor {
    /// A supervisor, to be configured.
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder::new()
    }

    /// The supervisor that this process is; `None` if it is none, or has not begun to be.
    pub fn of(process: &Process) -> Option<Self> {
        let commands = process.life().rare(|rare| rare.commands.clone());
        Some(Self {
            process: process.clone(),
            commands: commands?,
        })
    }

    /// Its process, to be watched, cancelled or killed.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Adds a child behind the others, and starts it.
    ///
    /// # Suspends
    /// As all that asks the supervisor: until it has done this, and what it was asked before.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; what it has asked for is done or not.
    ///
    /// # Errors
    /// When it has one of that name, unless it is [`Strategy::Dynamic`]. When the child was not
    /// started: then it is not added.
    pub fn start_child(&self, child: ChildSpec) -> Result<Process, ChildError> {
        self.ask(|answer| Command::Start(child, answer))
    }

    /// Ends a child, which is not started again, and waits until it has ended. Its specification
    /// stays, unless it is temporary or the strategy is [`Strategy::Dynamic`].
    ///
    /// # Errors
    /// When there is none. One that does not run is as good as ended.
    pub fn terminate_child(&self, child: impl Into<ChildKey>) -> Result<(), ChildError> {
        self.ask(|answer| Command::Terminate(child.into(), answer))
    }

    /// Starts a child that does not run, by its name.
    ///
    /// # Errors
    /// When there is none, it runs, or was not started.
    pub fn restart_child(&self, child: impl Into<ChildKey>) -> Result<Process, ChildError> {
        self.ask(|answer| Command::Restart(child.into(), answer))
    }

    /// Forgets a child that does not run, by its name.
    ///
    /// # Errors
    /// When there is none, or it runs.
    pub fn delete_child(&self, child: impl Into<ChildKey>) -> Result<(), ChildError> {
        self.ask(|answer| Command::Delete(child.into(), answer))
    }

    /// Its children, in their order.
    ///
    /// # Errors
    /// When it cannot answer.
    pub fn which_children(&self) -> Result<Vec<ChildInfo>, ChildError> {
        self.ask(Command::Which)
    }

    /// How many children it has.
    ///
    /// # Errors
    /// When it cannot answer.
    pub fn count_children(&self) -> Result<ChildCounts, ChildError> {
        let children = self.which_children()?;
        let supervisors = children.iter().filter(|child| child.is_supervisor);
        let supervisors = supervisors.count();
        Ok(ChildCounts {
            specs: children.len(),
            active: children
                .iter()
                .filter(|child| child.process.is_some())
                .count(),
            supervisors,
            workers: children.len() - supervisors,
        })
    }

    /// Ends it, and its children before it, in the reverse order; waits until it has ended.
    ///
    /// # Suspends
    /// Until then.
    pub fn shut_down(&self) -> Arc<Exit> {
        self.process.cancel(SHUTDOWN);
        self.process.monitor().wait()
    }

    fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, ChildError> {
        let mut refused = false;
        let answer = self.process.call(Duration::MAX, |answer| {
            let put = self.commands.push_below(COMMANDS_MAX, command(answer));
            refused = put.is_err();
            always(())
        });
        match answer {
            Ok(answer) => answer,
            Err(_) if refused => Err(ChildError::Busy),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Supervisor").field(&self.process).finish()
    }
}

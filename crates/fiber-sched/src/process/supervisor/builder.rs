//! Making supervisors.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

use fiber_core::{
    operation::{Either, Operation, perform},
    park::{checkpoint, mask},
};

use super::{
    ChildSpec, StartError, Supervisor, command::Commands, intensity::Intensity, state::State,
};
use crate::process::{Process, ProcessBuilder, call::Reply, fail_now};

/// Which children are started again when one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are in OTP")]
pub enum Strategy {
    /// That one.
    OneForOne,
    /// All: the others are made to end first, the youngest first.
    OneForAll,
    /// That one and those that were added after it: they are made to end first, the youngest first.
    RestForOne,
    /// That one; children come and go, like connections. They need not have different names, are
    /// forgotten when they have ended and are not started again, and are made to end all at once.
    /// As OTP's `simple_one_for_one`, but each has a specification of its own.
    Dynamic,
}

/// A supervisor's configuration.
#[derive(Clone, Debug)]
#[must_use = "a supervisor starts when `start` is called"]
pub struct SupervisorBuilder {
    name: Box<str>,
    strategy: Strategy,
    intensity: usize,
    period: Duration,
    children: Vec<ChildSpec>,
    linked: bool,
}

impl SupervisorBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: "supervisor".into(),
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: Duration::from_secs(5),
            children: Vec::new(),
            linked: false,
        }
    }

    /// A name for reports.
    pub fn name(self, name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Which children are started again when one has ended: that one, by default.
    pub fn strategy(self, strategy: Strategy) -> Self {
        Self { strategy, ..self }
    }

    /// How many restarts there may be within the period, one by default; with one more the
    /// supervisor ends its children, and fails.
    pub fn intensity(self, restarts: usize) -> Self {
        Self {
            intensity: restarts,
            ..self
        }
    }

    /// The period of the intensity, five seconds by default.
    pub fn period(self, period: Duration) -> Self {
        Self { period, ..self }
    }

    /// One more child. They start in this order, each when the one before it has started.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Links it to the process that starts it, see [`ProcessBuilder::linked`].
    pub fn linked(self) -> Self {
        Self {
            linked: true,
            ..self
        }
    }

    /// Starts the supervisor, a process of its own, and waits until its children have started.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; the supervisor goes on.
    ///
    /// # Errors
    /// When its process cannot be started. When one of its children was not: then those before it
    /// were made to end, and so has the supervisor, as [`StartError::Ended`] says.
    #[track_caller]
    pub fn start(self) -> Result<Supervisor, StartError> {
        let process = ProcessBuilder::new()
            .name(self.name.clone())
            .grace_at_least(Duration::MAX)
            .stops_children();
        let process = match self.linked {
            true => process.linked(),
            false => process,
        };
        let (reply, awaited) = Reply::new();
        let handle = process.spawn(move || {
            let started = |commands: &Arc<Commands>| {
                // Who has started it may have gone.
                let _ = reply.send(Arc::clone(commands));
            };
            if let Err(why) = self.supervise(started) {
                fail_now(why);
            }
        })?;
        let process = handle.process().clone();
        let started = perform(awaited.operation().or(process.end_operation()));
        let commands = match started {
            Either::First(Some(commands)) => commands,
            Either::First(None) => return Err(StartError::Ended(process.monitor().wait())),
            // It may have started before.
            Either::Second(exit) => awaited.taken().ok_or(StartError::Ended(exit))?,
        };
        Ok(Supervisor { process, commands })
    }

    /// Supervises, in the calling fiber's process, until that is cancelled. Its children have ended
    /// by then.
    pub(super) fn supervise(self, started: impl FnOnce(&Arc<Commands>)) -> Result<(), Arc<str>> {
        let this = Process::current().expect("a supervisor runs in a process of its own");
        let commands = Arc::new(Commands::new());
        this.life()
            .with_rare(|rare| rare.commands = Some(Arc::clone(&commands)));
        let intensity = Intensity::new(self.intensity, self.period);
        let mut state = State::new(this, self.strategy, intensity);
        let ended = mask(|| {
            let ended = state.serve(self.children, &commands, started);
            state.stop_all();
            ended
        });
        // If it was cancelled this is how it ends.
        checkpoint();
        ended.map_err(Into::into)
    }
}

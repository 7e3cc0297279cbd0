//! What a supervisor knows of a child before it starts it.

use alloc::{string::ToString, sync::Arc};
use core::{fmt, time::Duration};

use super::builder::SupervisorBuilder;
use crate::process::{ProcessBuilder, Reply};

/// When a child that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are in OTP")]
pub enum Restart {
    /// Always.
    Permanent,
    /// When it has ended in a way in which it was not meant to, see
    /// [`End::is_normal`](crate::End::is_normal).
    Transient,
    /// Never; its specification goes with it.
    Temporary,
}

/// How a child is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are in OTP")]
pub enum Shutdown {
    /// It is killed.
    Brutal,
    /// It is cancelled for [`SHUTDOWN`](crate::SHUTDOWN), and killed after this time.
    Timeout(Duration),
    /// It is cancelled for [`SHUTDOWN`](crate::SHUTDOWN), and has all the time it needs.
    Infinity,
}

/// How a child is started, when it is started again, and how it is made to end.
///
/// ```
/// use std::time::Duration;
///
/// use fiber_sched::supervisor::{ChildSpec, Restart, Shutdown};
///
/// let ledger = ChildSpec::new("ledger", || std::fs::read("ledger").map(drop))
///     .restart(Restart::Transient)
///     .shutdown(Shutdown::Timeout(Duration::from_secs(1)));
/// # let _ = ledger;
/// ```
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) name: Arc<str>,
    pub(super) main: Arc<Main>,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) process: ProcessBuilder,
    pub(super) tells: bool,
    pub(super) supervises: bool,
}

/// A child's main function.
type Main = dyn Fn(Started) -> Result<(), Arc<str>> + Send + Sync;

impl ChildSpec {
    /// A child that runs `main`, again each time that it is started. It counts as started at once,
    /// and an error that it returns is a failure, [`End::Failed`](crate::End::Failed).
    ///
    /// If nothing else is said it is permanent, and has five seconds to end.
    pub fn new<F, R>(name: &str, main: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Outcome,
    {
        Self::made(name, false, move |_| main().into_result())
    }

    /// A child that says itself when it has started: those behind it wait until it does, as they do
    /// for the init function of an OTP behaviour. If it ends before, it has not started.
    pub fn starting<F, R>(name: &str, main: F) -> Self
    where
        F: Fn(Started) -> R + Send + Sync + 'static,
        R: Outcome,
    {
        Self::made(name, true, move |started| main(started).into_result())
    }

    /// A child that is a supervisor itself. It has started when its children have, and has all the
    /// time that it needs to end.
    pub fn supervisor(name: &str, supervisor: SupervisorBuilder) -> Self {
        let main = move |started: Started| {
            let supervisor = supervisor.clone();
            supervisor.supervise(|_| started.tell())
        };
        Self {
            shutdown: Shutdown::Infinity,
            supervises: true,
            ..Self::made(name, true, main)
        }
    }

    fn made(
        name: &str,
        tells: bool,
        main: impl Fn(Started) -> Result<(), Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            main: Arc::new(main),
            restart: Restart::Permanent,
            shutdown: Shutdown::Timeout(Duration::from_secs(5)),
            process: ProcessBuilder::new(),
            tells,
            supervises: false,
        }
    }

    /// When it is started again.
    #[must_use]
    pub fn restart(self, restart: Restart) -> Self {
        Self { restart, ..self }
    }

    /// How it is made to end.
    #[must_use]
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        Self { shutdown, ..self }
    }

    /// Its limits and its stack. The name, the link and, where `shutdown` says more, the grace are
    /// the supervisor's.
    #[must_use]
    pub fn process(self, process: ProcessBuilder) -> Self {
        Self { process, ..self }
    }

    /// Its process, to be started.
    pub(super) fn builder(&self) -> ProcessBuilder {
        let process = self.process.clone().name(&*self.name).linked();
        let process = match self.shutdown {
            Shutdown::Brutal => process,
            Shutdown::Timeout(span) => process.grace_at_least(span),
            Shutdown::Infinity => process.grace_at_least(Duration::MAX),
        };
        match self.supervises {
            true => process.stops_children(),
            false => process,
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .finish_non_exhaustive()
    }
}

/// Says that a child has started. Who drops it instead has not, and is expected to end.
#[derive(Debug)]
#[must_use = "its supervisor waits for it"]
pub struct Started(pub(super) Option<Reply<()>>);

impl Started {
    /// The child has started.
    pub fn tell(self) {
        if let Some(reply) = self.0 {
            // A supervisor that ends waits no longer.
            let _ = reply.send(());
        }
    }
}

/// What a child's main function gives: nothing, or perhaps an error.
pub trait Outcome {
    /// What it comes to.
    ///
    /// # Errors
    /// Why it has failed.
    fn into_result(self) -> Result<(), Arc<str>>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), Arc<str>> {
        Ok(())
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), Arc<str>> {
        self.map_err(|error| error.to_string().into())
    }
}

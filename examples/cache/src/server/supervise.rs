//! What keeps those parts of the server alive that no client is served by.

use alloc::sync::Arc;
use core::time::Duration;

use fiber::{
    Exit, Priority, Process,
    io::{Error, TcpListener},
    supervisor::{ChildSpec, Restart, StartError, Supervisor},
};

use super::{acceptor::Acceptor, admin};

/// So many ends within [`PERIOD`] are met with a new start; one more, and the server ends: what
/// fails at once each time needs an operator.
const RESTARTS_MAX: usize = 5;

const PERIOD: Duration = Duration::from_secs(10);

/// Why a server does not go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It cannot be started.
    #[error("cannot start a part of the server: {0}")]
    Start(#[from] StartError),
    /// Signals do not come any more.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] Error),
    /// The supervisor has given up, or somebody has killed it.
    #[error("a part of the server has ended for good: {0}")]
    GivenUp(Arc<Exit>),
}

/// Starts the acceptor, and what serves operators, and starts each again when it is killed,
/// cancelled, panics or fails. The supervisor is a child of the caller's process.
pub(super) fn supervise(
    acceptor: Acceptor,
    operators: Option<TcpListener>,
) -> Result<Supervisor, Failure> {
    // Before the connections: with thousands of them at work, a newcomer would else wait until
    // each has had its turn.
    let acceptor = ChildSpec::new("acceptor", move || acceptor.accept())
        .process(Process::builder().priority(Priority::High))
        .restart(Restart::Transient);
    let mut supervisor = Supervisor::builder()
        .name("supervisor")
        .intensity(RESTARTS_MAX)
        .period(PERIOD)
        .child(acceptor);
    if let Some(listener) = operators {
        let admin = ChildSpec::new("admin", move || admin::accept(&listener))
            .process(admin::limits())
            .restart(Restart::Transient);
        supervisor = supervisor.child(admin);
    }
    Ok(supervisor.start()?)
}

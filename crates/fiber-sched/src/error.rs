//! How a run can fail.

use fiber_core::{
    env::{EnvError, HostFault},
    fiber::{ExitReason, PanicPayload, Reason},
    registry::Full,
};

use crate::report::AllAsleep;

/// Why [`Builder::run`](crate::Builder::run) gives no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The host could not be started.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A host's port broke while the runtime ran.
    #[error(transparent)]
    Host(#[from] HostFault),
    /// The main fiber panicked.
    #[error("the main fiber panicked: {0}")]
    Panicked(PanicPayload),
    /// The main fiber was cancelled.
    #[error("the main fiber was cancelled: {0}")]
    Cancelled(Reason),
    /// The main fiber could not be started.
    #[error("the main fiber was not started: {0}")]
    NotStarted(ExitReason),
    /// Every fiber waits, and nothing is left that could wake one.
    #[error("{0}")]
    AllAsleep(AllAsleep),
    /// There are no ids left to name the process with.
    #[error(transparent)]
    NoIds(#[from] Full),
}

impl From<ExitReason> for RunError {
    fn from(reason: ExitReason) -> Self {
        match reason {
            ExitReason::Panicked(payload) => Self::Panicked(payload),
            ExitReason::Cancelled(reason) => Self::Cancelled(reason),
            reason => Self::NotStarted(reason),
        }
    }
}

/// What ended a run from below; the first one is kept.
#[derive(Debug)]
pub(crate) enum RunFault {
    Env(EnvError),
    Host(HostFault),
    AllAsleep,
}

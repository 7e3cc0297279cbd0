//! How a run can fail, and why there may be no new fiber.

use fiber_core::{
    env::{EnvError, HostFault, WorkerId},
    fiber::{ExitReason, PanicPayload, Reason},
    process::{LimitReached, Refused},
    registry::Full,
};

use crate::{process::NoProcess, report::AllAsleep};

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

/// Why a fiber was not spawned. Its closure was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no runtime to spawn on.
    #[error("no runtime on this thread: spawn inside of `Runtime::run`, or through a `Runtime`")]
    NoRuntime,
    /// The run is over, or its fibers are being cancelled.
    #[error("the runtime has ended: its main fiber has returned")]
    Ended,
    /// There is no worker of this number.
    #[error("there is no worker {}: this runtime has {workers}, from 0", worker.0)]
    NoSuchWorker {
        /// Which one was asked for.
        worker: WorkerId,
        /// How many there are, dedicated ones included.
        workers: usize,
    },
    /// The builder says where the fiber is to live, and so does the call.
    #[error(
        "`worker` and `dedicated` choose where a fiber lives, and so does `{call}`: use `spawn`"
    )]
    TwoPlaces {
        /// The call.
        call: &'static str,
    },
    /// The process is at one of its limits.
    #[error("{0}: let some end, or raise the limit where the process is built")]
    Limit(LimitReached),
    /// The process has ended.
    #[error("the process has ended")]
    ProcessEnded,
    /// The runtime ends its processes, and its first one makes no more of them.
    #[error("the runtime shuts down: no process is started any more beside those that end")]
    ShuttingDown,
    /// It was to be linked, and the caller is in the runtime's first process.
    #[error(transparent)]
    NoProcess(#[from] NoProcess),
    /// The process is to have a limit of heap bytes, which nobody counts.
    #[error("nobody counts heap bytes: make a `CountingAllocator` the `#[global_allocator]`")]
    HeapNotCounted,
    /// There is no id left for a process.
    #[error(transparent)]
    Ids(Full),
    /// Every dedicated worker has its fiber.
    #[error(
        "none of {dedicated} dedicated workers is free: raise the runtime's `Builder::dedicated`"
    )]
    NoDedicatedWorker {
        /// How many there are.
        dedicated: usize,
    },
}

impl From<Refused> for SpawnError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Ended => Self::ProcessEnded,
            Refused::Limit(limit) => Self::Limit(limit),
        }
    }
}

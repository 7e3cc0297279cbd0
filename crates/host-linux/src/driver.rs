//! Which of the two ports stands behind the host, and why.
//!
//! Whether io_uring works here as we need it is found out once in the life of the process, by
//! using it: never by comparing versions, which say nothing about patched or restricted kernels.
//!
//! ```text
//! wanted   │ ring works   │ ring refused      │ out of descriptors
//! ─────────┼──────────────┼───────────────────┼───────────────────
//! ring     │ ring         │ error, why        │ error
//! auto     │ ring         │ poll, why         │ error
//! poll     │ poll         │ poll              │ poll
//! ```

extern crate alloc;

use alloc::boxed::Box;

use fiber_core::{
    env::{Caps, EnvError, Port},
    request::RequestKind,
};

use crate::{
    config::{Config, Io},
    poll,
    ring::{self, Refusal, RingPort, RingSetup},
    unwind,
};

const KINDS: [RequestKind; 19] = [
    RequestKind::Nop,
    RequestKind::Ready,
    RequestKind::Recv,
    RequestKind::Send,
    RequestKind::RecvVectored,
    RequestKind::SendVectored,
    RequestKind::Accept,
    RequestKind::Connect,
    RequestKind::Listen,
    RequestKind::Shutdown,
    RequestKind::Duplicate,
    RequestKind::Address,
    RequestKind::SetOption,
    RequestKind::ReadOption,
    RequestKind::OpenSignals,
    RequestKind::RaiseSignal,
    RequestKind::Close,
    RequestKind::Cancel,
    RequestKind::CancelAllOn,
];

/// The choice.
#[derive(Debug)]
pub(crate) enum Driver {
    /// io_uring.
    Ring(RingSetup),
    /// epoll, and why not io_uring.
    Poll { reason: &'static str },
}

impl Driver {
    pub(crate) fn choose(config: &Config) -> Result<Self, EnvError> {
        match config.wanted()? {
            Io::Poll => Ok(Self::poll("chosen by the program or the environment")),
            Io::Ring => Self::ring(config).map_err(|refusal| refusal.error()),
            Io::Auto => Self::ring(config).or_else(|refusal| match refusal {
                Refusal::Descriptors { .. } => Err(refusal.error()),
                Refusal::Unavailable { .. } => Ok(Self::poll(refusal.reason())),
            }),
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Ring(_) => "ring",
            Self::Poll { .. } => "poll",
        }
    }

    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Ring(setup) => setup.reason(),
            Self::Poll { reason } => reason,
        }
    }

    pub(crate) fn caps(&self) -> Caps {
        let mut caps = Caps::new(&KINDS);
        caps.parallel = true;
        caps.unwind = unwind::CAN_UNWIND;
        caps.aside = host_std::works();
        caps.lossless_cancel = match self {
            Self::Ring(setup) => setup.lossless_cancel,
            // A request that still waits has not touched anything yet.
            Self::Poll { .. } => true,
        };
        caps
    }

    pub(crate) fn open_port(&self) -> Result<Box<dyn Port>, EnvError> {
        match self {
            Self::Ring(setup) => Ok(Box::new(RingPort::open(setup)?)),
            Self::Poll { .. } => Ok(Box::new(poll::open()?)),
        }
    }

    fn ring(config: &Config) -> Result<Self, Refusal> {
        let found = ring::probe()?;
        Ok(Self::Ring(RingSetup {
            sq_entries: config.sq_entries,
            cq_entries: config.cq_entries,
            ..found
        }))
    }

    fn poll(reason: &'static str) -> Self {
        Self::Poll { reason }
    }
}

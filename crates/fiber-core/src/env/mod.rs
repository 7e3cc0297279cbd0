//! The injected world.
//!
//! Everything that the core does to the world is *requests out, completions in*, once per
//! scheduler turn, through one [`Port`] a worker. The rest of what a host supplies is small and
//! listed here: clocks, entropy, stacks, worker threads, a thread slot, helper threads, unwinding.
//!
//! ```text
//!            fiber-sched, fiber-io, fiber-sync
//!      requests │                     ▲ completions
//!               ▼                     │
//!   Env ── open_port ──▶ Port::turn (one call a turn)
//!    ├ Clock  Entropy  Stacks  Workers  Threads  Offload  Unwind       required slots
//!    ├ watch  trace                                                    where there are threads
//!    └ chooser                                                         simulators only
//! ```
//!
//! A host never calls into the core re-entrantly (I-7): it answers, it posts completions, and it
//! wakes a worker through the [`Unpark`] that the worker's port gave out.

mod chooser;
mod clock;
mod entropy;
mod offload;
mod port;
mod room;
mod stacks;
mod threads;
mod unwind;
mod watch;
mod workers;

use alloc::{boxed::Box, sync::Arc};
use core::fmt;

pub use self::{
    chooser::{Chooser, Site},
    clock::{Clock, Instant, WallTime},
    entropy::Entropy,
    offload::{Job, Offload, OffloadFull},
    port::{
        HostFault, Port, PortConfig, Staged, StagedRequest, TryNow, TurnInfo, Undrained, Unpark,
        Wait,
    },
    room::{Place, PlaceOperation, Room},
    stacks::{ClassStats, StackClass, StackError, StackMemory, StackStats, Stacks},
    threads::{ThreadHooks, Threads},
    unwind::{Backtrace, PanicWatch, Panicking, Payload, Unwind, aside},
    watch::{Frame, Sample, ThreadNumber, Tick, Trace, Watch, Watched, Watching},
    workers::{AfterWork, WorkerId, Workers},
};
use crate::{registry::IdSpace, request::RequestKind};

pub(crate) use self::threads::hooks;

/// The injected world: what a host does for the runtime. Injected once per runtime, shared by all
/// of its workers; every method may be called from any thread unless it says otherwise.
///
/// What a host cannot do is missing from [`Env::caps`] and answers
/// [`IoErrorKind::Unsupported`](crate::IoErrorKind::Unsupported); it never panics.
pub trait Env:
    Clock + Entropy + Stacks + Workers + Threads + Offload + Unwind + Send + Sync
{
    /// Opens the port of one worker.
    ///
    /// *Thread*: called on the worker's own thread, inside [`Workers::run`]; the port is used and
    /// dropped there. A worker has one port at a time; when that one is gone it may open another,
    /// which finds the descriptors that were left open, and none of the requests. *Cost*: system
    /// calls; once per worker and run.
    ///
    /// # Errors
    /// When the host is out of descriptors or memory; the error says what to raise.
    fn open_port(&self, worker: WorkerId, config: &PortConfig) -> Result<Box<dyn Port>, EnvError>;

    /// Which requests exist here and how they behave. Constant for the life of the host; ask
    /// before use. *Cost*: a load.
    fn caps(&self) -> &Caps;

    /// The source of scheduling decisions, in simulators; `None` elsewhere, where the runtime
    /// takes its production order. Constant for the life of the host. *Cost*: a load.
    fn chooser(&self) -> Option<&dyn Chooser> {
        None
    }

    /// How workers are watched from outside; `None` where they are not threads. Constant for the
    /// life of the host.
    fn watch(&self) -> Option<&dyn Watch> {
        None
    }

    /// How backtraces are taken; `None` where they cannot be. Constant for the life of the host.
    fn trace(&self) -> Option<&dyn Trace> {
        None
    }

    /// Where ids of this world are numbered: the whole OS process by default, the simulated world
    /// in a simulator. Constant for the life of the host.
    fn id_space(&self) -> &IdSpace {
        IdSpace::of_process()
    }

    /// Which backend this is and why a fallback was taken, for one log line at start.
    fn describe(&self) -> HostInfo;
}

/// What a host offers, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    kinds: u64,
    /// A cancelled transfer that had not completed moved no byte: `Cancelled` means that nothing
    /// was read or written.
    pub lossless_cancel: bool,
    /// The worlds' fibers can be unwound; `false` in programs built with `panic = "abort"`.
    pub unwind: bool,
    /// While a fiber waits in a destructor and unwinds, the others of its worker do not look as if
    /// they did, see [`Unwind::set_aside`].
    pub aside: bool,
    /// More than one worker can run at the same instant.
    pub parallel: bool,
    /// Nobody outside of a runtime can wake its fibers: when all of them are parked and nothing is
    /// in flight, nothing will ever happen again.
    pub closed_world: bool,
}

impl Caps {
    /// Capabilities with exactly these request kinds; the flags start out `false`.
    pub const fn new(kinds: &[RequestKind]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < kinds.len() {
            bits |= 1 << kinds[index] as u64;
            index += 1;
        }
        Self {
            kinds: bits,
            lossless_cancel: false,
            unwind: false,
            aside: false,
            parallel: false,
            closed_world: false,
        }
    }

    /// The same flags with exactly these request kinds.
    #[must_use]
    pub const fn with_kinds(self, kinds: &[RequestKind]) -> Self {
        Self {
            kinds: Self::new(kinds).kinds,
            ..self
        }
    }

    /// Whether requests of this kind can be staged.
    pub const fn has(&self, kind: RequestKind) -> bool {
        self.kinds & (1 << kind as u64) != 0
    }
}

/// A host's description of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostInfo {
    /// The host crate's name, such as `host-linux`.
    pub host: &'static str,
    /// The driver behind the port, such as `ring`, `poll` or `sim`.
    pub driver: &'static str,
    /// Why this driver: a fallback's reason, or an empty string.
    pub reason: &'static str,
}

impl HostInfo {
    /// A description; see the fields.
    pub const fn new(host: &'static str, driver: &'static str, reason: &'static str) -> Self {
        Self {
            host,
            driver,
            reason,
        }
    }
}

impl fmt::Display for HostInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.host, self.driver)?;
        if self.reason.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.reason)
        }
    }
}

/// Why a host could not start, or could not open a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} failed with error {code}: {remedy}")]
#[non_exhaustive]
pub struct EnvError {
    /// What was tried, such as `io_uring_setup`.
    pub what: &'static str,
    /// The host's own error number; 0 where there is none.
    pub code: i32,
    /// What the reader can do about it.
    pub remedy: &'static str,
}

impl EnvError {
    /// A start-up error; see the fields.
    pub const fn new(what: &'static str, code: i32, remedy: &'static str) -> Self {
        Self { what, code, remedy }
    }
}

/// A shared host.
pub type SharedEnv = Arc<dyn Env>;

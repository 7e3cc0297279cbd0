//! The server: plain blocking code, in processes that end alone.
//!
//! It knows no host: the binary runs it on Linux, the simulation on simulated nodes.
//!
//! ```text
//! operate ── signal ──▶ Drain: closes the listener, wakes who is quiet, waits
//!  └─ serve: a process each ──▶ "conn <peer>": takes the connection, reads, answers, writes
//!      │  ▲ └─ refuse: one fiber for all that are one too many
//!      ▼  └── door ──┐
//!  "supervisor" ─┬─ "acceptor": accepts, gives what comes to the first process
//!                └─ "admin": lists processes, kills them
//! ```
//!
//! Who owns what decides who can take it down. The store and the listener are the first process's,
//! so that an acceptor which is killed loses nothing: the system goes on collecting connections
//! until the next one is there. A connection is its own process's, and that is the acceptor's
//! sibling: it survives the acceptor, and nobody else notices its end. Read in this order:
//! `operate`, `host`, `supervise`, `acceptor`, `connection`, `drain`, `admin`.

mod acceptor;
mod admin;
mod connection;
mod drain;
mod host;
mod operate;
mod supervise;

use core::time::Duration;

pub use self::{
    drain::{Drain, Presence},
    host::{Listeners, REFUSALS_MAX, serve},
    operate::{Ending, SIGNALS, operate},
    supervise::Failure,
};
use crate::{Limits, Seconds, Session};

/// How connections are served.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    limits: Limits,
    idle_timeout: Option<Duration>,
    write_timeout: Duration,
    client: ClientLimits,
    mistake: Mistake,
}

/// What the process of one connection may have; the limits of its requests are in [`Limits`].
///
/// As many as it needs: a mistake in the service of one client cannot use up what others need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three numbers")]
pub struct ClientLimits {
    /// Fibers.
    pub fibers: usize,
    /// Ids: the connection is one.
    pub ids: usize,
    /// Bytes of stacks.
    pub stack_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            fibers: 1,
            ids: 1,
            stack_bytes: host::STACK.bytes(),
        }
    }
}

/// What is wrong with a server on purpose, for the simulation that has to find it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a list for tests")]
pub enum Mistake {
    /// Nothing.
    #[default]
    None,
    /// It answers before the store is updated.
    AnswersEarly,
    /// A drain closes while an answer is under way.
    DrainCutsAnswers,
    /// The time of silence is counted from the connection's start.
    IdleFromTheStart,
    /// Who is closed for a reason, as for being idle, is never counted out.
    ForgetsWhoLeaves,
    /// What was evicted stays counted, until nothing fits any more.
    ForgetsEvicted,
}

impl Mistake {
    /// Every mistake, and none.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::AnswersEarly,
        Self::DrainCutsAnswers,
        Self::IdleFromTheStart,
        Self::ForgetsWhoLeaves,
        Self::ForgetsEvicted,
    ];

    /// The flag that plants it, with a space behind.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::None => "",
            Self::AnswersEarly => "--answers-early ",
            Self::DrainCutsAnswers => "--drain-cuts-answers ",
            Self::IdleFromTheStart => "--idle-from-the-start ",
            Self::ForgetsWhoLeaves => "--forgets-who-leaves ",
            Self::ForgetsEvicted => "--forgets-evicted ",
        }
    }
}

impl Service {
    /// Sessions with these limits, which may be idle for any time and whose clients have a minute
    /// to take a part of an answer.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            idle_timeout: None,
            write_timeout: Duration::from_mins(1),
            client: ClientLimits::default(),
            mistake: Mistake::None,
        }
    }

    /// Closes connections that have been silent for so long; `None` is never.
    #[must_use]
    pub const fn idle_timeout(self, idle_timeout: Option<Duration>) -> Self {
        Self {
            idle_timeout,
            ..self
        }
    }

    /// Closes connections that take no byte of an answer for so long.
    #[must_use]
    pub const fn write_timeout(self, write_timeout: Duration) -> Self {
        Self {
            write_timeout,
            ..self
        }
    }

    /// What the process of one connection may have.
    #[must_use]
    pub const fn client_limits(self, client: ClientLimits) -> Self {
        Self { client, ..self }
    }

    /// Makes a mistake, for the simulation that has to notice.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_mistake(self, mistake: Mistake) -> Self {
        Self { mistake, ..self }
    }

    fn session(self) -> Session {
        if self.mistake == Mistake::AnswersEarly {
            Session::with_planted_mistake(self.limits)
        } else {
            Session::new(self.limits)
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

/// The time of day, as the runtime has it.
#[must_use]
pub fn now() -> Seconds {
    Seconds::from_unix(fiber::time::wall().since_unix().as_secs())
}

//! A worker's door to the host: requests out, completions in, once a turn.

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use super::Instant;
use crate::request::{Completion, Interest, Outcome, Request, Token};

/// A worker's door to the host.
///
/// # Safety
/// Implementors promise, for every request taken by [`Port::turn`]:
/// - memory lent by it is touched only between that `turn` and the delivery of its terminal
///   completion, never afterwards, and not at all once the port was dropped;
/// - it gets exactly one terminal completion, cancelled or not, and nothing after it; requests
///   with [`Token::QUIET`] and the control requests ([`Request::is_control`]) get none;
/// - a descriptor opened for a request is delivered in its terminal completion or closed.
pub unsafe trait Port {
    /// Takes **all** of `staged`, submits it, waits as told, and appends completions to `out`.
    ///
    /// It never refuses a request for want of room: what does not fit the host's queues waits in
    /// the port, in order. Control requests have priority over waiting ones and cannot fail.
    /// Completions are delivered in the order in which they happened. With completions at hand it
    /// does not wait. *Thread*: the worker's. *Cost*: one system call for the whole batch, none
    /// when nothing is staged, nothing completed and `wait` is [`Wait::No`].
    ///
    /// # Errors
    /// Only when the port itself is broken; the runtime then stops, and nothing is lost silently.
    fn turn(
        &mut self,
        staged: &mut Staged,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> Result<TurnInfo, HostFault>;

    /// One attempt at `request` right now, without waiting. Requests of the immediate kinds
    /// ([`Request::is_immediate`]) are always answered here with [`TryNow::Done`].
    ///
    /// # Safety
    /// Memory named by `request` is valid for the length of the call.
    unsafe fn try_now(&mut self, request: &Request) -> TryNow;

    /// The handle that ends this port's wait from any thread, now or at its next wait. It stays
    /// valid, and without effect, after the port is gone. *Cost*: a reference count.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// Cancels everything in flight and delivers the rest of the completions.
    ///
    /// # Errors
    /// When something did not end within `grace`: the caller then leaks the memory that was lent
    /// and must not free it, ever.
    fn drain(&mut self, grace: Duration, out: &mut Vec<Completion>) -> Result<(), Undrained>;
}

/// Ends a port's wait, or a plain thread's.
pub trait Unpark: Send + Sync {
    /// Makes the current wait return, or the next one if there is none.
    ///
    /// *Thread*: any, also a signal handler; wait-free. *Cost*: a system call only when the target
    /// sleeps, else an atomic flag.
    fn unpark(&self);
}

/// How long [`Port::turn`] may wait when no completion is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "hosts match on it; a new wait is a new contract"
)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until a completion, an unpark, or this moment.
    Until(Instant),
    /// Until a completion or an unpark.
    Forever,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it; a new count is a new contract"
)]
pub struct TurnInfo {
    /// Requests handed to the world.
    pub submitted: u32,
    /// Completions appended.
    pub completed: u32,
    /// System calls made.
    pub enters: u32,
}

/// The outcome of one immediate attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "hosts build it; a new answer is a new contract"
)]
pub enum TryNow {
    /// The request is over; this is its result.
    Done(Outcome),
    /// It cannot be done now; it can when the descriptor is ready in this way.
    WouldBlock(Interest),
    /// This host cannot say without waiting: stage it.
    NotPossible,
}

/// What a worker asks of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortConfig {
    /// How many requests the worker will have in flight at the most.
    pub requests_max: u32,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            requests_max: 32_768,
        }
    }
}

impl PortConfig {
    /// The same with another bound of requests in flight.
    #[must_use]
    pub fn requests_max(self, requests_max: u32) -> Self {
        Self {
            requests_max,
            ..self
        }
    }
}

/// A request and the name under which its completion comes back.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StagedRequest {
    /// Chosen by the core; opaque to hosts.
    pub token: Token,
    /// What to do.
    pub request: Request,
}

/// The requests of one turn, in the order in which fibers made them.
///
/// Its bound is the worker's `requests_max` plus its control requests.
#[derive(Debug, Default)]
pub struct Staged {
    queue: Vec<StagedRequest>,
}

impl Staged {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { queue: Vec::new() }
    }

    /// Appends a request.
    ///
    /// # Safety
    /// Memory named by `request` stays valid and untouched by others until the terminal
    /// completion of `token` was delivered. Only a drained request may lose its memory earlier.
    pub unsafe fn push(&mut self, token: Token, request: Request) {
        self.queue.push(StagedRequest { token, request });
    }

    /// Takes all requests, oldest first, keeping the queue's memory.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = StagedRequest> + '_ {
        self.queue.drain(..)
    }

    /// How many are staged.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// A port that no longer works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host's port failed in {what} (error {code}): this worker cannot go on")]
#[non_exhaustive]
pub struct HostFault {
    /// What failed.
    pub what: &'static str,
    /// The host's error number.
    pub code: i32,
}

impl HostFault {
    /// A fault; see the fields.
    pub const fn new(what: &'static str, code: i32) -> Self {
        Self { what, code }
    }
}

/// Requests, or jobs of its helpers, that the host did not give back in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undrained {
    /// How many are still in flight.
    pub requests: usize,
}

impl Undrained {
    /// So many requests are still in flight.
    pub const fn new(requests: usize) -> Self {
        Self { requests }
    }
}

impl fmt::Display for Undrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests did not end within the grace period; their memory is leaked",
            self.requests
        )
    }
}

impl core::error::Error for Undrained {}

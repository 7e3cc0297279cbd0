//! Asking a process, and being told if it dies instead of answering.
//!
//! How requests travel is the caller's affair: a channel of any kind. What is common to all calls
//! is here: a [`Reply`] to send along, and a wait that ends with the answer, the callee's end or
//! the time, whichever comes first.

use alloc::sync::{Arc, Weak};
use core::{fmt, time::Duration};

use fiber_core::{
    env::Instant,
    operation::{Either, Latch, Operation, deadline, perform},
    spin::SpinLock,
    time,
};

use super::{Process, end::Exit};

/// How long a call waits to hear that its callee has ended, once nobody is left who would answer.
/// A callee that dies drops its requests first, and is known to die a moment later.
const DYING: Duration = Duration::from_millis(10);

/// Why a call got no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The callee has ended, like this.
    #[error("the callee has ended: {0}")]
    Down(Arc<Exit>),
    /// The caller's process is the callee: it would wait for itself.
    #[error("deadlock: the process would wait for an answer of its own")]
    Deadlock,
    /// The callee goes on, but has dropped the request without an answer.
    #[error("the callee has dropped the request without an answer")]
    NoReply,
    /// The time is over. The request may be served yet; the answer goes nowhere.
    #[error("no answer in time")]
    Elapsed,
}

/// What the answer of a call is given to.
///
/// It travels with the request. Dropping it tells the caller that there will be none. As Erlang's
/// `From`, but typed, and for one answer.
#[must_use = "dropping it refuses the call"]
pub struct Reply<R>(Weak<Answer<R>>);

struct Answer<R> {
    value: SpinLock<Option<R>>,
    settled: Latch,
}

impl<R> Reply<R> {
    pub(in crate::process) fn new() -> (Self, Awaited<R>) {
        let answer = Arc::new(Answer {
            value: SpinLock::new(None),
            settled: Latch::new(),
        });
        (Self(Arc::downgrade(&answer)), Awaited(answer))
    }

    /// Answers. Never waits.
    ///
    /// # Errors
    /// The value, when the caller waits no longer.
    pub fn send(self, value: R) -> Result<(), R> {
        match self.0.upgrade() {
            Some(answer) => {
                *answer.value.lock() = Some(value);
                Ok(())
            }
            None => Err(value),
        }
    }

    /// Whether the caller still waits.
    pub fn is_wanted(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl<R> Drop for Reply<R> {
    /// Also at the end of `send`.
    fn drop(&mut self) {
        if let Some(answer) = self.0.upgrade() {
            answer.settled.open();
        }
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("is_wanted", &self.is_wanted())
            .finish()
    }
}

/// The other end of a [`Reply`].
pub(in crate::process) struct Awaited<R>(Arc<Answer<R>>);

impl<R> Awaited<R> {
    /// The operation that waits until it was sent or dropped; `None` then.
    pub(in crate::process) fn operation(&self) -> impl Operation<Output = Option<R>> + '_ {
        let settled = self.0.settled.wait_operation("an answer");
        settled.wrap(|()| self.taken())
    }

    /// The answer, if there is one.
    pub(in crate::process) fn taken(&self) -> Option<R> {
        self.0.value.lock().take()
    }
}

impl Process {
    /// Asks this process something, and waits for its answer, for `span` at the most. `send` makes
    /// the operation that sends the request, with the [`Reply`] in it; what that gives is dropped.
    ///
    /// It never hangs when the callee dies, whether the request was sent, received or neither. An
    /// answer beats the callee's end, and both beat the time.
    ///
    /// ```
    /// # fn main() -> Result<(), fiber_sched::RunError> {
    /// # let env = fiber_core::script::ScriptEnv::new();
    /// use std::time::Duration;
    ///
    /// use fiber_core::operation::always;
    /// use fiber_sched::{CallError, Process, Runtime};
    ///
    /// Runtime::builder(env).run(|| {
    ///     let callee = Process::builder().spawn(|| ()).unwrap();
    ///     // The request goes nowhere.
    ///     let answer = callee.process().call(Duration::from_secs(5), |reply| {
    ///         drop::<fiber_sched::Reply<u32>>(reply);
    ///         always(())
    ///     });
    ///     assert!(matches!(answer, Err(CallError::Down(_))));
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Suspends
    /// Until one of those has come.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; the request may be served yet.
    ///
    /// # Errors
    /// Why there is no answer. [`CallError::Deadlock`] in this process itself, whichever of its
    /// fibers would answer: among those a channel does.
    pub fn call<R, O: Operation>(
        &self,
        span: Duration,
        send: impl FnOnce(Reply<R>) -> O,
    ) -> Result<R, CallError> {
        if Self::current().is_some_and(|caller| caller == *self) {
            return Err(CallError::Deadlock);
        }
        let until = time::now() + span;
        let (reply, awaited) = Reply::new();
        let sending = send(reply).wrap(drop);
        let answer = self.wait_until(until, sending);
        let answer = answer.and_then(|()| self.wait_until(until, awaited.operation()));
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.why_unanswered(until)),
            // The answer may be there all the same.
            Err(error) => awaited.taken().ok_or(error),
        }
    }

    /// Nobody is left who would answer.
    fn why_unanswered(&self, until: Instant) -> CallError {
        let ended = self.ends_by(until.min(time::now() + DYING));
        match ended.map_err(|_| self.is_ending()) {
            Ok(exit) => CallError::Down(exit),
            Err(true) => self
                .ends_by(until)
                .map_or_else(|late| late, CallError::Down),
            Err(false) => CallError::NoReply,
        }
    }

    fn ends_by(&self, until: Instant) -> Result<Arc<Exit>, CallError> {
        match perform(self.end_operation().or(deadline(until))) {
            Either::First(exit) => Ok(exit),
            Either::Second(()) => Err(CallError::Elapsed),
        }
    }

    fn wait_until<O: Operation>(
        &self,
        until: Instant,
        operation: O,
    ) -> Result<O::Output, CallError> {
        match perform(operation.or(self.end_operation().or(deadline(until)))) {
            Either::First(value) => Ok(value),
            Either::Second(Either::First(exit)) => Err(CallError::Down(exit)),
            Either::Second(Either::Second(())) => Err(CallError::Elapsed),
        }
    }
}

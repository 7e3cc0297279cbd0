//! One request of a fiber: staged, waited for, and done over if it was interrupted for nothing.

use core::{mem, pin::pin, ptr::NonNull};

use super::is_cancelled;
use crate::{
    context::Context,
    env::{Instant, TryNow},
    error::{IoError, IoErrorKind},
    fiber::Header,
    id::{Id, Namespace},
    inflight::{Answer, Asker, IoWait},
    park::Unwinds,
    process::Whose,
    registry::Entered,
    request::{Request, Token},
    timer::{Armed, TimerNode},
};

/// Memory is with the host: a frame that unwound now would take it away under the host's hands, so
/// the program ends instead (I-3). Only a bug of ours, or of a host or scheduler, gets here.
struct LentOut;

impl Drop for LentOut {
    fn drop(&mut self) {
        // Dropped by unwinding only, where a second panic aborts.
        panic!("a fiber unwound out of a request that the host had not answered");
    }
}

impl Context {
    /// Does `request` at once; what it opens belongs to `owner`.
    ///
    /// # Safety
    /// Memory named by `request` is valid during the call.
    pub(crate) unsafe fn immediate(
        &self,
        request: &Request,
        opens: Namespace,
        owner: Whose,
    ) -> Result<Answer, IoError> {
        debug_assert!(
            request.is_immediate(),
            "staged instead: {:?}",
            request.kind()
        );
        // SAFETY: by the caller's promise (I-3).
        let tried = unsafe { self.port.borrow_mut().try_now(request) };
        match tried {
            TryNow::Done(outcome) => self.adopt(opens, owner, outcome),
            _ => Err(IoErrorKind::Unsupported.into()),
        }
    }

    /// Does `request`, if it can be done without waiting; a connection that it opens belongs to
    /// `owner`.
    ///
    /// # Safety
    /// Memory named by `request` is valid during the call.
    pub(super) unsafe fn try_now(
        &self,
        request: &Request,
        owner: Whose,
    ) -> Result<Option<Answer>, IoError> {
        // SAFETY: by the caller's promise, and nothing stays behind (I-3).
        let tried = unsafe { self.port.borrow_mut().try_now(request) };
        match tried {
            TryNow::Done(outcome) => self.adopt(Namespace::STREAM, owner, outcome).map(Some),
            TryNow::WouldBlock(_) => Ok(None),
            TryNow::NotPossible => Err(IoErrorKind::Unsupported.into()),
        }
    }

    /// Enters what `id` names, for requests of this worker.
    pub(super) fn enter_here(&self, id: Id) -> Result<Entered<'_>, IoError> {
        let entered = self.enter_id(id, Some(self.worker().0))?;
        // Whoever closes it could not have our request cancelled: workers are known by their
        // numbers, and those are the other runtime's.
        if entered.runtime() != self.runtime() {
            return Err(IoErrorKind::ForeignRuntime.into());
        }
        Ok(entered)
    }

    fn new_wait(&self, fiber: *const Header, opens: Namespace) -> IoWait {
        IoWait {
            fiber,
            answer: core::cell::Cell::new(None),
            opens,
            owner: self.whose(),
        }
    }

    /// Stages `request` for the calling `fiber` and waits for its terminal completion; again if it
    /// was interrupted without having done anything.
    ///
    /// # Safety
    /// Memory named by `request` is borrowed for the whole call.
    pub(super) unsafe fn perform(
        &self,
        fiber: &Header,
        request: Request,
        entered: Option<&Entered<'_>>,
        opens: Namespace,
        deadline: Option<Instant>,
    ) -> Result<Answer, IoError> {
        if let Some(process) = fiber.process() {
            process.count_request();
        }
        loop {
            self.charge(fiber);
            if fiber.is_abandoned() {
                // It leaves the id, and comes to rest in `conclude`.
                return Err(IoErrorKind::Cancelled.into());
            }
            self.deliver_cancel(fiber);
            self.assert_may_suspend("input or output");
            // What the caller has closed here is closed before what it asks for next.
            self.receive_closing();
            let wait = self.new_wait(fiber, opens);
            let Some(token) = self
                .inflight
                .borrow_mut()
                .insert(Asker::Frame(NonNull::from_ref(&wait)))
            else {
                return Err(IoErrorKind::TooManyRequests.into());
            };
            let lent = LentOut;
            // SAFETY: this frame, and with it all that is lent, stays until the answer is there:
            // `await_answer` has no other way out, and to unwind it ends the program (I-3).
            unsafe { self.staged.borrow_mut().push(token, request) };
            let answer = self.await_answer(fiber, &wait, token, entered, deadline);
            mem::forget(lent);
            if !is_interrupted(&answer) {
                return answer;
            }
        }
    }

    fn await_answer(
        &self,
        fiber: &Header,
        wait: &IoWait,
        token: Token,
        entered: Option<&Entered<'_>>,
        deadline: Option<Instant>,
    ) -> Result<Answer, IoError> {
        let timer = pin!(TimerNode::new());
        let timer = timer.into_ref();
        let armed = deadline.map(|deadline| Armed::new(timer, self, fiber, deadline));
        let (mut hurried, mut unwinds) = (false, Unwinds::Perhaps);
        let answer = loop {
            if let Some(answer) = wait.answer.get() {
                break answer;
            }
            // A close that came before the request was staged has cancelled without it.
            let closing = entered.is_some_and(Entered::is_closing);
            let interrupted = || self.pending_after(fiber, unwinds).is_some();
            if !hurried && (closing || timer.has_fired() || interrupted()) {
                hurried = true;
                self.stage_control(Request::Cancel { token });
            }
            unwinds = self.park(fiber, "input or output");
        };
        drop(armed);
        match answer {
            Err(error) if error.kind() == IoErrorKind::Cancelled => {
                let closing = entered.is_some_and(Entered::is_closing);
                Err(if timer.has_fired() {
                    IoErrorKind::TimedOut.into()
                } else if hurried || closing {
                    error
                } else {
                    // Meant for whoever had the host's number before: nobody here asked for it.
                    IoErrorKind::Interrupted.into()
                })
            }
            answer => answer,
        }
    }

    /// Lets a cancel through that ended the request; what was done is done.
    pub(super) fn conclude(
        &self,
        fiber: &Header,
        answer: Result<Answer, IoError>,
    ) -> Result<Answer, IoError> {
        self.rest_if_abandoned(fiber);
        if is_cancelled(&answer) {
            self.deliver_cancel(fiber);
        }
        answer
    }
}

fn is_interrupted(answer: &Result<Answer, IoError>) -> bool {
    matches!(answer, Err(error) if error.kind() == IoErrorKind::Interrupted)
}

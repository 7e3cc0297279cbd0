//! A request that one arm of an operation has made: what is staged, what its completion does, and
//! what is left of it when another arm has won.
//!
//! ```text
//!            publish: enter(id), stage Ready              completion: claim the cell
//!    IDLE ──────────────────────────────────▶ WAITING ──┬── attempt done ──▶ ENDED, committed
//!      ▲                                       │  ▲  └──┼── claimed by another arm ──▶ IDLE
//!      │ retract: stage Cancel, nobody waits   │  └─────┴── nothing there any more: stage again
//!      └───────────────────────────────────────┘
//! ```
//!
//! A retracted arm leaves an orphan in the table of requests: its slot, and the entry of the id.
//! Both are given back when the completion comes, which touches nobody's frame (I-3). Only
//! readiness is ever asked for, which lends no memory; what is then done is done in one attempt
//! that does not wait, while the performer's cell is claimed. So an arm that loses has taken
//! nothing, and one that has won need not wait again.
//!
//! All of it happens on the performer's worker (I-11), between two runs of the performer. Other
//! threads reach its cell, through the lists in which other arms are linked, and nothing here.

use core::{cell::Cell, marker::PhantomPinned, mem, ptr::NonNull};

use crate::{
    context::Context,
    error::{IoError, IoErrorKind},
    id::Id,
    inflight::{Answer, Asker},
    operation::{Published, WaitCell},
    process::Whose,
    registry::Entered,
    request::{Outcome, RawDescriptor, Request, Token},
};

/// Makes the request that can be done once the descriptor is ready.
///
/// # Safety
/// It is given the arm of an operation of the kind that it was made for.
pub(super) type MakeRequest = unsafe fn(NonNull<Arm>, RawDescriptor) -> Request;

/// The part of an operation that its worker's table of requests points to.
#[derive(Debug)]
pub(crate) struct Arm {
    id: Id,
    request: MakeRequest,
    state: Cell<State>,
    _pinned: PhantomPinned,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Waiting(Wait),
    Ended(Result<Answer, IoError>),
}

/// A published arm: its request, and what is settled when it has come.
#[derive(Clone, Copy, Debug)]
struct Wait {
    token: Token,
    cell: NonNull<WaitCell>,
    number: u16,
    /// To whom a descriptor belongs that it opens.
    owner: Whose,
}

// SAFETY: while it is published it is pinned and stays with its performer, on one thread (I-11);
// when it is not, its pointers are not used.
unsafe impl Send for Arm {}

impl Arm {
    pub(super) const fn new(id: Id, request: MakeRequest) -> Self {
        Self {
            id,
            request,
            state: Cell::new(State::Idle),
            _pinned: PhantomPinned,
        }
    }

    /// Whether it can be done now: then it is, unless it cannot be at all.
    ///
    /// # Safety
    /// `this` is the arm of an operation that nobody else uses meanwhile.
    pub(super) unsafe fn try_now(this: NonNull<Self>) -> bool {
        // SAFETY: by the caller's promise (I-12).
        let arm = unsafe { this.as_ref() };
        let tried = Context::with(|context| {
            let Some(context) = context else {
                return Some(Err(IoErrorKind::NoRuntime.into()));
            };
            match context.enter_here(arm.id) {
                // SAFETY: by the caller's promise (I-12).
                Ok(entered) => unsafe { context.attempt(this, &entered, context.whose()) },
                Err(error) => Some(Err(error)),
            }
        });
        if let Some(ended) = tried {
            arm.state.set(State::Ended(ended));
        }
        tried.is_some()
    }

    /// Asks the host, on behalf of `cell`.
    ///
    /// # Safety
    /// `this` is the arm of a pinned operation; that and `cell` stay until it was retracted, on
    /// this worker.
    pub(super) unsafe fn publish(this: NonNull<Self>, cell: &WaitCell, number: u16) -> Published {
        let staged = Context::with(|context| {
            let context = context.ok_or(IoErrorKind::NoRuntime)?;
            // SAFETY: by the caller's promise (I-12).
            unsafe { context.publish_arm(this, cell, number) }
        });
        let Err(error) = staged else {
            return Published::Waiting;
        };
        // SAFETY: by the caller's promise (I-12).
        let arm = unsafe { this.as_ref() };
        arm.state.set(State::Ended(Err(error)));
        Published::own(cell, number)
    }

    /// Leaves the request, if there is one, to itself; nothing waits for it.
    pub(super) fn retract(&self, winner: Option<u16>) {
        match self.state.get() {
            State::Waiting(wait) => {
                self.state.set(State::Idle);
                Context::with(|context| {
                    let context = context.expect("it is retracted where it was published");
                    context.inflight.borrow_mut().orphan(wait.token, self.id);
                    context.stage_control(Request::Cancel { token: wait.token });
                });
            }
            State::Ended(_) if winner.is_none() => self.state.set(State::Idle),
            State::Ended(_) | State::Idle => {}
        }
    }

    /// What it has come to, once.
    pub(super) fn take(&self) -> Result<Answer, IoError> {
        let State::Ended(ended) = self.state.replace(State::Idle) else {
            unreachable!("it is finished once it has committed");
        };
        ended
    }
}

impl Context {
    /// # Safety
    /// As [`Arm::publish`].
    unsafe fn publish_arm(
        &self,
        this: NonNull<Arm>,
        cell: &WaitCell,
        number: u16,
    ) -> Result<(), IoError> {
        // SAFETY: by the caller's promise (I-12).
        let entered = self.enter_here(unsafe { this.as_ref() }.id)?;
        let cell = NonNull::from_ref(cell);
        let owner = self.whose();
        // SAFETY: by the caller's promise (I-12).
        unsafe {
            self.stage_ready(this, &entered, |token| Wait {
                token,
                cell,
                number,
                owner,
            })
        }?;
        // Until the completion has come: taken up again there.
        mem::forget(entered);
        Ok(())
    }

    /// # Safety
    /// As [`Arm::publish`].
    unsafe fn stage_ready(
        &self,
        this: NonNull<Arm>,
        entered: &Entered<'_>,
        wait: impl FnOnce(Token) -> Wait,
    ) -> Result<(), IoError> {
        // SAFETY: by the caller's promise (I-12).
        let request = unsafe { request(this, entered) };
        let interest = request.direction().ok_or(IoErrorKind::InvalidInput)?;
        let token = self.inflight.borrow_mut().insert(Asker::Arm(this));
        let token = token.ok_or(IoErrorKind::TooManyRequests)?;
        // SAFETY: by the caller's promise (I-12).
        let arm = unsafe { this.as_ref() };
        arm.state.set(State::Waiting(wait(token)));
        let descriptor = entered.raw();
        let ready = Request::Ready {
            descriptor,
            interest,
        };
        // SAFETY: it lends no memory (I-3).
        unsafe { self.staged.borrow_mut().push(token, ready) };
        Ok(())
    }

    /// The terminal completion of a published arm's request.
    ///
    /// # Safety
    /// The arm was published here and has not been retracted; its slot in the table is free.
    pub(crate) unsafe fn deliver_arm(&self, this: NonNull<Arm>, outcome: Outcome) {
        // SAFETY: it is retracted before its frame is left, which its performer, a fiber of this
        // worker that does not run now, has not done (I-12).
        let arm = unsafe { this.as_ref() };
        let State::Waiting(wait) = arm.state.replace(State::Idle) else {
            unreachable!("an arm in the table waits");
        };
        // SAFETY: forgotten by `publish_arm` or below, and this was its one completion (I-4).
        let entered = unsafe { self.id_space().entered(arm.id) };
        // SAFETY: the performer, a fiber of this worker, cannot leave while this runs, as if a
        // list's lock were held (I-11, I-12).
        let cell: &WaitCell = unsafe { wait.cell.as_ref() };
        // SAFETY: as above (I-12).
        let Some(claim) = (unsafe { cell.claim() }) else {
            // Another arm has won: this one is retracted without a request.
            return;
        };
        let ended = match outcome {
            Outcome::Failed(error) => failed(error, entered.is_closing()).map(Err),
            // SAFETY: as above: nobody else uses it now (I-12).
            _ if matches!(unsafe { request(this, &entered) }, Request::Ready { .. }) => {
                Some(Ok(Answer::Done(0)))
            }
            // SAFETY: as above (I-12).
            _ => unsafe { self.attempt(this, &entered, wait.owner) },
        };
        if let Some(ended) = ended {
            arm.state.set(State::Ended(ended));
            drop(entered);
            claim.commit(wait.number);
            return;
        }
        drop(claim);
        // SAFETY: as above (I-12).
        unsafe { self.stage_ready(this, &entered, |token| Wait { token, ..wait }) }
            .expect("its own slot has just become free");
        mem::forget(entered);
    }

    /// Does it, if it can be done without waiting.
    ///
    /// # Safety
    /// As [`Arm::try_now`].
    unsafe fn attempt(
        &self,
        this: NonNull<Arm>,
        entered: &Entered<'_>,
        owner: Whose,
    ) -> Option<Result<Answer, IoError>> {
        // SAFETY: by the caller's promise (I-12).
        let request = unsafe { request(this, entered) };
        // SAFETY: it names memory of the operation, which nobody else uses meanwhile (I-3).
        match unsafe { self.try_now(&request, owner) } {
            Ok(answer) => answer.map(Ok),
            // The host says so in the answer to the request.
            Err(error)
                if error.kind() == IoErrorKind::Unsupported
                    && matches!(request, Request::Ready { .. }) =>
            {
                None
            }
            Err(error) => failed(error, false).map(Err),
        }
    }
}

/// # Safety
/// As [`Arm::try_now`].
unsafe fn request(this: NonNull<Arm>, entered: &Entered<'_>) -> Request {
    // SAFETY: by the caller's promise (I-12).
    let make = unsafe { this.as_ref() }.request;
    // SAFETY: an operation makes its arm with the function of its own kind (I-12).
    unsafe { make(this, entered.raw()) }
}

/// What an error comes to: nothing, and it is tried again, if it says nothing about the descriptor.
fn failed(error: IoError, is_closing: bool) -> Option<IoError> {
    match error.kind() {
        IoErrorKind::Cancelled if is_closing => Some(IoErrorKind::Closed.into()),
        // Meant for whoever had the host's number before: nobody here asked for it.
        IoErrorKind::Cancelled | IoErrorKind::Interrupted => None,
        _ => Some(error),
    }
}

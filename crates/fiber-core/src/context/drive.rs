//! What the scheduler's loop does with a worker: turns, and the end.

use alloc::{sync::Arc, vec::Vec};
use core::{
    mem::{self, ManuallyDrop},
    ptr::{self, NonNull},
    time::Duration,
};

use super::{Context, Id, Namespace, life::clean_up};
use crate::{
    env::{HostFault, TurnInfo, Undrained, Wait},
    error::IoError,
    inflight::{Answer, Asker, IoWait},
    process::{Record, Stage, Whose, share},
    registry::{Closing, Full, Kept, Received},
    request::{Completion, Outcome, RawDescriptor, Request, Token},
};

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turned {
    /// What the host did.
    pub host: TurnInfo,
    /// How many fibers' requests were answered.
    pub answered: usize,
}

impl Context {
    /// Hands everything staged to the host, waits as told, and makes ready whose requests were
    /// answered.
    ///
    /// # Errors
    /// When the port is broken: the worker cannot go on.
    pub fn turn(&self, wait: Wait) -> Result<Turned, HostFault> {
        self.receive_closing();
        let owners = self.shard.borrow_mut().take_owners();
        // Somebody may wait for the end of one that is ending. One that begins to end from here on
        // has this wait ended, see `Record::has_closing`.
        let is_awaited = |owner: &Arc<Record>| owner.stage() > Stage::Running;
        let wait = match owners.iter().any(is_awaited) {
            true => Wait::No,
            false => wait,
        };
        if wait != Wait::No {
            self.give_surplus_back();
        }
        let mut completions = mem::take(&mut *self.completions.borrow_mut());
        let host = {
            let mut port = self.port.borrow_mut();
            port.turn(&mut self.staged.borrow_mut(), wait, &mut completions)
        };
        let answered = self.deliver_all(&mut completions);
        *self.completions.borrow_mut() = completions;
        self.tell_closed(owners);
        host.map(|host| Turned { host, answered })
    }

    /// Whether a turn has something to tell: the host, or a process of which the host has nothing
    /// to close any more.
    pub fn has_staged(&self) -> bool {
        let shard = self.shard.borrow();
        !self.staged.borrow().is_empty() || shard.has_handed_over() || shard.has_owners()
    }

    /// How many requests the next turn hands to the host.
    pub fn staged_len(&self) -> usize {
        self.staged.borrow().len()
    }

    /// How many requests the host has not answered, and how many blocking calls of fibers here its
    /// helpers have not ended.
    pub fn inflight(&self) -> usize {
        self.inflight.borrow().len() + self.helpers().waiting()
    }

    /// How many ids are live here, those of fibers included.
    pub fn live_ids(&self) -> usize {
        self.shard.borrow().live()
    }

    /// Stages a cancel of everything on `descriptor`.
    pub fn cancel_requests_on(&self, descriptor: RawDescriptor) {
        self.stage_control(Request::CancelAllOn { descriptor });
    }

    /// Closes whatever is still open here; the closing ends over the next turns.
    pub fn close_all(&self) {
        let live = self.shard.borrow().all();
        let space = self.id_space();
        for id in live {
            match id.namespace() {
                Namespace::FIBER => space.close_fiber_id(id),
                // Somebody else may have begun to close it.
                _ => drop(space.close(id)),
            }
        }
    }

    /// The ids of `process` that were named here, newest first.
    pub fn ids_of(&self, process: &Record) -> Vec<Id> {
        let space = self.id_space();
        self.shard.borrow().owned_by(space, process)
    }

    /// Has what these ids of `process` name heed the stage that the process has come to: fibers are
    /// asked to end, and all else is closed once it has ended; `tell` is told of each that nobody
    /// had begun to close.
    pub fn sweep(&self, process: &Record, ids: impl Iterator<Item = Id>, mut tell: impl FnMut(Id)) {
        let space = self.id_space();
        let (stage, reason) = (process.stage(), process.reason());
        for id in ids {
            if id.namespace() == Namespace::FIBER {
                let fiber = space.enter(id, None).ok().and_then(|it| it.fiber());
                if let Some(fiber) = fiber {
                    fiber.header().heed(stage, reason.clone());
                }
            } else if stage == Stage::Ended
                && id.namespace() != Namespace::PROCESS
                && space.close_for(id, Closing::OwnerDied).is_ok()
            {
                tell(id);
            }
        }
    }

    /// Closes, at once, what was named here for `process`, which has ended: `tell` is told of each
    /// that nobody had begun to close. False, and nothing happens, if there are more than `max`.
    ///
    /// If the process has no id left after that, all that it had here is closed in the next turn.
    pub fn close_ids_of(&self, process: &Record, max: usize, mut tell: impl FnMut(Id)) -> bool {
        if process.ids() > max {
            return false;
        }
        // Most have dropped what they had, so that nothing is left to be found.
        self.receive_closing();
        if process.ids() > 0 {
            let space = self.id_space();
            for id in self.ids_of(process) {
                let closes = id.namespace().is_counted();
                if closes && space.close_for(id, Closing::OwnerDied).is_ok() {
                    tell(id);
                }
            }
            self.receive_closing();
        }
        true
    }

    /// Ends the worker's use of the world: cancels what is in flight, waits for it, and gives
    /// stacks, ids and the port back. All of its fibers have ended.
    ///
    /// # Errors
    /// When the host did not give everything back within `grace`; what it still has is leaked.
    pub fn finish(self, grace: Duration) -> Result<(), Undrained> {
        assert_eq!(self.started(), 0, "fibers outlive their worker");
        self.env.id_space().leave_workers(&self.inbox);
        let mut completions = Vec::new();
        self.hand_over_staged(&mut completions);
        let drained = self.port.borrow_mut().drain(grace, &mut completions);
        self.deliver_all(&mut completions);
        let owners = self.shard.borrow_mut().take_owners();
        self.tell_closed(owners);
        self.give_stacks_back();
        self.shard.into_inner().finish(self.env.id_space());
        drained
    }

    /// Ends the worker although fibers have not ended: they are never resumed again, and
    /// everything of theirs is leaked. The host gives the memory back that they had lent, which
    /// may belong to others, and its port is closed.
    ///
    /// # Errors
    /// When the host did not give everything back within `grace`: then nothing that was lent may
    /// ever be freed or used, the caller's caller included.
    pub fn abandon(self, grace: Duration) -> Result<(), Undrained> {
        let this = ManuallyDrop::new(self);
        this.free_blocks().clear();
        this.env.id_space().leave_workers(&this.inbox);
        let mut unwanted = Vec::new();
        this.hand_over_staged(&mut unwanted);
        this.port.borrow_mut().drain(grace, &mut unwanted)?;
        // What was opened for those who never run again is closed: nobody else knows it.
        for completion in unwanted {
            if let Outcome::Opened(descriptor) = completion.outcome {
                this.stage_control(Request::Close { descriptor });
            }
        }
        this.hand_over_staged(&mut Vec::new());
        this.port.borrow_mut().drain(grace, &mut Vec::new())?;
        // Those that are free are no part of what is abandoned.
        this.give_stacks_back();
        match this.helpers().drain(grace) {
            0 => {}
            calls => return Err(Undrained::new(calls)),
        }
        // SAFETY: dropped once, here, as `this` is never touched again (I-3).
        unsafe { ptr::drop_in_place(this.port.as_ptr()) };
        Ok(())
    }

    /// The last turn: a close that was staged after the one before it is not lost.
    fn hand_over_staged(&self, completions: &mut Vec<Completion>) {
        let mut staged = self.staged.borrow_mut();
        if staged.is_empty() {
            return;
        }
        let turned = self
            .port
            .borrow_mut()
            .turn(&mut staged, Wait::No, completions);
        if let Err(fault) = turned {
            tracing::error!(
                target: "fiber::core", error = %fault, requests = staged.len(),
                "requests that were staged last are lost with their port"
            );
        }
    }

    pub(crate) fn stage_control(&self, request: Request) {
        debug_assert!(request.is_control() || matches!(request, Request::Close { .. }));
        // SAFETY: these requests lend no memory (I-3).
        unsafe { self.staged.borrow_mut().push(Token::QUIET, request) };
    }

    /// Frees closing ids that nobody is inside of, and has the requests of the others cancelled.
    pub(crate) fn receive_closing(&self) {
        if !self.shard.borrow().has_handed_over() {
            return;
        }
        let mut unwanted = Vec::new();
        self.shard
            .borrow_mut()
            .receive(self.id_space(), |received| match received {
                Received::Freed { id, raw, .. } if id.namespace().is_descriptor() => {
                    self.stage_control(Request::Close { descriptor: raw });
                }
                Received::Freed {
                    kept: Kept::Nothing,
                    ..
                } => {}
                Received::Freed { kept, .. } => unwanted.push(kept),
                Received::Moved { .. } => {}
                Received::Busy { raw, workers } => self.schedule().cancel_on(workers, raw),
            });
        for kept in unwanted {
            // The user's code may be in there.
            clean_up(self.env(), || drop(kept));
        }
    }

    /// The host has closed what these owned.
    fn tell_closed(&self, mut owners: Vec<Arc<Record>>) {
        for owner in owners.drain(..) {
            owner.end_closing();
        }
        self.shard.borrow_mut().reuse_owners(owners);
    }

    fn deliver_all(&self, completions: &mut Vec<Completion>) -> usize {
        let mut answered = 0;
        for completion in completions.drain(..) {
            answered += usize::from(self.deliver(completion));
        }
        answered
    }

    fn deliver(&self, completion: Completion) -> bool {
        debug_assert!(
            !completion.more,
            "only requests with one completion are staged"
        );
        let asker = self.inflight.borrow_mut().remove(completion.token);
        let wait = match asker {
            Some(Asker::Frame(wait)) => wait,
            Some(Asker::Arm(arm)) => {
                // SAFETY: it has not been retracted, and this is its one completion (I-12).
                unsafe { self.deliver_arm(arm, completion.outcome) };
                return true;
            }
            Some(Asker::Gone(id)) => {
                // SAFETY: entered when the arm was published, and left here, once (I-4).
                drop(unsafe { self.id_space().entered(id) });
                return false;
            }
            None => {
                tracing::warn!(
                    target: "fiber::core", ?completion, "a completion without its request"
                );
                return false;
            }
        };
        // SAFETY: the fiber is suspended in the frame that holds this until the answer is set, and
        // this is its one terminal completion (I-3).
        let wait: &IoWait = unsafe { wait.as_ref() };
        let answer = self.adopt(wait.opens, wait.owner, completion.outcome);
        let fiber = NonNull::new(wait.fiber.cast_mut());
        wait.answer.set(Some(answer));
        if let Some(fiber) = fiber {
            // SAFETY: it is a fiber of this worker, suspended, so its block is alive (I-11).
            unsafe { fiber.as_ref() }.wake();
        }
        true
    }

    /// Closes `id`, which `owner` was given, if that has ended: no sweep may find it any more.
    pub(crate) fn close_if_ended(&self, id: Id, owner: Option<&Arc<Record>>) {
        let owner = owner.filter(|_| id.namespace().is_counted());
        if owner.is_some_and(|owner| owner.stage() == Stage::Ended) {
            // Unless a sweep did find it.
            let _ = self.id_space().close_for(id, Closing::OwnerDied);
        }
    }

    /// Gives an opened descriptor its id and owner, before anybody asks whether it is still wanted.
    pub(crate) fn adopt(
        &self,
        opens: Namespace,
        owner: Whose,
        outcome: Outcome,
    ) -> Result<Answer, IoError> {
        let raw = match outcome {
            Outcome::Done(number) => return Ok(Answer::Done(number)),
            Outcome::Failed(error) => return Err(error),
            Outcome::Opened(raw) => raw,
        };
        let space = self.id_space();
        // SAFETY: whoever asked for it is a fiber of the process, which waits for this (I-11).
        let owner = owner.map(|owner| unsafe { share(owner) });
        let open = || {
            let mut shard = self.shard.borrow_mut();
            shard.open(space, opens, raw, owner.as_ref())
        };
        let mut opened = open();
        if let Err(Full::Process(_)) = opened {
            // What the process has closed here may still be counted.
            self.receive_closing();
            opened = open();
        }
        if let Ok(id) = opened {
            self.close_if_ended(id, owner.as_ref());
        }
        opened.map(Answer::Opened).map_err(|full| {
            self.stage_control(Request::Close { descriptor: raw });
            full.into()
        })
    }
}

#[cfg(all(test, not(loom)))]
mod arms;
#[cfg(all(test, not(loom)))]
mod tests;

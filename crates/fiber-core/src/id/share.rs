//! Ids in the hands of users: what they name, sharing that, giving it away, closing it.

use alloc::sync::Arc;

use super::{Description, Id, Namespace};
use crate::{
    context::Context,
    error::{IoError, IoErrorKind, Stale, StaleReason},
    io,
    process::{Owner, Record, Stage, whose},
    registry::IdSpace,
    request::Request,
};

/// Gives another process a share in what `id` names: a new id, which it owns. What is named is
/// closed when the last of its ids is; what is done to it, a shutdown of a connection for one, all
/// of them see. Whose `id` is does not matter. As `dup(2)`, but to another owner.
///
/// `to` is a process, or `None` for the runtime's first one, as `Process::current` has them.
///
/// # Errors
/// `Stale`; `ProcessEnded` when there is no such process any more; `ForeignRuntime` when it is one
/// of another runtime; `ProcessIds` and `TooManyDescriptors` at limits; `Unsupported` for signals,
/// of which another handle can be opened; `NoRuntime` on a thread that is no worker.
pub fn dup_to(id: Id, to: &impl Owner) -> Result<Id, IoError> {
    let to = to.record();
    Context::with(|context| context.ok_or(IoErrorKind::NoRuntime)?.share(id, to))
}

/// Gives what `id` names to another process: under a new id, and `id` goes stale, see
/// [`StaleReason::Transferred`]. Nothing is asked of the host. When it fails nothing has changed.
///
/// `to` is as with [`dup_to`]. If it dies meanwhile, what it was given is closed with all that it
/// has.
///
/// # Suspends
/// For some turns when requests of arms that have lost their choice are still under way on it.
///
/// # Errors
/// `Busy` when somebody waits for it or uses it otherwise; else as [`dup_to`].
pub fn transfer_to(id: Id, to: &impl Owner) -> Result<Id, IoError> {
    let to = to.record();
    let mut turns = 0;
    loop {
        let given =
            Context::with(|context| context.ok_or(IoErrorKind::NoRuntime)?.transfer(id, to));
        let is_busy = matches!(&given, Err(error) if error.kind() == IoErrorKind::Busy);
        if !is_busy || turns == TURNS_MAX || !io::has_orphans() || io::let_a_turn_pass().is_err() {
            return given;
        }
        turns += 1;
    }
}

/// What `id` names. It does not count as a use. Legal from any thread.
///
/// # Errors
/// When it names nothing, or nothing any more.
pub fn describe(id: Id) -> Result<Description, Stale> {
    in_its_space(|space| space.describe(id))
}

/// Whether `id` names something of this kind that is not being closed; does not count as a use.
///
/// # Errors
/// Why not.
pub fn check(id: Id, kind: Namespace) -> Result<(), Stale> {
    let described = describe(id)?;
    match described.kind == kind {
        false => Err(Stale::wrong_kind(id)),
        true if described.is_closing => Err(Stale::new(id, StaleReason::Closed)),
        true => Ok(()),
    }
}

/// Closes what `id` names: whoever waits on it gets `Closed`, and the host closes it once they
/// have left. Never waits. Legal from any thread.
///
/// # Errors
/// When it was closed before. A fiber and a process are not closed but cancelled: their ids are
/// refused.
pub fn close(id: Id) -> Result<(), Stale> {
    let closed = close_handle(id);
    closed.map_err(
        |stale| match Context::with(|it| it.map(|it| it.refused(stale))) {
            Some(stale) => stale,
            None => stale,
        },
    )
}

/// [`close`], for a handle that is dropped: that is no use of the id, whatever has become of it.
///
/// # Errors
/// As [`close`].
pub fn close_handle(id: Id) -> Result<(), Stale> {
    in_its_space(|space| {
        if id.namespace().is_counted() {
            return space.close(id);
        }
        space.describe(id)?;
        Err(Stale::new(id, StaleReason::Runs))
    })
}

/// How many turns a transfer waits for requests that nobody waits for.
const TURNS_MAX: u32 = 256;

/// Asks the caller's world, and then the OS process: no id is in both, and a handle of the process
/// may be used inside of a simulation.
fn in_its_space<T>(ask: impl Fn(&IdSpace) -> Result<T, Stale>) -> Result<T, Stale> {
    Context::with(|context| {
        let process = IdSpace::of_process();
        let here = context.map_or(process, |context| context.id_space());
        match ask(here) {
            Err(stale) if stale.reason == StaleReason::Unknown => ask(process),
            answer => answer,
        }
    })
}

impl Context {
    fn share(&self, id: Id, to: Option<&Arc<Record>>) -> Result<Id, IoError> {
        self.assert_can_own(to)?;
        let entered = self.enter_id(id, None)?;
        if !id.namespace().is_counted() {
            return Err(Stale::new(id, StaleReason::Runs).into());
        }
        if let Some(object) = entered.object() {
            let new = self.name_object_for(id.namespace(), object, to)?;
            return Ok(new);
        }
        let request = Request::Duplicate {
            descriptor: entered.raw(),
        };
        // SAFETY: it lends no memory (I-3).
        io::opened(unsafe { self.immediate(&request, id.namespace(), to.map(whose)) }?)
    }

    /// Never two owners, and never none: the new id has its room before the old one is emptied, and
    /// nothing can fail after that. Both happen on this worker, between two sweeps.
    fn transfer(&self, id: Id, to: Option<&Arc<Record>>) -> Result<Id, IoError> {
        self.assert_can_own(to)?;
        let kind = id.namespace();
        let runtime = self.enter_id(id, None)?.runtime();
        if !kind.is_counted() {
            return Err(Stale::new(id, StaleReason::Runs).into());
        }
        if runtime != self.runtime() {
            return Err(IoErrorKind::ForeignRuntime.into());
        }
        self.receive_closing();
        let space = self.id_space();
        let mut shard = self.shard.borrow_mut();
        let room = shard.reserve(space, kind, to)?;
        let new = match space.take_out(id) {
            Ok(named) => Ok(shard.fill(space, room, &named)),
            Err(error) => {
                shard.give_up(room);
                Err(error)
            }
        };
        drop(shard);
        match (new, to) {
            (Ok(new), to) => self.close_if_ended(new, to),
            (Err(_), Some(to)) => to.give_id(),
            (Err(_), None) => {}
        }
        new
    }

    /// What is opened here can be this one's.
    fn assert_can_own(&self, to: Option<&Arc<Record>>) -> Result<(), IoError> {
        let Some(to) = to else { return Ok(()) };
        let process = to.id().filter(|_| to.stage() < Stage::Ended);
        let process = process.and_then(|id| self.id_space().enter(id, None).ok());
        let process = process.ok_or(IoErrorKind::ProcessEnded)?;
        match process.runtime() == self.runtime() {
            true => Ok(()),
            false => Err(IoErrorKind::ForeignRuntime.into()),
        }
    }
}

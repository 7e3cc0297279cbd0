//! Links: processes that end together, unless one of them wants to be told instead.
//!
//! ```text
//! link     both locks, in the order of their addresses: each is entered at the other
//! death    takes the list, then at each peer, under the peer's lock: still entered there?
//!             it traps exits    the exit goes into its inbox
//!             it returned       nothing
//!             else              the peer's stage is raised: it was asked to end
//! unlink   both locks: neither is entered at the other any more
//! ```
//!
//! Whatever a link does it does under the lock under which `unlink` takes it out, so after an
//! unlink it does nothing any more.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::ToString,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{fmt, mem, time::Duration};

use fiber_core::{
    Id,
    fiber::Reason,
    operation::{Operation, perform},
    process::Stage,
    spin::SpinLock,
    timeout::Elapsed,
};

use super::{
    Process, SHUTDOWN,
    end::{End, Exit},
};
use crate::inbox::Inbox;

/// Whom a process is linked to.
pub(super) type Links = SpinLock<Linked>;

#[derive(Default)]
pub(super) struct Linked {
    /// Its peers were told: it is linked to nobody any more.
    ended: bool,
    /// Most processes have none.
    some: Option<Box<Bonds>>,
}

/// What a process has that is or was linked, or traps exits.
#[derive(Default)]
struct Bonds {
    /// Bound: the processes of the world.
    peers: BTreeMap<Id, Process>,
    /// Where exits go while somebody traps them.
    trap: Weak<Inbox<Arc<Exit>>>,
}

/// The runtime's first process, and a plain thread, are no ends of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the caller is in no process that could be linked: the runtime's first one ends with its run \
     only; monitor the other one, or start a process for this"
)]
#[non_exhaustive]
pub struct NoProcess;

/// Links between processes, as Erlang has them: bidirectional, at most one between two.
///
/// When one ends, those who are linked to it end, too: they are cancelled, and end as
/// [`End::Linked`], which names the one that ended first, however many links are in between. One
/// that has returned ends nobody. [`Process::trap_exits`] turns what comes into values.
///
/// Three things differ from Erlang:
/// - a process that ends tells of it when all that it had is gone, not when it begins to;
/// - linking to one that has ended is as having linked to it before: its true end comes, not a
///   "noproc";
/// - only what comes by links is trapped. [`Process::cancel`] and [`Process::kill`] are not; but
///   those who are linked to the killed one may trap its end.
impl Process {
    /// Links the calling fiber's process and this one. If it has ended already, what would have
    /// come comes now.
    ///
    /// # Errors
    /// In the runtime's first process, and outside of fibers.
    pub fn link(&self) -> Result<(), NoProcess> {
        Self::current().ok_or(NoProcess)?.link_to(self);
        Ok(())
    }

    /// Ends the link of the calling fiber's process and this one, see [`Process::unlink_from`].
    ///
    /// # Errors
    /// In the runtime's first process, and outside of fibers.
    pub fn unlink(&self) -> Result<(), NoProcess> {
        Self::current().ok_or(NoProcess)?.unlink_from(self);
        Ok(())
    }

    /// Links this process and `other`; nothing if they are linked, or the same.
    pub fn link_to(&self, other: &Self) {
        if self == other {
            return;
        }
        let (this_ended, other_ended) = self.with_both(other, |this, that| {
            if !this.ended && !that.ended {
                this.bonds().peers.insert(other.id(), other.clone());
                that.bonds().peers.insert(self.id(), self.clone());
            }
            (this.ended, that.ended)
        });
        match (this_ended, other_ended) {
            (false, true) => self.hear_of(&other.exit(), Entered::Anyway),
            (true, false) => other.hear_of(&self.exit(), Entered::Anyway),
            _ => {}
        }
    }

    /// Ends the link of this process and `other`, if there is one. After that the end of one does
    /// nothing to the other; if one has trapped it and not received it, that is gone, too.
    pub fn unlink_from(&self, other: &Self) {
        if self == other {
            return;
        }
        let (this, that) = (self.id(), other.id());
        let gone = self.with_both(other, |at_this, at_that| {
            at_this.forget(that);
            at_that.forget(this);
            (at_this.remove(that), at_that.remove(this))
        });
        drop(gone);
    }

    /// Whom it is linked to, by their ids' order.
    pub fn links(&self) -> Vec<Self> {
        let links = self.life().links.lock();
        let peers = links.some.as_deref().map(|it| it.peers.values().cloned());
        peers.into_iter().flatten().collect()
    }

    /// From now on the ends of those that this process is linked to do not end it: they come to the
    /// [`Exits`], also of those that have returned. For as long as that exists; what was not
    /// received by then is gone. Called again meanwhile it gives another one of the same queue.
    pub fn trap_exits(&self) -> Exits {
        let mut links = self.life().links.lock();
        let inbox = links.trap().unwrap_or_else(|| {
            let inbox = Arc::new(Inbox::new());
            links.bonds().trap = Arc::downgrade(&inbox);
            inbox
        });
        Exits { inbox }
    }

    fn with_both<T>(&self, other: &Self, body: impl FnOnce(&mut Linked, &mut Linked) -> T) -> T {
        let (this, that) = (&self.life().links, &other.life().links);
        if (&raw const *this).addr() < (&raw const *that).addr() {
            let mut this = this.lock();
            body(&mut this, &mut that.lock())
        } else {
            let mut that = that.lock();
            body(&mut this.lock(), &mut that)
        }
    }

    /// One that it is or was linked to has ended.
    fn hear_of(&self, exit: &Arc<Exit>, entered: Entered) {
        let (gone, ends) = {
            let mut links = self.life().links.lock();
            let gone = links.remove(exit.process);
            if gone.is_none() && entered == Entered::Needed {
                return;
            }
            let ends = links.hear_of(exit, self);
            (gone, ends)
        };
        drop(gone);
        if let Some(reason) = ends {
            self.goes_on_to_end(Stage::Cancelled, &reason);
        }
    }
}

/// Whether a link must be there for what comes by it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entered {
    Needed,
    Anyway,
}

impl Linked {
    fn bonds(&mut self) -> &mut Bonds {
        self.some.get_or_insert_default()
    }

    fn remove(&mut self, peer: Id) -> Option<Process> {
        self.some.as_deref_mut()?.peers.remove(&peer)
    }

    fn trap(&self) -> Option<Arc<Inbox<Arc<Exit>>>> {
        self.some.as_deref()?.trap.upgrade()
    }

    /// What one peer's end does to `this`, whose links these are: why it ends, if it does now.
    fn hear_of(&self, exit: &Arc<Exit>, this: &Process) -> Option<Reason> {
        if let Some(inbox) = self.trap() {
            // One for each process, so that linking to a dead one again and again fills nothing.
            inbox.retain(|other| other.process != exit.process);
            inbox.push(Arc::clone(exit));
            return None;
        }
        let cause = match &exit.end {
            End::Returned => return None,
            End::Linked(cause) => cause,
            _ => exit,
        };
        let reason = match cause.end.is_normal() {
            true => SHUTDOWN,
            false => Reason::from(cause.to_string()),
        };
        if !this.record().raise(Stage::Cancelled, &reason) {
            return None;
        }
        let mut end = this.life().end.lock();
        end.get_or_insert_with(|| Box::new(End::Linked(Arc::clone(cause))));
        Some(reason)
    }

    /// What was trapped of this process and not received is gone.
    fn forget(&self, process: Id) {
        if let Some(inbox) = self.trap() {
            inbox.retain(|exit| exit.process != process);
        }
    }
}

/// The process has ended: those that it is linked to are told, and it is linked to nobody.
pub(super) fn tell_links(process: &Process, exit: &Arc<Exit>) {
    let peers = {
        let mut links = process.life().links.lock();
        links.ended = true;
        let bonds = links.some.as_deref_mut();
        bonds.map(|it| mem::take(&mut it.peers))
    };
    for peer in peers.iter().flat_map(BTreeMap::values) {
        peer.hear_of(exit, Entered::Needed);
    }
}

/// The ends that a process has trapped, in their order, see [`Process::trap_exits`]. It holds one
/// for each process that has ended while it was linked, so nothing is ever lost, and as many as
/// there were such processes at the most.
pub struct Exits {
    inbox: Arc<Inbox<Arc<Exit>>>,
}

impl Exits {
    /// Waits for the next one.
    ///
    /// # Suspends
    /// Until there is one.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds, with nothing received.
    pub fn recv(&self) -> Arc<Exit> {
        perform(self.recv_operation())
    }

    /// The next one, if there is one. Never suspends.
    pub fn try_recv(&self) -> Option<Arc<Exit>> {
        self.inbox.try_take()
    }

    /// [`Exits::recv`] for `span` at the most.
    ///
    /// # Errors
    /// When none came in time.
    pub fn recv_timeout(&self, span: Duration) -> Result<Arc<Exit>, Elapsed> {
        self.recv_operation().perform_timeout(span)
    }

    /// [`Exits::recv`], as an operation.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn recv_operation(&self) -> impl Operation<Output = Arc<Exit>> + '_ {
        self.inbox.take_operation("the exit of a linked process")
    }
}

impl fmt::Debug for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exits").finish_non_exhaustive()
    }
}

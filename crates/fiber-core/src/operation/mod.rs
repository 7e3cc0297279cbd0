//! Operations: everything that can block, as values that compose.
//!
//! Parallel Concurrent ML, restated for pinned stacks. A performer tries its operation; if it
//! cannot commit at once it publishes wait nodes, which live in its own frame (I-12), and parks.
//! A partner commits by moving the performer's one [`WaitCell`]:
//!
//! ```text
//!            claim (a partner, or the performer itself)
//! WAITING ─────────────▶ CLAIMED ──commit(arm)──▶ SETTLED(arm)
//!    │  ▲                   │ release
//!    │  └───────────────────┘
//!    └── withdraw (the performer: cancel, deadline) ──▶ WITHDRAWN
//! ```
//!
//! A claim lasts a few instructions under the list's lock. The partner moves the value and wakes
//! the performer while it is claimed; storing `SETTLED` is the last thing that it does to the
//! performer's frame. So no reference counts are needed, and nothing is allocated.

mod boxed;
mod cell;
mod choice;
#[macro_use]
mod choose;
mod dead;
mod deadlock;
mod graph;
#[cfg(all(test, loom))]
mod graph_models;
mod guard;
mod holder;
mod joiner;
mod latch;
mod list;
#[cfg(all(test, loom))]
mod models;
mod moment;
mod order;
mod owed;
mod perform;
mod wrap;

pub use self::{
    boxed::{BoxedOperation, choose_dyn, guard_dyn, with_nack_dyn},
    cell::{Claim, WaitCell, Waiter},
    choice::{Either, Or},
    dead::{Dead, Fate},
    deadlock::{Deadlock, Link},
    guard::{Guard, Nack, WithNack, guard, guard_with, with_nack},
    holder::{Holder, HolderCell, Resource, Waits},
    latch::{Latch, LatchOperation},
    list::{Match, Met, Partner, WaitList, WaitNode},
    moment::{Always, MomentOperation, Never, always, deadline, never, timeout},
    owed::{Debt, forgive_debt, is_owed},
    perform::{
        Interrupted, perform, perform_or_interrupt, perform_pinned, perform_until, try_perform,
    },
    wrap::{Wrap, WrapAbort},
};
pub(crate) use self::{
    cell::CellState,
    graph::{Edge, WaitGraph},
    holder::StoredWaits,
    joiner::Joiner,
    perform::{Alarm, Noted},
};

use core::{pin::Pin, time::Duration};

use crate::{env::Instant, timeout::Elapsed};

/// Something that one can block on.
///
/// A performer calls, on one pinned value: `prepare` once; `try_now`, but perhaps not if it
/// `is_simple`; if that gives nothing, `publish` once; then, whenever it is woken for nothing,
/// `look_again`; then `retract` once; and in the end `finish` after a commit, `refuse` after a
/// deadlock, `lose` after anything else.
///
/// A primitive with one arm implements `name`, `try_now`, `publish`, `retract` and `finish`; the
/// other methods are for combinators, and for locks.
///
/// # Safety
/// Implementors promise:
/// - `publish` links nodes only into lists whose lock it holds while it looks for partners, so
///   that of two partners at least one sees the other (I-2);
/// - after `retract` no list holds a node of this operation, and none is touched any more (I-12):
///   it may be moved, and if nothing was committed, performed again;
/// - an arm is committed at most once, and its value moves exactly when it is.
pub unsafe trait Operation {
    /// What performing it gives.
    type Output;

    /// What a parked performer waits for, for reports. It only reads: a signal handler may ask.
    fn name(&self) -> &'static str;

    /// What comes before anything is tried: the user's guards, which may park and unwind. Asked
    /// twice it does nothing.
    fn prepare(&mut self, _how: How) {}

    /// How many boxes lie inside of each other in it, see [`Operation::boxed`].
    fn depth(&self) -> usize {
        0
    }

    /// How many arms it has, once it was prepared.
    fn arms(&self) -> u16 {
        1
    }

    /// Whether it is as simple as can be: one arm, which is not for a moment, and whose one node
    /// goes into one list. Then it is published without being tried first, by one look under one
    /// lock; and as all partners come with that lock, they need not agree who has its performer.
    ///
    /// Who says so promises: `publish` commits whenever `try_now` would; the performer's cell is
    /// claimed under the lock of that list only; `look_again` meets nobody, for
    /// [`WaitList::find`] does not settle such a performer, nor know it in the list, but takes
    /// what there is by [`WaitCell::claim_own`]; and `retract` of what was published and has not
    /// won takes that lock, also if a partner has unlinked the node meanwhile (I-12). That one may
    /// have committed it: giving up is to retract first, and to look then.
    fn is_simple(&self) -> bool {
        false
    }

    /// When the first of its arms that wait for a moment is due, and which one that is. The
    /// performer watches the clock for it, and commits that arm then. `now` reads the clock.
    fn due(&self, _now: &dyn Fn() -> Instant) -> Option<(Instant, u16)> {
        None
    }

    /// Who could be asked when this will end: for operations with one arm that end by the doing of
    /// certain fibers only, such as those that hold a lock, or of those who have certain handles.
    fn waits(&self) -> Option<Waits<'_>> {
        None
    }

    /// Commits if that is possible without waiting; gives the arm. Publishes nothing, does not rely
    /// on the operation staying in place, and does not move what `publish` relies on.
    ///
    /// For performers: after an arm is committed only `finish` may follow. Called again it may give
    /// nonsense, but nothing unsound.
    fn try_now(&mut self) -> Option<u16>;

    /// [`Operation::try_now`] for one arm.
    fn try_arm(&mut self, arm: u16) -> bool {
        debug_assert_eq!(arm, 0, "an operation with more arms tries each by itself");
        self.try_now().is_some()
    }

    /// Links a node for each arm, numbered from `base`, unless one can be committed already.
    ///
    /// Other arms of the same performer may be linked elsewhere, whose partners are after the same
    /// cell. So an arm is committed only with that cell in hand: by a partner found with
    /// [`WaitList::find`] (`Some(cell)`), or by [`WaitCell::claim_own`].
    ///
    /// # Safety
    /// `cell` stays where it is until `retract` has returned.
    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published;

    /// Looks once more whether an arm that was published can commit without a partner: for
    /// primitives that wake those who wait and let them try again. As `publish` otherwise.
    fn look_again(self: Pin<&mut Self>, _cell: &WaitCell, _base: u16) -> Published {
        Published::Waiting
    }

    /// Unlinks every node but that of the `winner`, which its partner has unlinked.
    fn retract(self: Pin<&mut Self>, winner: Option<u16>);

    /// The value of the committed arm. Runs on the performer, outside of every lock.
    ///
    /// # Safety
    /// `arm` was committed, by `try_now`, by `publish` or by a partner, whatever was published has
    /// been retracted, and this is called once: a lock's guard, for one, is made here.
    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> Self::Output;

    /// What it comes to when nobody is left who could ever end it, as [`Operation::waits`] has
    /// shown. Instead of `finish`, with nothing committed.
    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> Self::Output {
        unreachable!("it waits for nobody, and yet: {deadlock}")
    }

    /// It was tried, and something else has come of it: another operation of a choice was chosen,
    /// or none. After everything was retracted, on the performer, outside of every lock. Runs the
    /// user's code, which may unwind. Asked twice it does nothing.
    fn lose(self: Pin<&mut Self>) {}

    /// Waits until it has committed, see [`perform()`].
    #[inline]
    fn perform(self) -> Self::Output
    where
        Self: Sized,
    {
        perform(self)
    }

    /// Commits it if that is possible at once, see [`try_perform()`].
    ///
    /// # Errors
    /// The operation itself, unharmed, with what it owns.
    #[inline]
    fn try_perform(self) -> Result<Self::Output, Self>
    where
        Self: Sized,
    {
        try_perform(self)
    }

    /// [`Operation::perform`] that gives up after `span`.
    ///
    /// # Errors
    /// When the time is over, with nothing committed.
    fn perform_timeout(self, span: Duration) -> Result<Self::Output, Elapsed>
    where
        Self: Sized,
    {
        perform_until(self, Some(span)).map_err(|_| Elapsed::new())
    }

    /// The operation that gives `then` of what this one gives. The function runs after the commit,
    /// on the performer, and may wait.
    fn wrap<F, T>(self, then: F) -> Wrap<Self, F>
    where
        Self: Sized,
        F: FnOnce(Self::Output) -> T,
    {
        Wrap::new(self, then)
    }

    /// The operation that runs `abort` if it was performed or tried and not chosen, in whatever way
    /// that ended: on the performer, masked, before what was chosen goes on.
    fn wrap_abort<F>(self, abort: F) -> WrapAbort<Self, F>
    where
        Self: Sized,
        F: FnOnce(),
    {
        WrapAbort::new(self, abort)
    }

    /// Either this operation or `other`, whichever can commit first.
    fn or<O>(self, other: O) -> Or<Self, O>
    where
        Self: Sized,
        O: Operation,
    {
        Or::new(self, other)
    }

    /// The operation without its type, on the heap.
    ///
    /// # Panics
    /// When more than 64 boxes would lie inside of each other.
    fn boxed<'a>(self) -> BoxedOperation<'a, Self::Output>
    where
        Self: Sized + 'a,
    {
        BoxedOperation::new(self)
    }
}

/// What is said of those who perform several operations at once, until one commits.
pub(crate) const CHOICE: &str = "a choice";

/// What an operation is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    tries: bool,
    depth: usize,
}

impl How {
    /// Its performer waits for it.
    pub const PERFORM: Self = Self {
        tries: false,
        depth: 0,
    };

    /// It is tried once.
    pub const TRY: Self = Self {
        tries: true,
        depth: 0,
    };

    /// Whether it is only tried: its performer will not wait.
    pub const fn is_try(self) -> bool {
        self.tries
    }
}

/// What publishing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "implementors of Operation build it"
)]
pub enum Published {
    /// Every arm is linked, or somebody else has the performer's cell: wait for it.
    Waiting,
    /// This arm (from 0, without `base`) is committed, and the performer's cell settled on it.
    Committed(u16),
}

impl Published {
    /// What publishing gives when the first arm, which is number `base` of `cell`, can commit
    /// without a partner and has nothing to move.
    pub fn own(cell: &WaitCell, base: u16) -> Self {
        match cell.claim_own() {
            Some(claim) => {
                claim.settle(base);
                Self::Committed(0)
            }
            None => Self::Waiting,
        }
    }
}

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

mod cell;
mod latch;
mod list;
#[cfg(all(test, loom))]
mod models;
mod perform;

pub use self::{
    cell::{Claim, WaitCell, Waiter},
    latch::{Latch, LatchOperation},
    list::{Match, Partner, WaitList, WaitNode},
    perform::{
        Interrupted, perform, perform_or_interrupt, perform_pinned, perform_until, try_perform,
    },
};

use core::pin::Pin;

/// Something that one can block on.
///
/// A performer calls, on one pinned value: `try_now`; if that gives nothing, `publish` once; then
/// `retract` once; and after a commit `finish` once.
///
/// # Safety
/// Implementors promise:
/// - `publish` links nodes only into lists whose lock it holds while it looks for partners, so
///   that of two partners at least one sees the other (I-2);
/// - after `retract` no list holds a node of this operation, and none is touched any more (I-12);
/// - an arm is committed at most once, and its value moves exactly when it is.
pub unsafe trait Operation {
    /// What performing it gives.
    type Output;

    /// How many arms it has.
    const ARMS: u16;

    /// What a parked performer waits for, for reports.
    fn name(&self) -> &'static str;

    /// Commits if that is possible without waiting; gives the arm. Publishes nothing, does not rely
    /// on the operation staying in place, and does not move what `publish` relies on.
    fn try_now(&mut self) -> Option<u16>;

    /// Links a node for each arm, numbered from `base`, unless one can be committed already.
    ///
    /// Other arms of the same performer may be linked elsewhere, whose partners are after the same
    /// cell. So an arm is committed only with that cell in hand: by a partner found with
    /// [`WaitList::find`] (`Some(cell)`), or by [`WaitCell::claim_own`].
    ///
    /// # Safety
    /// `cell` stays where it is until `retract` has returned.
    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published;

    /// Unlinks every node but that of the `winner`, which its partner has unlinked.
    fn retract(self: Pin<&mut Self>, winner: Option<u16>);

    /// The value of the committed arm. Runs on the performer, outside of every lock.
    ///
    /// # Safety
    /// `arm` was committed, by `try_now`, by `publish` or by a partner, whatever was published has
    /// been retracted, and this is called once: a lock's guard, for one, is made here.
    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> Self::Output;
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

//! The one word on which a performer and its partners agree.

use alloc::sync::Arc;
#[cfg(not(loom))]
use core::ptr;
use core::{fmt, ptr::NonNull};

use super::owed::{Debt, owe};
use crate::{
    env::Unpark,
    fiber::Header,
    id::Id,
    primitive::{AtomicU32, Ordering},
    spin,
};

const WAITING: u32 = 0;
const CLAIMED: u32 = 1;
const WITHDRAWN: u32 = 2;
const SETTLED: u32 = 3;

/// One perform's state, in the performer's frame.
#[derive(Debug)]
pub struct WaitCell {
    state: AtomicU32,
    until: Until,
    /// Whether all who claim it hold one and the same lock, so that they need not race for it.
    simple: bool,
    waiter: Waiter,
    /// Stands for the address in models, which are to run alike wherever their stacks lie.
    #[cfg(loom)]
    rank: usize,
}

/// Who is to be woken: a fiber by its block, a plain thread through its host.
///
/// The pointer is good while the cell is claimed, since the performer cannot leave before it is
/// settled, and under the lock of a list that has a node of it.
pub struct Waiter(WaiterKind);

enum WaiterKind {
    Fiber(NonNull<Header>),
    Thread(Arc<dyn Unpark>),
    Nobody,
}

// SAFETY: the fiber's block is reached only by `wake`, which any thread may call, and only while
// the performer is held in place by a claim (I-12).
unsafe impl Send for Waiter {}
// SAFETY: as above (I-12).
unsafe impl Sync for Waiter {}

impl Waiter {
    #[inline]
    pub(crate) fn fiber(header: &Header) -> Self {
        Self(WaiterKind::Fiber(NonNull::from_ref(header)))
    }

    pub(crate) fn thread(unparker: Arc<dyn Unpark>) -> Self {
        Self(WaiterKind::Thread(unparker))
    }

    /// For one who does not wait, only looks.
    pub(crate) const fn nobody() -> Self {
        Self(WaiterKind::Nobody)
    }

    #[inline]
    fn wake(&self) {
        match &self.0 {
            WaiterKind::Nobody => {}
            // SAFETY: called on a claimed cell, or under the lock of a list that has a node of it:
            // the fiber cannot leave its wait, let alone end, before either is over (I-12).
            WaiterKind::Fiber(header) => unsafe { header.as_ref() }.wake(),
            WaiterKind::Thread(unparker) => unparker.unpark(),
        }
    }

    fn fiber_id(&self) -> Option<Id> {
        match &self.0 {
            // SAFETY: called on a claimed cell, as for `wake` (I-12).
            WaiterKind::Fiber(header) => unsafe { header.as_ref() }.id(),
            WaiterKind::Thread(_) | WaiterKind::Nobody => None,
        }
    }

    fn is_cancelled(&self) -> bool {
        match &self.0 {
            // SAFETY: called while the performer cannot leave: under the lock of a list that has a
            // node of the cell, or of the graph that has its edge (I-12).
            WaiterKind::Fiber(header) => unsafe { header.as_ref() }.is_cancelled(),
            WaiterKind::Thread(_) | WaiterKind::Nobody => false,
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            WaiterKind::Fiber(_) => "fiber",
            WaiterKind::Thread(_) => "thread",
            WaiterKind::Nobody => "nobody",
        })
    }
}

/// What ends a wait but a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Nothing: its performer is masked.
    Partner,
    /// A cancel, which plain threads do not know.
    Cancelled,
    /// The time around it, or the end of what it is a part of.
    Limit,
}

/// What a performer sees in its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellState {
    Waiting,
    Claimed,
    Settled(u16),
}

impl WaitCell {
    /// The cell of a performer that is about to wait.
    pub fn new(waiter: Waiter) -> Self {
        Self::with_end(waiter, Until::Cancelled, false)
    }

    /// The cell of a performer whose wait ends in this way, too. `simple`: it is for an operation
    /// that [is](super::Operation::is_simple).
    #[inline]
    pub(super) fn with_end(waiter: Waiter, until: Until, simple: bool) -> Self {
        Self {
            state: AtomicU32::new(WAITING),
            until,
            simple,
            waiter,
            #[cfg(loom)]
            rank: next_rank(),
        }
    }

    #[cfg(not(loom))]
    fn is_above(&self, other: &Self) -> bool {
        ptr::from_ref(self) > ptr::from_ref(other)
    }

    #[cfg(loom)]
    fn is_above(&self, other: &Self) -> bool {
        self.rank > other.rank
    }

    #[inline]
    pub(crate) fn state(&self) -> CellState {
        match self.state.load(Ordering::Acquire) {
            WAITING => CellState::Waiting,
            CLAIMED => CellState::Claimed,
            settled if settled >= SETTLED => {
                #[expect(clippy::cast_possible_truncation, reason = "made from 16 bits")]
                let arm = (settled - SETTLED) as u16;
                CellState::Settled(arm)
            }
            _ => unreachable!("a performer that has withdrawn does not look again"),
        }
    }

    /// Whether nobody has committed anything to the performer, and it has not given up. *Thread*:
    /// any.
    pub(super) fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WAITING
    }

    /// Whether it waits, and will until a partner comes, as far as one can tell. Only under the
    /// lock of a list in which a node of this cell is linked, so that it cannot leave meanwhile
    /// (I-12).
    pub(super) fn stays(&self) -> bool {
        self.is_waiting() && !self.ends()
    }

    /// Whether the wait ends without a partner, or has. Only while the performer cannot leave
    /// (I-12).
    pub(super) fn ends(&self) -> bool {
        match self.until {
            Until::Partner => false,
            Until::Cancelled => self.waiter.is_cancelled(),
            Until::Limit => true,
        }
    }

    /// [`WaitCell::is_waiting`] after what is under way: a claim may be let go again. Not for one
    /// who has a claim.
    pub(super) fn is_left_waiting(&self) -> bool {
        let mut spins = 0;
        loop {
            match self.state.load(Ordering::Relaxed) {
                WAITING => return true,
                CLAIMED => spin::relax(&mut spins),
                _ => return false,
            }
        }
    }

    /// Takes the performer's cell, if it still waits; waits out another's claim, which lasts a few
    /// instructions.
    ///
    /// # Safety
    /// The caller holds the lock of a list in which a node of this cell is linked, so that the
    /// performer cannot leave (I-12), and keeps it until the claim has ended.
    #[inline]
    pub unsafe fn claim(&self) -> Option<Claim<'_>> {
        let mut spins = 0;
        loop {
            match self.try_claim() {
                Ok(claim) => return Some(claim),
                Err(CLAIMED) => spin::relax(&mut spins),
                Err(_) => return None,
            }
        }
    }

    /// Wakes the performer, which finds its cell as it was and looks again. Only under the lock of
    /// a list in which a node of this cell is linked, so that it cannot leave meanwhile (I-12).
    pub(super) fn nudge(&self) {
        self.waiter.wake();
    }

    /// Puts [`WaitCell::nudge`] off, if that is possible, see [`owe`](super::owed::owe).
    ///
    /// # Safety
    /// Under the lock of a list in which a node of this cell is linked, and the performer waits for
    /// what the debt is a part of: that stays in place until it has run (I-12).
    pub(super) unsafe fn owe(&self, debt: &dyn Debt) -> bool {
        let WaiterKind::Fiber(header) = &self.waiter.0 else {
            return false;
        };
        // SAFETY: the performer cannot leave while the lock is held, as the caller promises (I-12).
        let header = unsafe { header.as_ref() };
        // SAFETY: the rest of the caller's promise (I-12).
        unsafe { owe(debt, header) }
    }

    /// Takes the calling performer's own cell, before it commits an arm without a partner; `None`
    /// if a partner has committed another arm. Settle the claim as soon as the arm is committed:
    /// while it is held no other cell may be waited for.
    pub fn claim_own(&self) -> Option<Claim<'_>> {
        // SAFETY: it is the caller's own, so the performer cannot leave (I-12).
        unsafe { self.claim() }
    }

    /// Takes both cells, or neither: for a performer with other arms already published (`own`)
    /// that meets a waiting partner.
    ///
    /// Two performers that meet each other on two lists are told apart by their addresses: the
    /// lower one holds on, the higher one lets go and looks again. Chains of claims end for the
    /// same reason: addresses along them cannot rise for ever.
    ///
    /// # Safety
    /// As [`WaitCell::claim`], for `peer`; `own` is the calling performer's.
    pub(crate) unsafe fn claim_both<'cell>(own: &'cell Self, peer: &'cell Self) -> Both<'cell> {
        let mut spins = 0;
        loop {
            // Who has it may let it go again, as one does who needs more than there are. Nobody who
            // has it waits for us: we have no claim.
            let Some(ours) = own.claim_own() else {
                return Both::OwnTaken;
            };
            loop {
                match peer.try_claim() {
                    Ok(theirs) => return Both::Claimed { ours, theirs },
                    Err(CLAIMED) if own.is_above(peer) => break,
                    Err(CLAIMED) => spin::relax(&mut spins),
                    Err(_) => return Both::PeerGone,
                }
            }
            drop(ours);
            spin::relax(&mut spins);
        }
    }

    /// The claim that was taken before, and forgotten: whoever did has it back.
    pub(super) const fn resume_claim(&self) -> Claim<'_> {
        Claim { cell: self }
    }

    /// Whether somebody else has the claim, of what [`WaitCell::try_claim`] has found.
    pub(super) const fn is_claim(state: u32) -> bool {
        state == CLAIMED
    }

    #[inline]
    pub(super) fn try_claim(&self) -> Result<Claim<'_>, u32> {
        if self.simple {
            // The lock that the caller holds keeps everybody else from it, and orders what they
            // did to it. The performer is to see this: it may be woken before the claim has ended.
            let state = self.state.load(Ordering::Relaxed);
            if state != WAITING {
                return Err(state);
            }
            self.state.store(CLAIMED, Ordering::Relaxed);
            return Ok(Claim { cell: self });
        }
        self.state
            .compare_exchange(WAITING, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
            .map(|_| Claim { cell: self })
    }

    /// Whether it is the cell of a [simple](super::Operation::is_simple) operation.
    pub(super) const fn is_simple(&self) -> bool {
        self.simple
    }

    /// The performer gives up; false if a partner was faster (or is about to be: look again). One
    /// whose operation is simple retracts instead, and then looks.
    pub(crate) fn withdraw(&self) -> bool {
        debug_assert!(!self.simple, "partners do not race for it");
        self.state
            .compare_exchange(WAITING, WITHDRAWN, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }
}

#[cfg(loom)]
fn next_rank() -> usize {
    static RANK: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);
    RANK.fetch_add(1, Ordering::Relaxed)
}

/// What [`WaitCell::claim_both`] got.
pub(crate) enum Both<'cell> {
    Claimed {
        ours: Claim<'cell>,
        theirs: Claim<'cell>,
    },
    /// The partner has committed elsewhere or has withdrawn.
    PeerGone,
    /// Somebody else has committed our own cell.
    OwnTaken,
}

/// The exclusive right to settle a cell; dropped unused it lets the performer wait on.
#[derive(Debug)]
#[must_use = "a claim that is dropped lets the performer wait on"]
pub struct Claim<'cell> {
    cell: &'cell WaitCell,
}

impl Claim<'_> {
    /// The fiber whose cell it is, if it is a fiber's and that has an id.
    pub(super) fn fiber(&self) -> Option<Id> {
        self.cell.waiter.fiber_id()
    }

    /// Settles the cell on `arm` and wakes the performer. The value has been moved before.
    pub fn commit(self, arm: u16) {
        let WaiterKind::Fiber(header) = self.cell.waiter.0 else {
            self.cell.waiter.wake();
            return self.settle(arm);
        };
        // SAFETY: the cell is claimed, so the fiber cannot leave its wait (I-12).
        let parked = unsafe { header.as_ref() }.wake_word().notify();
        // Settled before it is queued, which may take a call of the system: it would wait for that
        // on its own worker.
        self.settle(arm);
        if parked {
            // SAFETY: the fiber is suspended, and nobody but us may queue it (I-11).
            unsafe { header.as_ref() }.queue_at_home();
        }
    }

    /// Settles the caller's own cell, which needs no waking.
    #[inline]
    pub fn settle(self, arm: u16) {
        // The last touch of the performer's frame: from here on it may leave (I-12).
        self.cell
            .state
            .store(SETTLED + u32::from(arm), Ordering::Release);
        core::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.cell.state.store(WAITING, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use std::thread;

    use super::*;

    /// One that was woken takes its own cell, finds the lock taken, and waits on.
    #[test]
    fn one_whose_claim_was_let_go_is_left_waiting() {
        for settles in [false, true] {
            let cell = WaitCell::new(Waiter::nobody());
            let claim = cell.claim_own().expect("it waits");
            let left = thread::scope(|scope| {
                let looks = scope.spawn(|| cell.is_left_waiting());
                for _ in 0..100 {
                    thread::yield_now();
                }
                match settles {
                    true => claim.settle(0),
                    false => drop(claim),
                }
                looks.join().expect("it only looks")
            });
            assert_eq!(left, !settles);
        }
    }
}

//! A place where so many wait for one another.
//!
//! Those who wait stand in a list. The last one that comes commits all the others and itself, at
//! one moment: one that gives up, or a choice that has taken another arm, is not counted, although
//! it may still stand there.

use core::{
    cell::Cell,
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    ptr,
    time::Duration,
};

use fiber_core::{
    operation::{
        Met, Operation, Published, WaitCell, WaitList, WaitNode, perform, perform_until,
        try_perform,
    },
    spin::SpinLock,
    timeout::Elapsed,
};

use crate::primitive::const_unless_loom;

/// A number of fibers and threads wait here until all of them have come; then the next round
/// begins.
///
/// Shaped as std's `Barrier`; one may stop waiting, and then counts as one that has not come.
///
/// ```
/// use fiber_sync::Barrier;
///
/// let barrier = Barrier::new(1);
/// assert!(barrier.wait().is_leader());
/// ```
pub struct Barrier {
    /// How many the last one finds here.
    others: usize,
    waiting: SpinLock<WaitList>,
}

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

impl Barrier {
    const_unless_loom! {
        /// A barrier for `n`; for 0 as for 1.
        pub fn new(n: usize) -> Self {
            Self {
                others: n.saturating_sub(1),
                waiting: SpinLock::new(WaitList::new()),
            }
        }
    }

    /// Waits until all have come.
    ///
    /// # Suspends
    /// Until the last one comes.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and counts as one that has not come, unless all have.
    #[inline]
    pub fn wait(&self) -> BarrierWaitResult {
        perform(self.wait_operation())
    }

    /// Goes on with the others if they all wait here; `None` otherwise. Never suspends.
    pub fn try_wait(&self) -> Option<BarrierWaitResult> {
        try_perform(self.wait_operation()).ok()
    }

    /// [`Barrier::wait`] that gives up after `span`.
    ///
    /// # Suspends
    /// Until the last one comes, for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Barrier::wait`].
    ///
    /// # Errors
    /// When the time is over; the caller counts as one that has not come.
    pub fn wait_timeout(&self, span: Duration) -> Result<BarrierWaitResult, Elapsed> {
        perform_until(self.wait_operation(), Some(span)).map_err(|_| Elapsed::new())
    }

    /// Waiting until all have come, as an operation.
    pub const fn wait_operation(&self) -> BarrierOperation<'_> {
        BarrierOperation {
            barrier: self,
            leader: Cell::new(false),
            node: WaitNode::new(),
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

/// As what one has passed a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller was the last one that came: one of each round is.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        self.0
    }
}

/// Waits at a barrier.
#[derive(Debug)]
pub struct BarrierOperation<'barrier> {
    barrier: &'barrier Barrier,
    leader: Cell<bool>,
    node: WaitNode,
}

// SAFETY: it looks for the others under the lock under which it links (I-2), the last one unlinks
// all of them, and `retract` unlinks otherwise (I-12).
unsafe impl Operation for BarrierOperation<'_> {
    type Output = BarrierWaitResult;

    fn name(&self) -> &'static str {
        "a barrier"
    }

    fn try_now(&mut self) -> Option<u16> {
        let mut waiting = self.barrier.waiting.lock();
        let all = waiting.commit_all(None, self.barrier.others) == Met::All;
        self.leader.set(all);
        all.then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let mut waiting = this.barrier.waiting.lock();
        match waiting.commit_all(Some((cell, base)), this.barrier.others) {
            Met::All => {
                this.leader.set(true);
                Published::Committed(0)
            }
            Met::OwnTaken => Published::Waiting,
            Met::TooFew => {
                // SAFETY: under the lock; node and cell stay until `retract`, by the caller's
                // promise (I-12).
                unsafe { waiting.push(node, cell, base, ptr::null_mut()) };
                Published::Waiting
            }
        }
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            self.barrier.waiting.lock().remove(&self.node);
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        BarrierWaitResult(self.leader.get())
    }
}

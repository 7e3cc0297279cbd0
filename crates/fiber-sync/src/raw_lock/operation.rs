//! Getting a raw lock, as something that one can block on.

use core::{fmt, panic::Location, pin::Pin};

use fiber_core::operation::{Deadlock, Operation, Published, Resource, WaitCell, WaitNode, Waits};

use super::RawLock;

/// What a waiter is ready for when the lock becomes free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// To be given the lock: it may be gone by the time that it could look.
    TakesOver = 0,
    /// To be woken and to look again, also if others may have passed it by.
    LooksAgain = 1,
}

/// Gets a raw lock.
pub(crate) struct Acquire<'lock> {
    lock: &'lock RawLock,
    /// What the lock is a part of, for reports.
    resource: &'lock dyn Resource,
    site: &'static Location<'static>,
    patience: Patience,
    node: WaitNode,
}

impl<'lock> Acquire<'lock> {
    pub(crate) const fn new(
        lock: &'lock RawLock,
        resource: &'lock dyn Resource,
        site: &'static Location<'static>,
        patience: Patience,
    ) -> Self {
        Self {
            lock,
            resource,
            site,
            patience,
            node: WaitNode::new(),
        }
    }

    fn node(self: Pin<&mut Self>) -> (&Self, Pin<&WaitNode>) {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        (this, unsafe { Pin::new_unchecked(&this.node) })
    }
}

// SAFETY: the raw lock looks at its word again under the lock under which it links (I-2), whoever
// hands over unlinks the winner's node, and `retract` unlinks the others (I-12).
unsafe impl Operation for Acquire<'_> {
    /// Whether the caller has it now.
    type Output = Result<(), Deadlock>;

    fn name(&self) -> &'static str {
        self.resource.kind()
    }

    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: self.resource,
            site: self.site,
            only_holders: true,
        })
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        self.lock.try_lock().then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let (this, node) = self.node();
        // SAFETY: node and cell stay until `retract`, by the caller's promise (I-12).
        unsafe { this.lock.publish(node, cell, base, this.patience) }
    }

    fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let (this, node) = self.node();
        this.lock.look_again(&node, cell, base)
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            let (this, node) = self.node();
            this.lock.retract(&node);
        }
    }

    #[inline]
    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        self.lock.holder().set(self.site);
        Ok(())
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> Self::Output {
        Err(deadlock)
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acquire({} at {})", self.resource.kind(), self.site)
    }
}

//! Waiting for the next member's end, as something that one can block on.

use core::{cell::Cell, fmt, pin::Pin};

use fiber_core::{
    fiber::ExitReason,
    operation::{Operation, Published, WaitCell, WaitNode},
};

use super::JoinSet;

/// Waits for the next fiber of a set to end, see
/// [`JoinSet::join_next_operation`]. It has the set for itself.
pub struct JoinNext<'set, T> {
    set: &'set mut JoinSet<T>,
    /// The member, once one was committed; nothing if none was left.
    key: Cell<Option<usize>>,
    node: WaitNode,
}

impl<'set, T> JoinNext<'set, T> {
    pub(super) fn new(set: &'set mut JoinSet<T>) -> Self {
        Self {
            set,
            key: Cell::new(None),
            node: WaitNode::new(),
        }
    }
}

// SAFETY: the queue looks for ended members under the lock under which it links (I-2), a member
// that ends unlinks whom it serves, and `retract` unlinks under the lock, too (I-12).
unsafe impl<T> Operation for JoinNext<'_, T> {
    type Output = Option<Result<T, ExitReason>>;

    fn name(&self) -> &'static str {
        "joining the next"
    }

    fn try_now(&mut self) -> Option<u16> {
        self.key.set(self.set.ended.try_take());
        (self.key.get().is_some() || self.set.is_empty()).then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        if this.set.is_empty() {
            return Published::own(cell, base);
        }
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        // SAFETY: place, node and cell stay until `retract`, by the caller's promise (I-12).
        unsafe { this.set.ended.publish(&this.key, node, cell, base) }
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {
        let this = self.into_ref().get_ref();
        this.set.ended.retract(&this.node);
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        // SAFETY: it is committed and retracted, so that nothing is in place any more, and the
        // node is not moved (I-12).
        let this = unsafe { self.get_unchecked_mut() };
        let key = this.key.take()?;
        Some(this.set.take(key))
    }
}

impl<T> fmt::Debug for JoinNext<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinNext").finish_non_exhaustive()
    }
}

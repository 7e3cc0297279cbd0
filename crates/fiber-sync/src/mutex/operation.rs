//! Locking, as something that one can block on.

use core::{fmt, pin::Pin};

use fiber_core::operation::{Operation, Published, WaitCell, WaitNode};

use super::{Mutex, MutexGuard};
use crate::poison::LockResult;

/// Locks a mutex.
pub struct LockOperation<'mutex, T: ?Sized> {
    mutex: &'mutex Mutex<T>,
    node: WaitNode,
}

impl<'mutex, T: ?Sized> LockOperation<'mutex, T> {
    pub(super) const fn new(mutex: &'mutex Mutex<T>) -> Self {
        Self {
            mutex,
            node: WaitNode::new(),
        }
    }
}

// SAFETY: the raw lock looks at its word again under the lock under which it links (I-2), the
// winner's node was unlinked by the one that handed over, and `retract` unlinks the others (I-12).
unsafe impl<'mutex, T: ?Sized> Operation for LockOperation<'mutex, T> {
    type Output = LockResult<MutexGuard<'mutex, T>>;

    fn name(&self) -> &'static str {
        "a mutex"
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        self.mutex.raw.try_lock().then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        // SAFETY: node and cell stay until `retract`, by the caller's promise (I-12).
        unsafe { this.mutex.raw.publish(node, cell, base) }
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            self.mutex.raw.retract(&self.node);
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        self.mutex.owned()
    }
}

impl<T: ?Sized> fmt::Debug for LockOperation<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOperation").finish_non_exhaustive()
    }
}

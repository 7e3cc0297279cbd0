//! A door that opens once, for all: Guile's condition, the end of a fiber.

use core::pin::Pin;

use super::{
    Operation, Published,
    cell::WaitCell,
    list::{Match, WaitList, WaitNode},
};
use crate::{
    primitive::{AtomicBool, Ordering},
    spin::SpinLock,
};

/// Closed at first; once open it stays open, and nobody waits for it any more.
#[derive(Debug)]
pub struct Latch {
    open: AtomicBool,
    waiting: SpinLock<WaitList>,
}

impl Latch {
    /// A closed latch.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            open: AtomicBool::new(false),
            waiting: SpinLock::new(WaitList::new()),
        }
    }

    /// A closed latch.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            open: AtomicBool::new(false),
            waiting: SpinLock::new(WaitList::new()),
        }
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Opens it and wakes everybody, in the order in which they came; says whether it was closed.
    /// Never waits.
    ///
    /// The latch may be freed as soon as one that it has woken can see it open, so this touches it
    /// under its lock only, and waiters take that lock once before they leave.
    pub fn open(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let first = !self.is_open();
        self.open.store(true, Ordering::Release);
        while let Match::Partner(partner) = waiting.find(None) {
            partner.commit(0);
        }
        first
    }

    /// The operation that waits until it is open; `name` is what reports call it.
    pub const fn wait_operation(&self, name: &'static str) -> LatchOperation<'_> {
        LatchOperation {
            latch: self,
            name,
            node: WaitNode::new(),
        }
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until a latch is open.
#[derive(Debug)]
pub struct LatchOperation<'latch> {
    latch: &'latch Latch,
    name: &'static str,
    node: WaitNode,
}

impl LatchOperation<'_> {
    /// Whether it would commit at once.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.latch.is_open()
    }

    fn node(self: Pin<&mut Self>) -> (&Latch, Pin<&WaitNode>) {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        (this.latch, unsafe { Pin::new_unchecked(&this.node) })
    }
}

// SAFETY: it looks at `open` again under the lock under which it links (I-2), `open` is set under
// that lock too, and `retract` unlinks under it (I-12).
unsafe impl Operation for LatchOperation<'_> {
    type Output = ();

    fn name(&self) -> &'static str {
        self.name
    }

    fn try_now(&mut self) -> Option<u16> {
        if !self.latch.is_open() {
            return None;
        }
        // Whoever opens it may still be inside: see `Latch::open`.
        drop(self.latch.waiting.lock());
        Some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let (latch, node) = self.node();
        let mut waiting = latch.waiting.lock();
        if latch.is_open() {
            return Published::own(cell, base);
        }
        // SAFETY: under the lock; node and cell stay until `retract`, by the caller's promise
        // (I-12).
        unsafe { waiting.push(node, cell, base, core::ptr::null_mut()) };
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {
        let (latch, node) = self.node();
        // Also for the winner: see `Latch::open`.
        latch.waiting.lock().remove(&node);
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) {}
}

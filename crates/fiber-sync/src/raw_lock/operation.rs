//! Getting a raw lock, as something that one can block on.

use alloc::boxed::Box;
use core::{cell::Cell, fmt, panic::Location, pin::Pin};

use fiber_core::operation::{
    Dead, Deadlock, Operation, Published, Resource, WaitCell, WaitNode, Waits,
};

use super::RawLock;
use crate::poison::{Abandoned, LockError};

/// What a waiter is ready for when the lock becomes free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// To be given the lock: it may be gone by the time that it could look.
    TakesOver,
    /// To be woken and to look again, also if others may have passed it by.
    LooksAgain,
}

/// What one who waits wants; in its frame, and pointed to by the value of its node.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) patience: Patience,
    pub(super) site: &'static Location<'static>,
    /// How many times the wake was put off. Under the list's lock.
    pub(super) debts: Cell<u32>,
}

impl Request {
    /// The request that a node's value points to.
    ///
    /// # Safety
    /// The node is linked, in a list whose lock the caller holds, or was found there and is not
    /// committed yet (I-12).
    pub(super) unsafe fn of<'request>(value: *mut ()) -> &'request Self {
        // SAFETY: it stays in place as long as the node does, by the caller's promise (I-12).
        unsafe { &*value.cast_const().cast() }
    }
}

/// Gets a raw lock.
pub(crate) struct Acquire<'lock> {
    lock: &'lock RawLock,
    /// What the lock is a part of, for reports.
    resource: &'lock dyn Resource,
    request: Request,
    node: WaitNode,
    /// The holder, if that was abandoned: this is what was committed instead of the lock.
    dead: Cell<Option<Box<Dead>>>,
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
            request: Request {
                patience,
                site,
                debts: Cell::new(0),
            },
            node: WaitNode::new(),
            dead: Cell::new(None),
        }
    }

    /// Commits the error in place of the lock, if the holder was abandoned.
    #[cold]
    fn is_hopeless(&mut self) -> bool {
        let dead = self.dead.get_mut();
        *dead = Dead::in_the_way_of(self.resource);
        dead.is_some()
    }

    /// What publishing has come to: whoever has the lock is noted before anything else can happen
    /// to it, and whoever would wait for one that was abandoned does not.
    fn conclude(&self, published: Published, cell: &WaitCell, base: u16) -> Published {
        if let Published::Committed(_) = published {
            self.lock.holder().set(self.request.site);
        } else if let Some(dead) = Dead::in_the_way_of(self.resource)
            && self.lock.give_up(&self.node, cell, base)
        {
            self.dead.set(Some(dead));
            return Published::Committed(0);
        }
        published
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
    type Output = Result<(), LockError<()>>;

    fn name(&self) -> &'static str {
        self.resource.kind()
    }

    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: self.resource,
            site: self.request.site,
            only_holders: true,
        })
    }

    fn is_simple(&self) -> bool {
        true
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        (self.lock.try_lock() || self.is_hopeless()).then_some(0)
    }

    #[inline]
    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let (this, node) = self.node();
        // SAFETY: node and cell stay until `retract`, by the caller's promise (I-12).
        let published = unsafe { this.lock.publish(node, cell, base, &this.request) };
        this.conclude(published, cell, base)
    }

    fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let (this, node) = self.node();
        let published = this.lock.look_again(&node, cell, base);
        this.conclude(published, cell, base)
    }

    #[inline]
    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            let (this, node) = self.node();
            this.lock.retract(&node);
        }
    }

    #[inline]
    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        if let Some(dead) = self.dead.take() {
            return Err(Abandoned::new(dead).into());
        }
        self.lock.holder().set(self.request.site);
        Ok(())
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> Self::Output {
        Err(deadlock.into())
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Acquire({} at {})",
            self.resource.kind(),
            self.request.site
        )
    }
}

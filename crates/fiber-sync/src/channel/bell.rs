//! Something that many look at and wait for: whoever changes it wakes all of them.
//!
//! Oneshot, watch and broadcast channels wait in the same way: for something that, once it has
//! come, is there until this one waiter has looked: a value, a later version, another message. So
//! all who wait are woken, and each takes its part when it runs, outside of the lock, where the
//! user's code (`Clone`, `Drop`) may run.

use core::{panic::Location, pin::Pin};

use fiber_core::{
    operation::{Match, Operation, Published, Resource, WaitCell, WaitList, WaitNode, Waits},
    spin::SpinLock,
};

/// A state under a lock, and who waits for it to change.
pub(super) struct Bell<S> {
    inner: SpinLock<Inner<S>>,
}

struct Inner<S> {
    state: S,
    waiting: WaitList,
}

impl<S> Bell<S> {
    pub(super) fn new(state: S) -> Self {
        Self {
            inner: SpinLock::new(Inner {
                state,
                waiting: WaitList::new(),
            }),
        }
    }

    /// A look at the state, or a change for which nobody waits. No user's code.
    #[inline]
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        look(&mut self.inner.lock().state)
    }

    /// Changes the state; if `change` says that this is what everybody waits for, they are woken.
    #[inline]
    pub(super) fn ring(&self, change: impl FnOnce(&mut S) -> bool) -> bool {
        let mut inner = self.inner.lock();
        let rings = change(&mut inner.state);
        if rings {
            while let Match::Partner(waiter) = inner.waiting.find(None) {
                waiter.commit(0);
            }
        }
        rings
    }
}

/// What one of those waits for, and what it does when that has come.
pub(super) trait Event {
    type State;
    type Output;
    /// What reports call it.
    const NAME: &'static str;

    fn bell(&self) -> &Bell<Self::State>;

    /// Those who could make it come.
    fn peers(&self) -> &dyn Resource;

    /// Whether it has come. Once it has it stays, for all that others may do.
    fn has_come(&self, state: &Self::State) -> bool;

    /// Takes what has come.
    fn outcome(&mut self) -> Self::Output;
}

/// Waits for an event.
pub(super) struct Hear<E> {
    event: E,
    site: &'static Location<'static>,
    node: WaitNode,
}

impl<E> Hear<E> {
    #[track_caller]
    pub(super) const fn new(event: E) -> Self {
        Self {
            event,
            site: Location::caller(),
            node: WaitNode::new(),
        }
    }
}

// SAFETY: it looks again under the lock under which it links (I-2); who rings unlinks whom it
// wakes, and `retract` unlinks otherwise (I-12).
unsafe impl<E: Event> Operation for Hear<E> {
    type Output = E::Output;

    fn name(&self) -> &'static str {
        E::NAME
    }

    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: self.event.peers(),
            site: self.site,
            only_holders: false,
        })
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        let event = &self.event;
        let has_come = event.bell().with(|state| event.has_come(state));
        has_come.then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let mut inner = this.event.bell().inner.lock();
        if this.event.has_come(&inner.state) {
            return Published::own(cell, base);
        }
        // SAFETY: under the lock; node and cell stay until `retract`, by the caller's promise
        // (I-12).
        unsafe { inner.waiting.push(node, cell, base, core::ptr::null_mut()) };
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() && self.node.was_published() {
            self.event.bell().inner.lock().waiting.remove(&self.node);
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        // SAFETY: only the node is pinned, and it stays in place (I-12).
        let this = unsafe { self.get_unchecked_mut() };
        this.event.outcome()
    }
}

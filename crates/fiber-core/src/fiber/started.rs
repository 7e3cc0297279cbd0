//! What only a fiber that has started has: it lies at the top of its stack, above its frames.
//!
//! So what waits without a stack does not pay for it, and what has one does so with a part of a
//! page that it has touched anyway.

use core::{
    cell::{Cell, UnsafeCell},
    marker::PhantomPinned,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};

use corosensei::Yielder;

use super::{
    header::{FiberCoroutine, Header, Resume},
    panics::Notes,
};
use crate::{local::Own, stack::OwnedStack, timeout::TimeoutScope};

/// A fiber's place in its worker's list of those that have started, or wait for that without a
/// stack. Touched by the home worker only (I-11).
pub(crate) struct Links {
    pub(crate) prev: Cell<*const Self>,
    pub(crate) next: Cell<*const Self>,
    pub(crate) fiber: Cell<*const Header>,
    _pinned: PhantomPinned,
}

impl Links {
    pub(super) const fn new() -> Self {
        Self {
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            fiber: Cell::new(ptr::null()),
            _pinned: PhantomPinned,
        }
    }
}

/// The part of a fiber that goes with its stack. Touched by the home worker only (I-11).
#[repr(C)]
pub(crate) struct Started {
    // One line of the cache, or little more: what each turn of the fiber touches.
    coroutine: UnsafeCell<ManuallyDrop<FiberCoroutine>>,
    /// Null until the body has begun.
    pub(super) yielder: Cell<*const Yielder<Resume, ()>>,
    pub(super) waiting_for: Cell<&'static str>,
    pub(super) scopes: Cell<*const TimeoutScope>,

    /// What all of this lies on.
    stack: OwnedStack,
    pub(crate) links: Links,
    /// The address of what unwinds it, if that is a cancel or a timeout rather than a panic; or 0.
    pub(super) interrupted: Cell<usize>,
    pub(super) notes: Notes,
    own: Own,
}

impl Started {
    #[inline(always)]
    pub(crate) fn new(coroutine: FiberCoroutine, stack: OwnedStack) -> Self {
        Self {
            coroutine: UnsafeCell::new(ManuallyDrop::new(coroutine)),
            yielder: Cell::new(ptr::null()),
            waiting_for: Cell::new("its first run"),
            scopes: Cell::new(ptr::null()),
            stack,
            links: Links::new(),
            interrupted: Cell::new(0),
            notes: Notes::new(),
            own: Own::new(),
        }
    }

    /// The coroutine.
    ///
    /// # Safety
    /// Only on the home worker, outside of the fiber, with no other reference to it.
    #[inline]
    #[expect(
        clippy::mut_from_ref,
        reason = "the home worker alone reaches it, as promised"
    )]
    pub(crate) unsafe fn coroutine(&self) -> &mut ManuallyDrop<FiberCoroutine> {
        // SAFETY: exclusive by the caller's promise (I-11).
        unsafe { &mut *self.coroutine.get() }
    }

    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    pub(super) fn stack_limit(&self) -> usize {
        self.stack.limit()
    }

    /// The fiber has ended: gives its stack back, and nothing is at `this` any more.
    ///
    /// # Safety
    /// On the home worker; the coroutine has returned, and nobody reaches this any more (I-11).
    pub(crate) unsafe fn end(this: NonNull<Self>) -> OwnedStack {
        // SAFETY: there until the stack is used anew, which the caller decides (I-3).
        let part = unsafe { this.as_ref() };
        part.notes.forget_all();
        debug_assert!(
            part.own.is_empty(),
            "its own values were dropped, or are leaked"
        );
        // SAFETY: by the caller's promise (I-11).
        let coroutine = unsafe { part.coroutine() };
        // SAFETY: dropped once: the caller puts something else there (I-3).
        unsafe { ManuallyDrop::drop(coroutine) };
        // SAFETY: read once: the original is never dropped (I-3).
        unsafe { ptr::read(&part.stack) }
    }
}

impl super::layout::Layout {
    pub(super) const WAITING_FOR: usize = core::mem::offset_of!(Started, waiting_for);
    pub(super) const STACK_LIMIT: usize = core::mem::offset_of!(Started, stack) + OwnedStack::LIMIT;
    pub(super) const COROUTINE: usize = core::mem::offset_of!(Started, coroutine);
}

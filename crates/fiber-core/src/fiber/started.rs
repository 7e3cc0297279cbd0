//! What only a fiber that has started has: it lies at the top of its stack, above its frames.
//!
//! So what waits without a stack does not pay for it, and what has one does so with a part of a
//! page that it has touched anyway.

use core::cell::{Cell, UnsafeCell};

use corosensei::Yielder;

use super::{
    header::{FiberCoroutine, Resume},
    panics::Notes,
};
use crate::local::Own;

/// The part of a fiber that goes with its stack. Touched by the home worker only (I-11).
pub(crate) struct Started {
    coroutine: UnsafeCell<FiberCoroutine>,
    /// Null until the body has begun.
    pub(super) yielder: Cell<*const Yielder<Resume, ()>>,
    pub(super) stack_limit: usize,
    pub(super) waiting_for: Cell<&'static str>,
    /// The address of what unwinds it, if that is a cancel or a timeout rather than a panic; or 0.
    pub(super) interrupted: Cell<usize>,
    pub(super) notes: Notes,
    own: Own,
}

impl Started {
    pub(crate) fn new(coroutine: FiberCoroutine, stack_limit: usize) -> Self {
        Self {
            coroutine: UnsafeCell::new(coroutine),
            yielder: Cell::new(core::ptr::null()),
            stack_limit,
            waiting_for: Cell::new("its first run"),
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
    pub(crate) unsafe fn coroutine(&self) -> &mut FiberCoroutine {
        // SAFETY: exclusive by the caller's promise (I-11).
        unsafe { &mut *self.coroutine.get() }
    }

    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    pub(crate) fn into_coroutine(self) -> FiberCoroutine {
        self.coroutine.into_inner()
    }
}

impl super::layout::Layout {
    pub(super) const WAITING_FOR: usize = core::mem::offset_of!(Started, waiting_for);
    pub(super) const STACK_LIMIT: usize = core::mem::offset_of!(Started, stack_limit);
    pub(super) const COROUTINE: usize = core::mem::offset_of!(Started, coroutine);
}

//! The thread slot, and how a plain thread blocks.
//!
//! Free functions such as `spawn` find the runtime that they run in through one pointer a thread.
//! `no_std` code has no thread-locals, so the host supplies that slot as plain functions,
//! installed once for the whole program; hosts built on std all install equivalent ones, so the
//! first wins and the rest are ignored.

use alloc::{boxed::Box, sync::Arc};
use core::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
    time::Duration,
};

use super::{Instant, PanicWatch, Unpark};
use crate::fiber::watch_panic;

/// The functions behind the thread slot. They never unwind.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it as a static; a new slot is a new contract"
)]
pub struct ThreadHooks {
    /// Reads the calling thread's slot; null until it is set. Must not be inlined into its
    /// callers: a thread-local's address may not be kept across a call that switches stacks.
    pub slot: fn() -> *const (),
    /// Sets the calling thread's slot.
    pub set_slot: fn(*const ()),
    /// Blocks the calling thread until its unparker is called or `timeout` has passed. May return
    /// early; a call of the unparker before this returns at once.
    pub park: fn(timeout: Option<Duration>),
    /// The calling thread's unparker. *Cost*: a reference count.
    pub unparker: fn() -> Arc<dyn Unpark>,
    /// Lets another thread run: called after a spin that took too long.
    pub relax: fn(),
    /// A monotonic clock for threads outside any runtime.
    pub now: fn() -> Instant,
    /// Whether the calling thread is unwinding right now: locks ask it, on plain threads too.
    pub is_unwinding: fn() -> bool,
    /// From now on has the watch told of every panic of the program: on the panicking thread,
    /// before it unwinds, and around whatever was done about panics before, such as printing them.
    pub watch_panics: fn(PanicWatch),
}

/// A host's thread slot.
pub trait Threads {
    /// The functions, the same ones on every call. They are installed by [`ThreadHooks::install`]
    /// when a host is made.
    fn hooks(&self) -> &'static ThreadHooks;
}

static INSTALLED: AtomicPtr<ThreadHooks> = AtomicPtr::new(ptr::null_mut());

impl ThreadHooks {
    /// Installs the hooks of this program. The first call wins: a slot that is in use never moves.
    pub fn install(&'static self) {
        let this = ptr::from_ref(self).cast_mut();
        let installed =
            INSTALLED.compare_exchange(ptr::null_mut(), this, Ordering::Release, Ordering::Relaxed);
        // Failure means that another host was first, whose slot serves as well.
        if installed.is_ok() {
            (self.watch_panics)(Box::new(watch_panic));
        }
    }

    /// The hooks of this program, whichever host installed them. A host that multiplexes virtual
    /// threads on one real thread swaps the slot through these.
    pub fn installed() -> Option<&'static Self> {
        hooks()
    }
}

/// The installed hooks, if any host was ever made.
#[inline]
pub(crate) fn hooks() -> Option<&'static ThreadHooks> {
    let installed = INSTALLED.load(Ordering::Acquire);
    // SAFETY: the pointer is null or comes from the `&'static` given to `install` (I-7: hosts
    // hand in plain data and are never called back while they do).
    unsafe { installed.as_ref() }
}

//! Virtual threads: coroutines that the run loop resumes one at a time on its own OS thread.
//!
//! Each has a stack of its own, on which the runtime's scheduler nests the fibers' stacks.
//!
//! ```text
//!  run loop ──resume──▶ worker's stack ──resume──▶ fiber's stack
//!     ▲                      │  turn, park, join        │ (a plain park on a fiber's stack
//!     └──────suspend─────────┴────────suspend───────────┘  suspends the worker beneath it too)
//! ```
//!
//! Around each resume the loop swaps the thread slot, so that to the runtime every virtual thread
//! looks like a thread of its own.

use alloc::{rc::Rc, sync::Arc};
use core::{cell::Cell, ptr};
use std::{panic, thread};

use corosensei::{Coroutine, CoroutineResult, Yielder};
use fiber_core::env::{AfterWork, ThreadHooks, WorkerId};

use crate::{arena::Key, env::Shared, stacks::WorkerStack, threads, world::Thread};

type Switch = Yielder<(), ()>;

/// A virtual thread's coroutine and what is kept for it while it is switched out.
pub(crate) struct VirtualThread {
    coroutine: Coroutine<(), (), Result<(), String>, WorkerStack>,
    identity: Rc<Identity>,
    slot: *const (),
}

/// What a virtual thread can find out about itself.
pub(crate) struct Identity {
    pub(crate) shared: Arc<Shared>,
    pub(crate) thread: Key<Thread>,
    switch: Cell<*const Switch>,
}

/// How a resume ended.
pub(crate) enum Resumed {
    Suspended,
    Returned,
    /// With the panic's message.
    Panicked(String),
}

/// The body of `Workers::run`, without its lifetime.
#[derive(Clone, Copy)]
pub(crate) struct BodyRef(*const (dyn Fn(WorkerId) -> AfterWork + Sync));

// SAFETY: it points to a `Sync` closure, which may be called from anywhere; that it is alive is
// the promise made at `BodyRef::new` (I-3).
unsafe impl Send for BodyRef {}

impl BodyRef {
    /// # Safety
    /// `body` outlives every call of [`BodyRef::call`].
    pub(crate) unsafe fn new(body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Self {
        let body: *const (dyn Fn(WorkerId) -> AfterWork + Sync + '_) = body;
        // SAFETY: only the lifetime changes; the caller promises what it stood for (I-3).
        let body = unsafe {
            core::mem::transmute::<
                *const (dyn Fn(WorkerId) -> AfterWork + Sync + '_),
                *const (dyn Fn(WorkerId) -> AfterWork + Sync + 'static),
            >(body)
        };
        Self(body)
    }

    pub(crate) fn call(self, worker: WorkerId) {
        // SAFETY: the caller of `new` keeps the closure alive: the frame of `Workers::run` is
        // left only when all its workers have returned, or never (I-3).
        let body = unsafe { &*self.0 };
        // A virtual thread's values are those of the thread that the whole world runs on.
        let _ = body(worker);
    }
}

impl VirtualThread {
    /// A thread that will run `body` on `stack`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        thread: Key<Thread>,
        stack: WorkerStack,
        body: impl FnOnce() + 'static,
    ) -> Self {
        let identity = Rc::new(Identity {
            shared,
            thread,
            switch: Cell::new(ptr::null()),
        });
        let own = Rc::clone(&identity);
        let coroutine = Coroutine::with_stack(stack, move |switch, ()| {
            own.switch.set(switch);
            panic::catch_unwind(panic::AssertUnwindSafe(body))
                .map_err(|payload| threads::message_of(&*payload))
        });
        Self {
            coroutine,
            identity,
            slot: ptr::null(),
        }
    }

    /// Runs it until it suspends or ends.
    pub(crate) fn resume(&mut self) -> Resumed {
        let hooks = ThreadHooks::installed().expect("a world installs its hooks first");
        let outer_slot = (hooks.slot)();
        let outer_identity = CURRENT.replace(Rc::as_ptr(&self.identity));
        (hooks.set_slot)(self.slot);
        let result = self.coroutine.resume(());
        self.slot = (hooks.slot)();
        (hooks.set_slot)(outer_slot);
        CURRENT.set(outer_identity);
        match result {
            CoroutineResult::Yield(()) => Resumed::Suspended,
            CoroutineResult::Return(Ok(())) => Resumed::Returned,
            CoroutineResult::Return(Err(message)) => Resumed::Panicked(message),
        }
    }

    /// Never runs it again, nor unwinds it: its stack and all that it owns are leaked (I-3).
    pub(crate) fn abandon(self) {
        if self.coroutine.started() && !self.coroutine.done() {
            core::mem::forget(self);
        }
    }

    /// Takes the stack of an ended thread.
    pub(crate) fn into_stack(self) -> WorkerStack {
        self.coroutine.into_stack()
    }
}

std::thread_local! {
    static CURRENT: Cell<*const Identity> = const { Cell::new(ptr::null()) };
}

/// Lets `visit` see the virtual thread that is running; `None` on a plain OS thread.
#[inline]
pub(crate) fn current<R>(visit: impl FnOnce(&Identity) -> R) -> Option<R> {
    let identity = CURRENT.get();
    // SAFETY: non-null only during `resume`, whose `VirtualThread` holds the `Rc`; and who reads
    // it here runs inside that resume (I-11).
    unsafe { identity.as_ref() }.map(visit)
}

/// Switches the running virtual thread out until the loop resumes it. The caller has recorded in
/// the world what it waits for, and holds no borrow of it.
pub(crate) fn suspend() {
    let switch = current(|identity| identity.switch.get()).expect("only virtual threads suspend");
    // SAFETY: set at the coroutine's first instruction, and it lives at the base of the stack
    // that this very call runs on top of (I-3).
    let switch = unsafe { &*switch };
    if thread::panicking() {
        // The others run on the same thread of the system.
        return host_std::set_aside(&mut || switch.suspend(()));
    }
    switch.suspend(());
}

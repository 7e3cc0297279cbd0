//! The thread slot, and how a plain thread blocks: a virtual one in virtual time, a thread of the
//! operating system as std does it.

use alloc::sync::Arc;
use core::{any::Any, cell::Cell, ptr, time::Duration};
use std::{
    backtrace::{Backtrace as StdBacktrace, BacktraceStatus},
    panic,
    sync::OnceLock,
    thread,
    time::Instant as OsInstant,
};

use fiber_core::env::{Backtrace, Instant, PanicWatch, Panicking, ThreadHooks, Unpark};

use crate::{
    arena::Key,
    choices,
    env::Shared,
    worker,
    world::{Thread, ThreadState},
};

/// The hooks of this host.
pub(crate) static HOOKS: ThreadHooks = ThreadHooks {
    slot,
    set_slot,
    park,
    unparker,
    relax,
    now,
    is_unwinding: thread::panicking,
    watch_panics,
};

std::thread_local! {
    static SLOT: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

#[inline(never)]
fn slot() -> *const () {
    SLOT.get()
}

#[inline(never)]
fn set_slot(value: *const ()) {
    SLOT.set(value);
}

fn park(timeout: Option<Duration>) {
    let virtual_thread = worker::current(|identity| {
        let thread = identity.thread;
        identity
            .shared
            .world
            .with(|world| world.park(thread, timeout))
    });
    match (virtual_thread, timeout) {
        (Some(true), _) => worker::suspend(),
        (Some(false), _) => {}
        (None, None) => thread::park(),
        (None, Some(timeout)) => thread::park_timeout(timeout),
    }
}

fn unparker() -> Arc<dyn Unpark> {
    let virtual_thread: Option<Arc<dyn Unpark>> = worker::current(|identity| {
        let unparker: Arc<dyn Unpark> = Arc::new(VirtualUnparker {
            shared: Arc::clone(&identity.shared),
            thread: identity.thread,
        });
        unparker
    });
    virtual_thread.unwrap_or_else(|| Arc::new(OsUnparker(thread::current())))
}

fn relax() {
    let virtual_thread = worker::current(|identity| {
        let thread = identity.thread;
        identity.shared.world.with(|world| {
            world.spend(thread, choices::nanos(world.config.turn_cost));
            world.step();
            world.give_way(thread)
        })
    });
    match virtual_thread {
        Some(true) => worker::suspend(),
        Some(false) => {}
        None => thread::yield_now(),
    }
}

fn now() -> Instant {
    let virtual_now = worker::current(|identity| {
        let thread = identity.thread;
        identity.shared.world.with(|world| {
            world.spend(thread, choices::nanos(world.config.clock_cost));
            world.now
        })
    });
    // Threads outside of every simulation live in real time, and nothing simulated sees theirs.
    static ORIGIN: OnceLock<OsInstant> = OnceLock::new();
    Instant::from_nanos(
        virtual_now.unwrap_or_else(|| choices::nanos(ORIGIN.get_or_init(OsInstant::now).elapsed())),
    )
}

fn watch_panics(watch: PanicWatch) {
    if thread::panicking() {
        // std lets nobody change its hook now, so panics stay without a place.
        return;
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let panicking = Panicking {
            payload: panic.payload(),
            location: panic.location(),
            backtrace: &backtrace,
        };
        watch(&panicking, &mut || before(panic));
    }));
}

fn backtrace() -> Option<Backtrace> {
    let backtrace = StdBacktrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => Some(Box::new(backtrace)),
        _ => None,
    }
}

/// Wakes a virtual thread that is parked as a plain one.
struct VirtualUnparker {
    shared: Arc<Shared>,
    thread: Key<Thread>,
}

impl Unpark for VirtualUnparker {
    fn unpark(&self) {
        self.shared.world.with(|world| world.unpark(self.thread));
    }
}

/// Wakes a thread of the operating system.
struct OsUnparker(thread::Thread);

impl Unpark for OsUnparker {
    fn unpark(&self) {
        self.0.unpark();
    }
}

impl crate::world::World {
    /// Parks the running thread as a plain one; `true` when it must suspend.
    fn park(&mut self, key: Key<Thread>, timeout: Option<Duration>) -> bool {
        self.spend(key, choices::nanos(self.config.turn_cost));
        self.step();
        let Some(thread) = self.threads.get_mut(key) else {
            return false;
        };
        if core::mem::take(&mut thread.unparked) || timeout == Some(Duration::ZERO) {
            return self.give_way(key);
        }
        let deadline = timeout.map(|span| self.now.saturating_add(choices::nanos(span)));
        self.wait(key, ThreadState::Parked, deadline);
        true
    }

    fn unpark(&mut self, key: Key<Thread>) {
        let Some(thread) = self.threads.get_mut(key) else {
            return;
        };
        if thread.state == ThreadState::Parked {
            self.make_runnable(key);
        } else {
            thread.unparked = true;
        }
    }
}

/// The message of a panic.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "a payload that is no message".to_owned()
    }
}

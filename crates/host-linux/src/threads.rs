//! The thread slot, and how a plain thread blocks, on top of std.

extern crate alloc;

use alloc::{boxed::Box, sync::Arc};
use core::{cell::Cell, ptr, time::Duration};
use std::{
    backtrace::{Backtrace as StdBacktrace, BacktraceStatus},
    panic,
    thread::{self, Thread},
};

use fiber_core::env::{Backtrace, PanicWatch, Panicking, ThreadHooks, Threads, Unpark};

use crate::{clock, linux::Linux};

/// The functions that every [`Linux`] installs.
pub(crate) static HOOKS: ThreadHooks = ThreadHooks {
    slot,
    set_slot,
    park,
    unparker,
    relax: thread::yield_now,
    now: clock::now,
    is_unwinding: thread::panicking,
    watch_panics,
};

impl Threads for Linux {
    fn hooks(&self) -> &'static ThreadHooks {
        &HOOKS
    }
}

thread_local! {
    /// Without a destructor, so it can be read at any moment of a thread's life.
    static SLOT: Cell<*const ()> = const { Cell::new(ptr::null()) };
    static UNPARKER: Arc<ThreadUnparker> = Arc::new(ThreadUnparker(thread::current()));
}

/// Never inlined: the address of a thread-local must not be kept across a switch of stacks.
#[inline(never)]
fn slot() -> *const () {
    SLOT.get()
}

#[inline(never)]
fn set_slot(value: *const ()) {
    SLOT.set(value);
}

fn park(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => thread::park_timeout(timeout),
        None => thread::park(),
    }
}

fn unparker() -> Arc<dyn Unpark> {
    let cached = UNPARKER.try_with(|unparker| Arc::clone(unparker) as Arc<dyn Unpark>);
    // While the thread's locals are being destroyed there is none to share.
    cached.unwrap_or_else(|_| Arc::new(ThreadUnparker(thread::current())))
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

struct ThreadUnparker(Thread);

impl Unpark for ThreadUnparker {
    fn unpark(&self) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_a_slot_of_its_own() {
        let mark = 7_u8;
        set_slot((&raw const mark).cast());
        let other = thread::spawn(|| slot().is_null()).join().unwrap();
        assert!(other);
        assert_eq!(slot(), (&raw const mark).cast());
        set_slot(ptr::null());
    }

    #[test]
    fn a_thread_that_was_unparked_before_does_not_block() {
        unparker().unpark();
        park(None);
    }
}

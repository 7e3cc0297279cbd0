//! The report of a stack overflow: whose stack it was and what to do, then the program ends.
//!
//! Whoever runs over touches a guard. The handler runs on a stack of its own, finds the guard's
//! stack in a list that only grows, writes one line to standard error and aborts. Every other
//! fault goes to whoever handled it before.

use core::{
    cell::Cell,
    marker::PhantomData,
    mem,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use std::{
    process,
    sync::{Once, OnceLock},
};

use fiber_core::{
    env::StackClass,
    stack::{self, OverflowReport},
};

use crate::stacks::GUARD;

const SIGNAL_STACK_BYTES: usize = 64 << 10;

static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Stacks that the handler knows: a mapping of them. None is ever unmapped, so neither is this
/// forgotten.
struct Known {
    start: NonNull<u8>,
    class: StackClass,
    stacks: usize,
    next: *const Self,
}

static KNOWN: AtomicPtr<Known> = AtomicPtr::new(ptr::null_mut());

impl Known {
    const fn stride(&self) -> usize {
        self.class.bytes() + GUARD
    }

    /// The base of the stack that has `address` in its guard.
    fn overflowed(&self, address: usize) -> Option<NonNull<u8>> {
        let offset = address.checked_sub(self.start.addr().get())?;
        let (stack, within) = (offset / self.stride(), offset % self.stride());
        if stack >= self.stacks || within >= GUARD {
            return None;
        }
        let base = self
            .start
            .as_ptr()
            .wrapping_add((stack + 1) * self.stride());
        NonNull::new(base)
    }
}

/// Makes a mapping known that has `stacks` stacks from `start` on, each above its guard.
pub(crate) fn know(start: NonNull<u8>, class: StackClass, stacks: usize) {
    let known = Box::into_raw(Box::new(Known {
        start,
        class,
        stacks,
        next: KNOWN.load(Ordering::Acquire),
    }));
    loop {
        // SAFETY: made above and not yet in the list, so this is its only user (I-3).
        let next = unsafe { (*known).next }.cast_mut();
        match KNOWN.compare_exchange(next, known, Ordering::Release, Ordering::Acquire) {
            Ok(_) => return,
            // SAFETY: as above: still not in the list (I-3).
            Err(head) => unsafe { (*known).next = head },
        }
    }
}

/// Installs the handler, once for the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut action = no_action();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut before = no_action();
        // SAFETY: both point to locals; `on_fault` neither allocates nor locks (I-7).
        let done = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut before) };
        if done == 0 {
            PREVIOUS.get_or_init(|| before);
        } else {
            tracing::warn!(
                target: "host_sim",
                "cannot handle SIGSEGV: a stack overflow ends the program without a report",
            );
        }
    });
}

/// The stack that signal handlers run on while a world runs; the one before comes back on drop.
pub(crate) struct SignalStack {
    memory: Box<[u8]>,
    before: libc::stack_t,
    /// It belongs to the thread that installed it.
    not_send: PhantomData<Cell<*const ()>>,
}

impl SignalStack {
    pub(crate) fn install() -> Self {
        let mut memory = vec![0; SIGNAL_STACK_BYTES].into_boxed_slice();
        let stack = libc::stack_t {
            ss_sp: memory.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: memory.len(),
        };
        let mut before = libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        };
        // SAFETY: the memory is used for nothing else, and freed only after `drop` has put the
        // former stack back (I-3).
        unsafe { libc::sigaltstack(&raw const stack, &raw mut before) };
        Self {
            memory,
            before,
            not_send: PhantomData,
        }
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        // SAFETY: it was this thread's stack before, and no handler runs: we do (I-3).
        let done = unsafe { libc::sigaltstack(&raw const self.before, ptr::null_mut()) };
        if done != 0 {
            // The kernel still knows it, so it may not be freed.
            mem::forget(mem::take(&mut self.memory));
        }
    }
}

fn no_action() -> libc::sigaction {
    // SAFETY: all zeros is the default action with an empty mask (I-7).
    unsafe { mem::zeroed() }
}

extern "C" fn on_fault(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel calls this with the information of a fault (I-7).
    let info = unsafe { &*info };
    // SAFETY: a fault has an address (I-7).
    let address = unsafe { info.si_addr() }.addr();
    let mut next: *const Known = KNOWN.load(Ordering::Acquire);
    // SAFETY: what is in the list is never freed nor changed (I-3).
    while let Some(known) = unsafe { next.as_ref() } {
        if let Some(base) = known.overflowed(address) {
            report(base, known.class);
            process::abort();
        }
        next = known.next;
    }
    let default = no_action();
    let previous = PREVIOUS.get().unwrap_or(&default);
    // The instruction is repeated, faults again, and meets the action put back here.
    // SAFETY: it is the action that was in place before ours (I-7).
    unsafe { libc::sigaction(libc::SIGSEGV, previous, ptr::null_mut()) };
}

fn report(base: NonNull<u8>, class: StackClass) {
    // SAFETY: a known stack is mapped, and this very thread has just run over it, so its fiber is
    // neither finished nor being torn down (I-3, I-11).
    let owner = unsafe { stack::owner_of(base) };
    let words = ("simulated fiber", "a simulated worker");
    let report = OverflowReport::new(owner.as_ref(), class, words.0, words.1);
    let text = report.text();
    // SAFETY: the text is a local's, as long as it says (I-7).
    let _ = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

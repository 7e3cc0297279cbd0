//! Signal handlers and the stacks that they run on.

use core::{mem::MaybeUninit, ptr};

use super::{Result, check};

/// What a handler of [`install`] is called with.
pub(crate) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs a handler that runs on the alternate stack; returns the action before.
///
/// # Safety
/// The handler does only what is async-signal-safe.
pub(crate) unsafe fn install(signal: libc::c_int, handler: Handler) -> Result<libc::sigaction> {
    let mut action = no_action();
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the set is on this frame (I-3).
    let _ = unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
    let mut before = no_action();
    // SAFETY: both structures are on this frame; the handler is the caller's promise (I-3).
    check(unsafe { libc::sigaction(signal, &raw const action, &raw mut before) })?;
    Ok(before)
}

/// Puts an earlier action back. Async-signal-safe.
pub(crate) fn restore(signal: libc::c_int, action: &libc::sigaction) {
    // SAFETY: the action was the process's own before (I-3: it lives in a static).
    let _ = unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
}

/// An action of zeros: the default one.
pub(crate) const fn no_action() -> libc::sigaction {
    // SAFETY: a C structure of integers, for which zeros are the default action (I-3).
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Makes `bytes` at `start` the calling thread's alternate signal stack; returns the one before.
///
/// # Safety
/// The memory stays valid until another one is set.
pub(crate) unsafe fn set_stack(start: *mut u8, bytes: usize) -> Result<libc::stack_t> {
    let stack = libc::stack_t {
        ss_sp: start.cast(),
        ss_flags: 0,
        ss_size: bytes,
    };
    // SAFETY: the caller's promise (I-3).
    unsafe { swap_stack(&stack) }
}

/// Makes `stack` the calling thread's alternate signal stack; returns the one before.
///
/// # Safety
/// The memory that it names stays valid until another one is set.
pub(crate) unsafe fn swap_stack(stack: &libc::stack_t) -> Result<libc::stack_t> {
    let mut before = libc::stack_t {
        ss_sp: ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    // SAFETY: both structures are borrowed for the call; the rest is the caller's promise (I-3).
    check(unsafe { libc::sigaltstack(stack, &raw mut before) })?;
    Ok(before)
}

/// Where a fault happened.
///
/// # Safety
/// `info` comes from a SIGSEGV or a SIGBUS.
pub(crate) unsafe fn fault_address(info: *const libc::siginfo_t) -> usize {
    // SAFETY: the kernel's structure, valid while the handler runs (I-3).
    let info = unsafe { &*info };
    // SAFETY: faults carry an address (the caller's promise, I-3).
    unsafe { info.si_addr() }.addr()
}

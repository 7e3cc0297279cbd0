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

/// Catches a signal of the outside world: on the alternate stack where there is one, every other
/// signal held back meanwhile, interrupted calls made again where the kernel can; returns the
/// action before.
///
/// # Safety
/// The handler does only what is async-signal-safe.
pub(crate) unsafe fn catch(signal: libc::c_int, handler: Handler) -> Result<libc::sigaction> {
    let mut action = no_action();
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the set is on this frame (I-3).
    let _ = unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    let mut before = no_action();
    // SAFETY: both structures are on this frame; the handler is the caller's promise (I-3).
    check(unsafe { libc::sigaction(signal, &raw const action, &raw mut before) })?;
    Ok(before)
}

/// Puts an earlier action back, unless somebody else has replaced `handler` since.
pub(crate) fn restore_if(signal: libc::c_int, handler: Handler, action: &libc::sigaction) {
    let mut current = no_action();
    // SAFETY: the structure is on this frame for the length of the call (I-3).
    let asked = check(unsafe { libc::sigaction(signal, ptr::null(), &raw mut current) });
    if asked.is_ok() && current.sa_sigaction == handler as usize {
        restore(signal, action);
    }
}

/// In a handler: the signal does what it does by default, once the handler has returned.
/// Async-signal-safe.
pub(crate) fn take_default_action(signal: libc::c_int) {
    restore(signal, &no_action());
    let _ = raise(signal);
}

/// Sends the calling thread a signal, which has come when this returns, so that none is on its way
/// when somebody stops wanting it. Async-signal-safe.
pub(crate) fn raise(signal: libc::c_int) -> Result<()> {
    // SAFETY: takes a number only (I-1).
    check(unsafe { libc::raise(signal) })?;
    Ok(())
}

/// Runs `body` and leaves the thread's error number as it was: a handler runs between a call that
/// failed and whoever asks why.
pub(crate) fn keeping_errno(body: impl FnOnce()) {
    // SAFETY: takes nothing; the pointer is the calling thread's own (I-11).
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives, and this call is on it (I-11).
    let before = unsafe { errno.read() };
    body();
    // SAFETY: as above (I-11).
    unsafe { errno.write(before) };
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

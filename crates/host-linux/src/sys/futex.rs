//! Waiting for a word of memory to change.

use core::{ptr, time::Duration};

/// Waits until the word is woken, for so long at the most; not at all if it is not `expected` when
/// the kernel looks. May return early.
pub(crate) fn wait(word: *const u32, expected: u32, limit: Option<Duration>) {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos()),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel reads the word, if the address is one, and the time on this frame (I-3).
    let _ = unsafe { libc::syscall(libc::SYS_futex, word, operation, expected, limit) };
}

/// Wakes one that waits for the word. Async-signal-safe.
pub(crate) fn wake(word: *const u32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the address is a name here, and nothing is read or written (I-3).
    let _ = unsafe { libc::syscall(libc::SYS_futex, word, operation, 1) };
}

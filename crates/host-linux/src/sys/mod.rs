//! Every raw call of the operating system, each behind one small function.
//!
//! The functions are safe where the kernel checks what it is given (numbers), and unsafe where it
//! must trust us (memory). Nothing else in this crate calls `libc`.

pub(crate) mod affinity;
pub(crate) mod epoll;
pub(crate) mod event;
pub(crate) mod futex;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod thread;

use crate::errno::Errno;

/// A call's result.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// Turns C's `-1` into an error.
pub(crate) fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// The same for calls that count bytes.
pub(crate) fn check_size(result: libc::ssize_t) -> Result<usize> {
    usize::try_from(result).map_err(|_| Errno::last())
}

/// Repeats a call that a signal interrupted.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno(libc::EINTR)) => {}
            result => return result,
        }
    }
}

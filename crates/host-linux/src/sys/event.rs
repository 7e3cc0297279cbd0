//! Event descriptors and one-shot polls.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use fiber_core::request::Interest;

use super::{Result, check, uninterrupted};

/// Makes an eventfd with count 0. It blocks nobody who writes: it is read or reset long before its
/// 64 bits are full.
pub(crate) fn eventfd(flags: libc::c_int) -> Result<OwnedFd> {
    // SAFETY: takes numbers only; hosts alone call the system (I-1).
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | flags) })?;
    // SAFETY: just opened, owned by nobody else (I-1).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an eventfd's count. Async-signal-safe. A full count means that the reader is going
/// to wake up anyway, so failure needs no answer.
pub(crate) fn eventfd_add(event: &OwnedFd) {
    let one: u64 = 1;
    // SAFETY: the eight bytes are on this frame for the length of the call (I-3).
    let _ = unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
}

/// Whether `fd` is ready in this way right now.
pub(crate) fn is_ready(fd: RawFd, interest: Interest) -> Result<bool> {
    let events = match interest {
        Interest::Readable => libc::POLLIN,
        Interest::Writable => libc::POLLOUT,
    };
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one pollfd, on this frame for the length of the call (I-3).
    let ready = uninterrupted(|| check(unsafe { libc::poll(&raw mut poll, 1, 0) }))?;
    Ok(ready > 0)
}

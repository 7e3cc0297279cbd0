//! Clocks, random bytes, and the end of the process.

use core::{mem::MaybeUninit, time::Duration};

use super::{Result, check, check_size};

/// Reads one of the kernel's clocks.
///
/// # Panics
/// When the kernel does not know the clock.
pub(crate) fn clock(id: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the structure is on this frame for the length of the call (I-3).
    let result = check(unsafe { libc::clock_gettime(id, time.as_mut_ptr()) });
    result.expect("every Linux has these clocks");
    // SAFETY: the call succeeded, so the kernel has written all of it (I-3).
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanos)
}

/// Fills the front of `bytes` with random ones; how many, it says.
pub(crate) fn random(bytes: &mut [u8]) -> Result<usize> {
    // SAFETY: the slice is borrowed for the length of the call (I-3).
    check_size(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) })
}

/// Writes to standard error, as much as it takes. Async-signal-safe.
pub(crate) fn complain(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: the slice is borrowed for the length of the call (I-3).
        let written = check_size(unsafe { libc::write(2, text.as_ptr().cast(), text.len()) });
        match written {
            Ok(written) if written > 0 => text = &text[written..],
            _ => return,
        }
    }
}

/// The process's own number. Async-signal-safe, and true in a child of `fork` at once.
pub(crate) fn id() -> u32 {
    // SAFETY: takes nothing and cannot fail (I-1).
    unsafe { libc::getpid() }.cast_unsigned()
}

/// Ends the process at once. Async-signal-safe.
pub(crate) fn abort() -> ! {
    // SAFETY: takes nothing and does not return (I-1).
    unsafe { libc::abort() }
}

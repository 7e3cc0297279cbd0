//! Mappings, and what is known about a fault in them.

use core::{
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{Result, check};
use crate::errno::Errno;

/// `MADV_GUARD_INSTALL` of Linux 6.13: pages that fault, at no cost in mappings.
const MADV_GUARD_INSTALL: libc::c_int = 102;
/// The calling process, where a descriptor of one is asked for (Linux 6.15).
const PIDFD_SELF: libc::c_int = -10_000;
/// How many parts of memory one call takes.
const PARTS_MAX: usize = 512;

/// The size of a page.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: takes a number only (I-1).
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("the size of a page is known on Linux")
}

/// Maps `bytes` of memory that costs nothing until it is touched, in small pages.
pub(crate) fn map(bytes: usize) -> Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing (I-3).
    let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // Huge pages would make one touched byte cost two megabytes. A kernel without them refuses
    // the advice, and needs none.
    // SAFETY: advice on the mapping just made, which nobody else knows (I-3).
    let _ = unsafe { libc::madvise(address, bytes, libc::MADV_NOHUGEPAGE) };
    Ok(NonNull::new(address.cast()).expect("a mapping is never at address zero"))
}

/// Unmaps what [`map`] has mapped.
///
/// # Safety
/// It was mapped so, and nobody uses it any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise (I-3).
    let result = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "a whole mapping can be unmapped");
}

/// Some pages of the caller's.
pub(crate) type Pages = libc::iovec;

/// The `bytes` bytes from `start` on.
pub(crate) fn pages(start: NonNull<u8>, bytes: usize) -> Pages {
    Pages {
        iov_base: start.as_ptr().cast(),
        iov_len: bytes,
    }
}

/// Makes pages fault when they are touched, without a mapping of their own; fails with `EINVAL`
/// before Linux 6.13.
///
/// # Safety
/// The pages are the caller's and hold nothing of value.
pub(crate) unsafe fn install_guards(guards: &[Pages]) -> Result<()> {
    // SAFETY: the caller's promise (I-3).
    unsafe { advise(guards, MADV_GUARD_INSTALL) }
}

/// Makes pages fault when they are touched; splits their mapping.
///
/// # Safety
/// The pages are the caller's and hold nothing of value.
pub(crate) unsafe fn protect(start: NonNull<u8>, bytes: usize) -> Result<()> {
    // SAFETY: the caller's promise (I-3).
    check(unsafe { libc::mprotect(start.as_ptr().cast(), bytes, libc::PROT_NONE) })?;
    Ok(())
}

/// Gives the memory behind pages back; they read as zeros afterwards. Guards stay guards. Locked
/// memory is refused.
///
/// # Safety
/// The pages are the caller's and hold nothing of value.
pub(crate) unsafe fn discard(parts: &[Pages]) -> Result<()> {
    // SAFETY: the caller's promise (I-3).
    unsafe { advise(parts, libc::MADV_DONTNEED) }
}

/// Which of `resident.len()` pages from `start` on have memory behind them.
pub(crate) fn residents(start: NonNull<u8>, page_bytes: usize, resident: &mut [u8]) -> Result<()> {
    let bytes = resident.len() * page_bytes;
    // SAFETY: the answer is borrowed for the length of the call; the pages are only asked about,
    // and those that are not mapped are an error (I-3).
    check(unsafe { libc::mincore(start.as_ptr().cast(), bytes, resident.as_mut_ptr()) })?;
    Ok(())
}

/// Locks pages in memory, each once it is touched.
#[cfg(test)]
pub(crate) fn lock(pages: Pages) -> Result<()> {
    let (start, bytes) = (pages.iov_base.cast_const(), pages.iov_len);
    // SAFETY: the content of the pages stays as it is (I-3).
    check(unsafe { libc::mlock2(start, bytes, libc::MLOCK_ONFAULT) })?;
    Ok(())
}

/// Whether a byte can be read, asked of the kernel, which does not fault.
#[cfg(test)]
pub(crate) fn is_readable(at: NonNull<u8>) -> bool {
    let mut ends = [0; 2];
    // SAFETY: the kernel fills two numbers (I-3).
    check(unsafe { libc::pipe(ends.as_mut_ptr()) }).expect("two descriptors are free");
    // SAFETY: the kernel checks the address, and fails where it cannot be read (I-3).
    let written = unsafe { libc::write(ends[1], at.as_ptr().cast(), 1) };
    for end in ends {
        // SAFETY: made above, and closed once (I-3).
        unsafe { libc::close(end) };
    }
    written == 1
}

/// Advice on all `parts`, in one call for many of them where the kernel takes that.
///
/// # Safety
/// As for the advice.
unsafe fn advise(parts: &[Pages], advice: libc::c_int) -> Result<()> {
    for parts in parts.chunks(PARTS_MAX) {
        // SAFETY: the caller's promise (I-3).
        if parts.len() > 1 && unsafe { advise_at_once(parts, advice) } {
            continue;
        }
        for part in parts {
            // SAFETY: the caller's promise (I-3).
            check(unsafe { libc::madvise(part.iov_base, part.iov_len, advice) })?;
        }
    }
    Ok(())
}

/// False if it must be done once more, one by one.
///
/// # Safety
/// As for the advice.
unsafe fn advise_at_once(parts: &[Pages], advice: libc::c_int) -> bool {
    /// Whether this kernel has refused.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Ordering::Relaxed) {
        return false;
    }
    let (call, list, flags) = (libc::SYS_process_madvise, parts.as_ptr(), 0);
    // SAFETY: the list is borrowed for the length of the call; the rest is the caller's promise. It
    // names the calling process whatever it was forked from (I-3).
    let done = unsafe { libc::syscall(call, PIDFD_SELF, list, parts.len(), advice, flags) };
    let bytes: usize = parts.iter().map(|part| part.iov_len).sum();
    if done < 0 {
        REFUSED.store(true, Ordering::Relaxed);
    }
    usize::try_from(done) == Ok(bytes)
}

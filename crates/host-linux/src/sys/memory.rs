//! Mappings, and what is known about a fault in them.

use core::ptr::{self, NonNull};

use super::{Result, check};
use crate::errno::Errno;

/// `MADV_GUARD_INSTALL` of Linux 6.13: pages that fault, at no cost in mappings.
const MADV_GUARD_INSTALL: libc::c_int = 102;

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

/// Makes pages fault when they are touched, without a mapping of their own.
///
/// # Safety
/// The pages are the caller's and hold nothing of value.
pub(crate) unsafe fn install_guard(start: NonNull<u8>, bytes: usize) -> Result<()> {
    // SAFETY: the caller's promise (I-3).
    check(unsafe { libc::madvise(start.as_ptr().cast(), bytes, MADV_GUARD_INSTALL) })?;
    Ok(())
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

/// Gives the memory behind pages back; they read as zeros afterwards.
///
/// # Safety
/// The pages are the caller's and hold nothing of value.
pub(crate) unsafe fn discard(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise (I-3).
    let result = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
    debug_assert_eq!(result, 0, "private pages can be discarded");
}

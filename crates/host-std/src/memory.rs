//! The stack of a ballast.

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use core::{
    alloc::Layout,
    num::NonZeroUsize,
    ptr::{self, NonNull},
};

use corosensei::stack::{Stack, StackPointer, valgrind::ValgrindStackRegistration};

/// Many times what an unwinding over three frames of ours takes; [`Memory::has_room`] says so.
const BYTES: usize = 64 << 10;

const LAYOUT: Layout = match Layout::from_size_align(BYTES, 64) {
    Ok(layout) => layout,
    Err(_) => panic!("64 is a power of two"),
};

/// Memory of its own, cleared.
pub(crate) struct Memory {
    limit: NonNull<u8>,
    /// Tells valgrind, under which alone it does anything, that this is a stack.
    _registration: ValgrindStackRegistration,
}

impl Memory {
    pub(crate) fn new() -> Self {
        // SAFETY: the size is not zero (I-3).
        let memory = unsafe { alloc_zeroed(LAYOUT) };
        let limit = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(LAYOUT));
        Self {
            limit,
            _registration: ValgrindStackRegistration::new(limit.as_ptr(), BYTES),
        }
    }

    /// Whether the lower half was never written. No ballast goes deeper than another.
    pub(crate) fn has_room(&self) -> bool {
        // SAFETY: the lower half of the allocation, which was cleared, and nobody runs on it while
        // `self` is here to be asked (I-3).
        let lower = unsafe { &*ptr::slice_from_raw_parts(self.limit.as_ptr(), BYTES / 2) };
        lower.iter().all(|&byte| byte == 0)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout, and the last frame on it is left (I-3).
        unsafe { dealloc(self.limit.as_ptr(), LAYOUT) };
    }
}

// SAFETY: memory that nobody else uses, aligned to 64 bytes at both ends. There is no guard below:
// only the frames of `ballast.rs` and what std unwinds them with run here, whose depth depends on
// nothing, and the self-test sees that it is less than half of the memory (I-3).
unsafe impl Stack for Memory {
    fn base(&self) -> StackPointer {
        self.limit.addr().saturating_add(BYTES)
    }

    fn limit(&self) -> StackPointer {
        NonZeroUsize::from(self.limit.addr())
    }
}

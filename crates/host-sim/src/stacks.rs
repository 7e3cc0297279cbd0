//! Guarded stacks, for fibers and for virtual threads.
//!
//! Each is a mapping of its own with an inaccessible lower end. They are kept for reuse across
//! simulations: a thousand seeds map as much as one. Stacks of abandoned threads never come back.
//!
//! ```text
//! limit - guard ─▶ ┌───────────┐ PROT_NONE: an overflow is reported here and ends the program
//! limit         ─▶ ├───────────┤
//!                  │ frames    │
//! base          ─▶ └───────────┘
//! ```

use core::{
    num::NonZeroUsize,
    ptr::{self, NonNull},
};
use std::{
    io,
    sync::{Mutex, PoisonError},
};

use corosensei::stack::{Stack, StackPointer};
use fiber_core::env::{StackClass, StackError, StackMemory};

use crate::overflow;

const GUARD: usize = 64 << 10;
const WORKER_CLASS: StackClass = StackClass::M1;

/// Stacks that nobody uses, by class. Which one is handed out has no meaning: nothing may depend
/// on an address.
static FREE: Mutex<[Vec<StackMemory>; 5]> = Mutex::new([const { Vec::new() }; 5]);

/// Takes a stack, from the free ones if possible.
pub(crate) fn map(class: StackClass) -> Result<StackMemory, StackError> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    match free[class.index()].pop() {
        Some(memory) => Ok(memory),
        None => map_fresh(class),
    }
}

/// Keeps a stack for the next one who asks.
pub(crate) fn unmap(memory: StackMemory) {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    free[memory.class().index()].push(memory);
}

fn map_fresh(class: StackClass) -> Result<StackMemory, StackError> {
    let bytes = class.bytes() + GUARD;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no memory
    // of anybody else (I-3).
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(out_of_memory());
    }
    let start: NonNull<u8> = NonNull::new(start.cast()).expect("a mapping is not at address 0");
    // SAFETY: `GUARD` is inside the mapping made just above (I-3).
    let limit = unsafe { start.add(GUARD) };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: `limit` and the class's bytes are the upper part of that mapping, which nobody
    // uses yet (I-3).
    let done = unsafe { libc::mprotect(limit.as_ptr().cast(), class.bytes(), access) };
    if done != 0 {
        let error = out_of_memory();
        // SAFETY: the mapping was made above and nobody has seen it (I-3).
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        return Err(error);
    }
    // SAFETY: one past the end of the mapping made above (I-3).
    let base = unsafe { limit.add(class.bytes()) };
    overflow::know(base, start.addr().get(), limit.addr().get(), class);
    // SAFETY: `limit..base` is page-aligned, accessible, and known to nobody else; it is never
    // unmapped (I-3).
    Ok(unsafe { StackMemory::new(base, limit, class) })
}

fn out_of_memory() -> StackError {
    StackError::OutOfMemory {
        code: io::Error::last_os_error().raw_os_error().unwrap_or(0),
    }
}

/// The stack of a virtual thread.
pub(crate) struct WorkerStack(StackMemory);

impl WorkerStack {
    pub(crate) fn map() -> Result<Self, StackError> {
        map(WORKER_CLASS).map(Self)
    }

    /// Gives it back; its thread has ended.
    pub(crate) fn unmap(self) {
        unmap(self.0);
    }
}

// SAFETY: it owns its memory, which has a guard below its limit and far more than the least
// size (I-3).
unsafe impl Stack for WorkerStack {
    fn base(&self) -> StackPointer {
        NonZeroUsize::new(self.0.base().as_ptr().addr()).expect("a stack is not at address 0")
    }

    fn limit(&self) -> StackPointer {
        let limit = self.0.limit().as_ptr().addr() - GUARD;
        NonZeroUsize::new(limit).expect("a stack is not at address 0")
    }
}

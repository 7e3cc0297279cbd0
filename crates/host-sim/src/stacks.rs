//! Guarded stacks, for fibers and for virtual threads.
//!
//! They are carved from large mappings, each above an inaccessible lower end, and kept for reuse
//! across simulations: a thousand seeds map as much as one. Stacks of abandoned threads never come
//! back.
//!
//! ```text
//! slab ─▶ ┌───────┬──────────┬───────┬──────────┬── ─ ─
//!         │ guard │ stack 0  │ guard │ stack 1  │
//!         └───────┴──────────┴───────┴──────────┴── ─ ─
//!         ▲       ▲ limit    ▲ base  an overflow of stack 0 touches the guard below it, is
//!         └── one stride ────┘       reported, and ends the program
//! ```

use core::{
    num::NonZeroUsize,
    ptr::{self, NonNull},
};
use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use corosensei::stack::{Stack, StackPointer};
use fiber_core::{
    env::{StackClass, StackError, StackMemory},
    stack,
};

use crate::overflow;

pub(crate) const GUARD: usize = 64 << 10;
const WORKER_CLASS: StackClass = StackClass::M1;
/// Bytes of one mapping; of the largest class it has seven stacks.
const SLAB: usize = 64 << 20;
/// How many free stacks of a class keep their memory.
const WARM_MAX: usize = 4096;
/// `MADV_GUARD_INSTALL`, where the system has it: pages that fault, at no cost in mappings.
const GUARD_INSTALL: libc::c_int = 102;

/// Stacks that nobody uses. Which one is handed out has no meaning: nothing may depend on an
/// address.
static FREE: Mutex<[Free; StackClass::ALL.len()]> = Mutex::new([const { Free::new() }; 5]);

struct Free {
    used: Vec<StackMemory>,
    /// What is left of the newest mapping.
    rest: Option<(NonNull<u8>, usize)>,
}

// SAFETY: the pointer names memory that has no owner but this, and memory has no thread (I-3).
unsafe impl Send for Free {}

impl Free {
    const fn new() -> Self {
        Self {
            used: Vec::new(),
            rest: None,
        }
    }

    /// The next stack that was never used, with a new guard.
    fn begin(&mut self, class: StackClass) -> Result<StackMemory, StackError> {
        let stride = class.bytes() + GUARD;
        let (start, left) = match self.rest {
            Some(rest) => rest,
            None => map_slab(class)?,
        };
        // Kept at once: a guard that fails is tried again there, and not on another new slab.
        self.rest = Some((start, left));
        guard(start)?;
        // SAFETY: there is a whole stride left of the mapping (I-3).
        let base = unsafe { start.add(stride) };
        self.rest = (left > 1).then(|| (base, left - 1));
        // SAFETY: `GUARD` is less than a stride (I-3).
        let limit = unsafe { start.add(GUARD) };
        // SAFETY: `limit..base` is page-aligned, accessible, and known to nobody else; it is never
        // unmapped (I-3).
        Ok(unsafe { StackMemory::new(base, limit, class) })
    }
}

fn free() -> MutexGuard<'static, [Free; StackClass::ALL.len()]> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a stack, from the free ones if possible.
pub(crate) fn map(class: StackClass) -> Result<StackMemory, StackError> {
    let mut free = free();
    let free = &mut free[class.index()];
    match free.used.pop() {
        Some(memory) => Ok(memory),
        None => free.begin(class),
    }
}

/// Keeps a stack for the next one who asks. Nobody uses it.
pub(crate) fn unmap(memory: StackMemory) {
    let mut free = free();
    let used = &mut free[memory.class().index()].used;
    if used.len() >= WARM_MAX {
        clear(&memory);
    }
    used.push(memory);
}

/// Makes a stack that nobody uses read as zeros, and its memory the system's; false if the system
/// will not.
pub(crate) fn clear(memory: &StackMemory) -> bool {
    let (start, bytes) = (memory.limit().as_ptr().cast(), memory.class().bytes());
    // SAFETY: the pages of a stack that nobody uses, which hold nothing of value (I-3).
    unsafe { libc::madvise(start, bytes, libc::MADV_DONTNEED) == 0 }
}

/// How deep a stack was used since it was cleared: exact within the lowest page that has memory,
/// or all of that page if nothing but zeros was left there.
///
/// # Safety
/// Nobody uses the stack.
pub(crate) unsafe fn depth(memory: &StackMemory) -> Option<usize> {
    let base = memory.base().addr().get();
    let page_bytes = page_bytes();
    let mut resident = vec![0; memory.class().bytes() / page_bytes];
    let (start, bytes) = (memory.limit().as_ptr().cast(), memory.class().bytes());
    // SAFETY: the answer has a byte for each page, and the pages are only asked about (I-3).
    let asked = unsafe { libc::mincore(start, bytes, resident.as_mut_ptr()) };
    if asked != 0 {
        return None;
    }
    let Some(lowest) = resident.iter().position(|page| page & 1 != 0) else {
        return Some(0);
    };
    // SAFETY: within the stack (I-3).
    let page = unsafe { memory.limit().add(lowest * page_bytes) };
    // SAFETY: a page of a stack that nobody uses, by the caller's promise (I-3).
    let used = unsafe { stack::first_used(page, page_bytes) };
    Some(base - used.unwrap_or(page).addr().get())
}

/// Maps a slab, and says how many stacks are in it.
fn map_slab(class: StackClass) -> Result<(NonNull<u8>, usize), StackError> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh anonymous mapping at an address of the system's choice touches no memory of
    // anybody else (I-3).
    let start = unsafe { libc::mmap(ptr::null_mut(), SLAB, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(out_of_memory());
    }
    // Where there are no huge pages the advice is refused, and not needed.
    // SAFETY: advice on the mapping just made (I-3).
    let _ = unsafe { libc::madvise(start, SLAB, libc::MADV_NOHUGEPAGE) };
    let start: NonNull<u8> = NonNull::new(start.cast()).expect("a mapping is not at address 0");
    let stacks = SLAB / (class.bytes() + GUARD);
    overflow::know(start, class, stacks);
    Ok((start, stacks))
}

/// Makes the lowest part of a stack's place inaccessible.
fn guard(start: NonNull<u8>) -> Result<(), StackError> {
    let start = start.as_ptr().cast();
    // SAFETY: pages of a slab that nobody uses yet (I-3).
    if unsafe { libc::madvise(start, GUARD, GUARD_INSTALL) } == 0 {
        return Ok(());
    }
    // SAFETY: as above (I-3).
    if unsafe { libc::mprotect(start, GUARD, libc::PROT_NONE) } == 0 {
        return Ok(());
    }
    Err(out_of_memory())
}

fn page_bytes() -> usize {
    // SAFETY: takes a number only (I-3).
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("the size of a page is known")
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

//! Stacks, carved from large mappings, each with a guard below.
//!
//! ```text
//! 64 MiB, one class   ┌───────┬─────────────┬───────┬─────────────┬── ─ ─
//!                     │ guard │ stack 0     │ guard │ stack 1     │
//!                     └───────┴─────────────┴───────┴─────────────┴── ─ ─
//!                     ▲ start ▲ limit       ▲ base of stack 0
//! ```
//!
//! A mapping costs nothing until its pages are touched. Guards are `MADV_GUARD_INSTALL` pages
//! (Linux 6.13), which are free; on older kernels `PROT_NONE` pages, which split their mapping, so
//! that their number is capped before the process runs out of mappings.

use core::{
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::{
    fs,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use fiber_core::env::{StackClass, StackError, StackMemory, Stacks};

use crate::{
    errno::Errno,
    linux::Linux,
    slabs::{self, GUARD_PAGES_MAX, Place, SLAB_BYTES},
    sys::memory,
};

/// Stacks with `PROT_NONE` guards in this process; each costs two mappings.
static SPLITS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: `StackPool` carves disjoint stacks out of mappings of its own, each above a guard that
// faults, and unmaps them only when all were given back (I-3).
unsafe impl Stacks for Linux {
    fn map_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        self.stacks.map(class)
    }

    unsafe fn unmap_stack(&self, stack: StackMemory) {
        self.stacks.unmap(&stack);
    }
}

/// All stacks of one host.
#[derive(Debug)]
pub(crate) struct StackPool {
    classes: [Mutex<ClassPool>; StackClass::ALL.len()],
    in_use: AtomicUsize,
    stacks_max: usize,
    splits_max: usize,
    page_bytes: usize,
    guard_pages: usize,
    /// Whether guards split mappings here.
    splitting: AtomicBool,
}

#[derive(Debug, Default)]
struct ClassPool {
    /// Starts of stacks that were given back, guards in place.
    free: Vec<NonNull<u8>>,
    slabs: Vec<Slab>,
    /// Stacks of the newest slab that were handed out at least once.
    begun: usize,
    in_use: usize,
}

// SAFETY: the pointers name mappings that belong to the pool, and memory has no thread (I-3).
unsafe impl Send for ClassPool {}

#[derive(Debug)]
struct Slab {
    start: NonNull<u8>,
    place: Place,
}

impl StackPool {
    pub(crate) fn new(stacks_max: usize, guard_pages: usize) -> Self {
        Self {
            classes: Default::default(),
            in_use: AtomicUsize::new(0),
            stacks_max,
            splits_max: splits_max(),
            page_bytes: memory::page_bytes(),
            guard_pages: guard_pages.clamp(1, GUARD_PAGES_MAX),
            splitting: AtomicBool::new(false),
        }
    }

    fn map(&self, class: StackClass) -> Result<StackMemory, StackError> {
        if self.in_use.fetch_add(1, Ordering::Relaxed) >= self.stacks_max {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
            return Err(StackError::Exhausted {
                limit: self.stacks_max,
            });
        }
        let mut pool = self.lock(class);
        let start = match pool.free.pop() {
            Some(start) => Ok(start),
            None => self.begin(&mut pool, class),
        };
        let start = start.inspect_err(|_| {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
        })?;
        pool.in_use += 1;
        let base = self.step(start, class.bytes());
        let limit = self.step(start, self.guard_bytes(class));
        // SAFETY: a place of a slab of ours that is in no free list, above its guard; places and
        // guards are whole pages, so both ends are aligned (I-3).
        Ok(unsafe { StackMemory::new(base, limit, class) })
    }

    /// Takes a stack back. The top page stays: it is the one that the next fiber touches first.
    fn unmap(&self, stack: &StackMemory) {
        let class = stack.class();
        let (limit, base) = (stack.limit(), stack.base().addr().get());
        let below_top = (base - limit.addr().get()).saturating_sub(self.page_bytes);
        if below_top > 0 {
            // SAFETY: the stack was given back, so nothing on it is live (I-3).
            unsafe { memory::discard(limit, below_top) };
        }
        let start = limit.as_ptr().wrapping_sub(self.guard_bytes(class));
        let start = NonNull::new(start).expect("a stack does not lie at address 0");
        let mut pool = self.lock(class);
        pool.free.push(start);
        pool.in_use -= 1;
        self.in_use.fetch_sub(1, Ordering::Relaxed);
    }

    /// The next stack that was never used, with a new guard.
    fn begin(&self, pool: &mut ClassPool, class: StackClass) -> Result<NonNull<u8>, StackError> {
        let per_slab = SLAB_BYTES / class.bytes();
        if pool.slabs.is_empty() || pool.begun == per_slab {
            pool.slabs.push(self.map_slab(class)?);
            pool.begun = 0;
        }
        let slab = pool.slabs.last().expect("pushed above if there was none");
        let start = self.step(slab.start, pool.begun * class.bytes());
        self.guard(start, self.guard_bytes(class))?;
        pool.begun += 1;
        Ok(start)
    }

    fn map_slab(&self, class: StackClass) -> Result<Slab, StackError> {
        let start = memory::map(SLAB_BYTES).map_err(out_of_memory)?;
        let guard_pages = self.guard_bytes(class) / self.page_bytes;
        match slabs::enter(start, class, guard_pages) {
            Some(place) => Ok(Slab { start, place }),
            None => {
                // SAFETY: mapped above, and nobody knows it (I-3).
                unsafe { memory::unmap(start, SLAB_BYTES) };
                Err(StackError::Exhausted {
                    limit: self.in_use.load(Ordering::Relaxed),
                })
            }
        }
    }

    fn guard(&self, start: NonNull<u8>, bytes: usize) -> Result<(), StackError> {
        if !self.splitting.load(Ordering::Relaxed) {
            // SAFETY: the lowest pages of a stack that nobody has yet (I-3).
            match unsafe { memory::install_guard(start, bytes) } {
                Ok(()) => return Ok(()),
                Err(Errno(libc::EINVAL)) => {
                    if !self.splitting.swap(true, Ordering::Relaxed) {
                        tracing::info!(
                            target: "host_linux",
                            stacks_max = self.splits_max,
                            "this kernel has no light guard pages (they came with Linux 6.13): \
                             each stack's guard takes two mappings of vm.max_map_count",
                        );
                    }
                }
                Err(errno) => return Err(out_of_memory(errno)),
            }
        }
        if SPLITS.fetch_add(1, Ordering::Relaxed) >= self.splits_max {
            SPLITS.fetch_sub(1, Ordering::Relaxed);
            return Err(StackError::Exhausted {
                limit: self.splits_max,
            });
        }
        // SAFETY: as above (I-3).
        unsafe { memory::protect(start, bytes) }.map_err(|errno| {
            SPLITS.fetch_sub(1, Ordering::Relaxed);
            out_of_memory(errno)
        })
    }

    /// At most half of a stack is guard.
    fn guard_bytes(&self, class: StackClass) -> usize {
        let pages_max = (class.bytes() / 2 / self.page_bytes).max(1);
        self.guard_pages.min(pages_max) * self.page_bytes
    }

    fn step(&self, start: NonNull<u8>, bytes: usize) -> NonNull<u8> {
        let there = start.as_ptr().wrapping_add(bytes);
        NonNull::new(there).expect("a stack does not lie at address 0")
    }

    fn lock(&self, class: StackClass) -> MutexGuard<'_, ClassPool> {
        let pool = self.classes[class.index()].lock();
        // Nothing panics under the lock but on a broken promise, and then the process ends.
        pool.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        for (class, pool) in StackClass::ALL.iter().zip(&mut self.classes) {
            let pool = pool.get_mut().unwrap_or_else(PoisonError::into_inner);
            if pool.in_use > 0 {
                // Fibers that were abandoned keep their stacks for ever (I-3).
                continue;
            }
            if *self.splitting.get_mut() {
                let full = pool.slabs.len().saturating_sub(1) * (SLAB_BYTES / class.bytes());
                SPLITS.fetch_sub(full + pool.begun, Ordering::Relaxed);
            }
            for slab in pool.slabs.drain(..) {
                slabs::leave(slab.place);
                // SAFETY: none of its stacks is in use, and the pool is going away (I-3).
                unsafe { memory::unmap(slab.start, SLAB_BYTES) };
            }
        }
    }
}

fn out_of_memory(errno: Errno) -> StackError {
    StackError::OutOfMemory { code: errno.0 }
}

/// 45 % of the mappings that the kernel allows: two for each stack, and a tenth for the rest.
fn splits_max() -> usize {
    static MAX: OnceLock<usize> = OnceLock::new();
    *MAX.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
        text.trim().parse().unwrap_or(65_530_usize) / 100 * 45
    })
}

#[cfg(test)]
#[path = "stacks/tests.rs"]
mod tests;

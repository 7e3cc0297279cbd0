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
//!
//! Stacks come back in batches. What lies below the top page is always given back to the system;
//! the top page stays for a bounded number of free stacks, as it is what the next fiber touches
//! first. Mappings of which nothing is in use are unmapped, and their page tables with them.

use core::{
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::{
    fs,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use fiber_core::{
    env::{StackClass, StackError, StackMemory, StackStats, Stacks},
    stack,
};

use self::class::{ClassPool, Next, Slab};
use crate::{
    config::Guards,
    errno::Errno,
    linux::Linux,
    slabs::{self, GUARD_PAGES_MAX, SLAB_BYTES},
    sys::memory::{self, Pages},
};

mod class;

/// Stacks with `PROT_NONE` guards in this process; each costs two mappings.
static SPLITS: AtomicUsize = AtomicUsize::new(0);
/// Guards are installed for so much of a slab at once: it is what one page of page tables covers.
const GUARDED_AT_ONCE: usize = 2 << 20;

const FEWER: &str = "run fewer fibers at once, or raise `Config::stacks_max`";
const SPLITTING: &str = "each guard takes two mappings, and 45 % of the mappings that this kernel \
    allows are taken: run fewer fibers at once, raise vm.max_map_count, or use Linux 6.13, whose \
    guards take none";
const TABLE_FULL: &str = "a terabyte of address space is taken by stacks: run fewer fibers at \
    once, or give them smaller stacks";

// SAFETY: `StackPool` carves disjoint stacks out of mappings of its own, each above a guard that
// faults, and unmaps a mapping only when all of its stacks were given back (I-3).
unsafe impl Stacks for Linux {
    fn map_stack(&self, class: StackClass) -> Result<StackMemory, StackError> {
        self.stacks.map(class)
    }

    unsafe fn unmap_stack(&self, stack: StackMemory) {
        self.stacks.unmap(&mut [stack]);
    }

    unsafe fn unmap_stacks(&self, stacks: &mut Vec<StackMemory>) {
        self.stacks.unmap(stacks);
        stacks.clear();
    }

    fn leak_stack(&self, class: StackClass) {
        self.stacks.lock(class).leak();
    }

    unsafe fn clear_stack(&self, stack: &StackMemory) -> bool {
        let (limit, base) = (stack.limit(), stack.base().addr().get());
        let all = memory::pages(limit, base - limit.addr().get());
        // SAFETY: nothing on it is live or needed, by the caller's promise (I-3).
        unsafe { memory::discard(&[all]) }.is_ok()
    }

    unsafe fn stack_depth(&self, stack: &StackMemory) -> Option<usize> {
        // SAFETY: the caller's promise (I-3).
        unsafe { self.stacks.depth(stack) }
    }

    fn stack_stats(&self) -> StackStats {
        self.stacks.stats()
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
    /// Whether that was told, or was asked for.
    told: AtomicBool,
}

impl StackPool {
    pub(crate) fn new(stacks_max: usize, guard_pages: usize, guards: Guards) -> Self {
        let splits_max = match guards {
            Guards::Auto => splits_max(),
            Guards::Split { stacks_max } => stacks_max.min(splits_max()),
        };
        Self {
            classes: StackClass::ALL.map(|class| Mutex::new(ClassPool::new(class))),
            in_use: AtomicUsize::new(0),
            stacks_max,
            splits_max,
            page_bytes: memory::page_bytes(),
            guard_pages: guard_pages.clamp(1, GUARD_PAGES_MAX),
            splitting: AtomicBool::new(guards != Guards::Auto),
            told: AtomicBool::new(guards != Guards::Auto),
        }
    }

    fn map(&self, class: StackClass) -> Result<StackMemory, StackError> {
        if self.in_use.fetch_add(1, Ordering::Relaxed) >= self.stacks_max {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
            return Err(exhausted(self.stacks_max, FEWER));
        }
        let taken = self.take(class).inspect_err(|_| {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
        });
        if self.splitting.load(Ordering::Relaxed) && !self.told.load(Ordering::Relaxed) {
            self.tell_of_splitting();
        }
        let start = taken?;
        let base = step(start, class.bytes());
        let limit = step(start, self.guard_bytes(class));
        // SAFETY: a place of a slab of ours that is in no free list, above its guard; places and
        // guards are whole pages, so both ends are aligned (I-3).
        Ok(unsafe { StackMemory::new(base, limit, class) })
    }

    /// The start of a stack that is now in use.
    fn take(&self, class: StackClass) -> Result<NonNull<u8>, StackError> {
        let mut pool = self.lock(class);
        loop {
            match pool.next() {
                Next::Again(start) => return Ok(start),
                Next::First(slab) => match self.guard_next(slab, class) {
                    Ok(()) => return Ok(pool.begin()),
                    // Another slab may still have one that was used before.
                    Err(error) => return pool.any().ok_or(error),
                },
                Next::Nowhere => {
                    let slab = self.map_slab(class)?;
                    pool.add(slab);
                }
            }
        }
    }

    /// Takes stacks back; the memory of most of them goes to the system.
    fn unmap(&self, stacks: &mut [StackMemory]) {
        stacks.sort_unstable_by_key(|stack| (stack.class(), stack.limit()));
        for stacks in stacks.chunk_by(|one, two| one.class() == two.class()) {
            let class = stacks[0].class();
            let warm = self.lock(class).reserve_warm(stacks.len());
            self.trim(stacks, warm);
            let unneeded = self.lock(class).give(stacks, warm);
            for slab in unneeded {
                Self::unmap_slab(&slab);
            }
            self.in_use.fetch_sub(stacks.len(), Ordering::Relaxed);
        }
    }

    /// Gives the memory of free stacks back that are sorted by address, but for the top pages of
    /// the first `warm` ones.
    fn trim(&self, stacks: &[StackMemory], warm: usize) {
        let (warm, cold) = stacks.split_at(warm);
        let mut parts: Vec<Pages> = Vec::with_capacity(stacks.len());
        for stack in warm {
            let bytes = usable(stack).saturating_sub(self.page_bytes);
            if bytes > 0 {
                parts.push(memory::pages(stack.limit(), bytes));
            }
        }
        // Neighbours go together: the guards between them stay guards.
        for run in cold.chunk_by(|one, two| two.base().addr() == step_of(one)) {
            let (lowest, highest) = (&run[0], &run[run.len() - 1]);
            let bytes = highest.base().addr().get() - lowest.limit().addr().get();
            parts.push(memory::pages(lowest.limit(), bytes));
        }
        // A program that locks all of its memory has wished for this to fail.
        // SAFETY: the stacks were given back, so nothing on them is live (I-3).
        let _ = unsafe { memory::discard(&parts) };
    }

    /// How deep a stack was used since it was cleared: exact within the lowest page that has
    /// memory, or all of that page if nothing but zeros was left there.
    ///
    /// # Safety
    /// It was cleared, and no frame on it is live.
    unsafe fn depth(&self, stack: &StackMemory) -> Option<usize> {
        let base = stack.base().addr().get();
        let mut resident = vec![0; usable(stack) / self.page_bytes];
        memory::residents(stack.limit(), self.page_bytes, &mut resident).ok()?;
        let Some(lowest) = resident.iter().position(|page| page & 1 != 0) else {
            return Some(0);
        };
        let page = step(stack.limit(), lowest * self.page_bytes);
        // SAFETY: a page of a stack that nobody uses (I-3).
        let used = unsafe { stack::first_used(page, self.page_bytes) };
        Some(base - used.unwrap_or(page).addr().get())
    }

    fn stats(&self) -> StackStats {
        let mut stats = StackStats::default();
        for class in StackClass::ALL {
            stats.classes[class.index()] = self.lock(class).numbers();
        }
        stats
    }

    fn map_slab(&self, class: StackClass) -> Result<Slab, StackError> {
        let start = memory::map(SLAB_BYTES).map_err(out_of_memory)?;
        let guard_pages = self.guard_bytes(class) / self.page_bytes;
        match slabs::enter(start, class, guard_pages) {
            Some(place) => Ok(Slab::new(start, place)),
            None => {
                // SAFETY: mapped above, and nobody knows it (I-3).
                unsafe { memory::unmap(start, SLAB_BYTES) };
                Err(exhausted(self.in_use.load(Ordering::Relaxed), TABLE_FULL))
            }
        }
    }

    fn unmap_slab(slab: &Slab) {
        slabs::leave(slab.place);
        // SAFETY: none of its stacks is in use, and it is in no list any more (I-3).
        unsafe { memory::unmap(slab.start, SLAB_BYTES) };
        SPLITS.fetch_sub(slab.split, Ordering::Relaxed);
    }

    /// Sees to it that the next stack of `slab` that was never used has its guard.
    fn guard_next(&self, slab: &mut Slab, class: StackClass) -> Result<(), StackError> {
        let ahead = slab.guards_missing(class, (GUARDED_AT_ONCE / class.bytes()).max(1));
        if ahead.is_empty() {
            return Ok(());
        }
        let bytes = self.guard_bytes(class);
        if !self.splitting.load(Ordering::Relaxed) {
            let stacks = ahead.clone().map(|index| slab.stack(index, class));
            let guards: Vec<_> = stacks.map(|start| memory::pages(start, bytes)).collect();
            // SAFETY: the lowest pages of stacks that nobody has yet (I-3).
            match unsafe { memory::install_guards(&guards) } {
                Ok(()) => {
                    slab.guarded = ahead.end;
                    return Ok(());
                }
                Err(Errno(libc::EINVAL)) => self.splitting.store(true, Ordering::Relaxed),
                Err(errno) => return Err(out_of_memory(errno)),
            }
        }
        self.split(slab.stack(ahead.start, class), bytes)?;
        slab.guarded += 1;
        slab.split += 1;
        Ok(())
    }

    /// Under no lock: the subscriber is the program's own code, and may ask for stacks itself.
    #[cold]
    fn tell_of_splitting(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::info!(
                target: "host_linux",
                stacks_max = self.splits_max,
                "this kernel has no light guard pages (they came with Linux 6.13): \
                 each stack's guard takes two mappings of vm.max_map_count",
            );
        }
    }

    /// Guards one stack by a mapping of its own.
    fn split(&self, start: NonNull<u8>, bytes: usize) -> Result<(), StackError> {
        if SPLITS.fetch_add(1, Ordering::Relaxed) >= self.splits_max {
            SPLITS.fetch_sub(1, Ordering::Relaxed);
            return Err(exhausted(self.splits_max, SPLITTING));
        }
        // SAFETY: the lowest pages of a stack that nobody has yet (I-3).
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

    fn lock(&self, class: StackClass) -> MutexGuard<'_, ClassPool> {
        let pool = self.classes[class.index()].lock();
        // Nothing panics under the lock but on a broken promise, and then the process ends.
        pool.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        for class in StackClass::ALL {
            // Fibers that were abandoned keep their stacks for ever, and those the slabs around
            // them (I-3).
            for slab in self.lock(class).remove_unused() {
                Self::unmap_slab(&slab);
            }
        }
    }
}

/// How many bytes a fiber may touch.
fn usable(stack: &StackMemory) -> usize {
    stack.base().addr().get() - stack.limit().addr().get()
}

fn step(start: NonNull<u8>, bytes: usize) -> NonNull<u8> {
    let there = start.as_ptr().wrapping_add(bytes);
    NonNull::new(there).expect("a stack does not lie at address 0")
}

/// The base of the stack that lies above `stack`, if there is one.
fn step_of(stack: &StackMemory) -> core::num::NonZeroUsize {
    let base = stack.base().addr();
    base.saturating_add(stack.class().bytes())
}

fn exhausted(limit: usize, remedy: &'static str) -> StackError {
    StackError::Exhausted { limit, remedy }
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
mod tests;

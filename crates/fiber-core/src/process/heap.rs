//! Counting what processes allocate, where a program wants that.
//!
//! An allocator is called in every state of the program, so this only reads the thread slot, which
//! leads to the running fiber and its process, and adds to a number there. A process that is over
//! its limit is told so by its worker, once the fiber that went over it has let others run.
//!
//! What is counted is what fibers of the process ask for less what they free, so that memory which
//! goes from one process to another is a debt here and a credit there.

use core::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::AtomicBool as StaticBool,
};

use crate::{
    context::Context,
    fiber::Reason,
    primitive::{AtomicBool, AtomicU64, Ordering},
};

/// Why a process is cancelled that has allocated more than it may.
pub const HEAP_LIMIT: Reason = Reason::new("the process is over its limit of heap bytes");

/// The allocator is the program's, and not a runtime's.
static COUNTED: StaticBool = StaticBool::new(false);

/// Whether the program's allocator is a [`CountingAllocator`].
pub fn is_heap_counted() -> bool {
    COUNTED.load(Ordering::Relaxed)
}

/// What the fibers of one process have allocated and not freed.
pub(crate) struct Heap {
    /// Two's complement: below zero when they have freed what others had allocated.
    bytes: AtomicU64,
    is_over: AtomicBool,
}

impl Heap {
    pub(super) fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        usize_of(self.bytes.load(Ordering::Relaxed))
    }

    /// Whether the process has ever been over its limit.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Counts; says whether that is more than `limit`, for the first time.
    fn count(&self, more: usize, less: usize, limit: usize) -> bool {
        // Wrapping on purpose, see `bytes`.
        let change = (more as u64).wrapping_sub(less as u64);
        let before = self.bytes.fetch_add(change, Ordering::Relaxed);
        more > less
            && usize_of(before.wrapping_add(change)) > limit
            && !self.is_over.swap(true, Ordering::Relaxed)
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes.cast_signed()).unwrap_or(0)
}

/// An allocator that counts for whom it allocates: install it as `#[global_allocator]` around the
/// one that you want, and processes can be limited in what they have of the heap. Unlike a limit of
/// the operating system it makes no allocation fail: a process that is over its limit is cancelled
/// when the fiber that went over it lets others run.
///
/// Whatever fibers allocate counts until a fiber of the same process frees it; what is allocated
/// outside of fibers, and in the runtime's first process, does not count.
///
/// *Cost*: two nanoseconds for each call, and in a process that has more than one worker running an
/// exchange of a cache line.
///
/// ```
/// use std::alloc::System;
///
/// use fiber_core::process::CountingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator<System> = CountingAllocator::new(System);
/// # fn main() {}
/// ```
#[derive(Debug, Default)]
pub struct CountingAllocator<A>(A);

impl<A> CountingAllocator<A> {
    /// Counts what goes through `allocator`.
    pub const fn new(allocator: A) -> Self {
        Self(allocator)
    }
}

// SAFETY: it forwards to the allocator inside, which keeps the contract, and counts without
// allocating (I-3).
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise (I-3).
        let memory = unsafe { self.0.alloc(layout) };
        if !memory.is_null() {
            count(layout.size(), 0);
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise (I-3).
        let memory = unsafe { self.0.alloc_zeroed(layout) };
        if !memory.is_null() {
            count(layout.size(), 0);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise (I-3).
        unsafe { self.0.dealloc(memory, layout) };
        count(0, layout.size());
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's promise (I-3).
        let memory = unsafe { self.0.realloc(memory, layout, size) };
        if !memory.is_null() {
            count(size, layout.size());
        }
        memory
    }
}

fn count(more: usize, less: usize) {
    if !is_heap_counted() {
        COUNTED.store(true, Ordering::Relaxed);
    }
    Context::with_current(|context, fiber| {
        let over = fiber
            .process()
            .is_some_and(|process| process.heap.count(more, less, process.limits.heap_bytes));
        if over {
            context.budget().end();
        }
    });
}

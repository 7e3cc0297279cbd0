//! Memory of fibers' blocks: each worker keeps some of what was freed there for what it makes next.
//!
//! ```text
//! last handle dropped ─▶ the worker's list of that size ─▶ next fiber made there
//!                          │ full; no worker; a program that counts what it allocates
//!                          ▼
//!                      allocator
//! ```
//!
//! Fibers come and go in crowds of one size, and an allocator for everybody takes longer for them
//! than to make one takes.

use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use core::{
    alloc::Layout,
    cell::Cell,
    ptr::{self, NonNull},
};

use crate::{context::Context, process::is_heap_counted};

/// Lists are for sizes of so many bytes and its multiples, which the usual allocators hand out.
const STEP: usize = 16;
/// So many of them: for blocks of up to 512 bytes.
const SIZES: usize = 32;
/// How many bytes of one size a worker keeps.
const KEPT_BYTES: usize = 256 << 10;
/// What is kept is overwritten in debug builds, so that who still reads it meets nonsense.
const POISON: u8 = 0xdb;
/// Whether anything is kept: a sanitizer is to see each block come and go.
const IS_KEPT: bool = !cfg!(any(feature = "sanitizer", loom, miri));

/// A worker's free memory for blocks.
pub(crate) struct FreeBlocks {
    lists: [List; SIZES],
}

/// Free pieces of one size, linked through themselves: each begins with the address of the next.
struct List {
    first: Cell<*mut Free>,
    bytes: Cell<usize>,
}

struct Free {
    next: *mut Self,
}

const _: () = assert!(
    size_of::<Free>() <= STEP && align_of::<Free>() <= STEP,
    "it fits"
);

impl FreeBlocks {
    pub(crate) const fn new() -> Self {
        let lists = [const {
            List {
                first: Cell::new(ptr::null_mut()),
                bytes: Cell::new(0),
            }
        }; SIZES];
        Self { lists }
    }

    #[inline]
    fn take(&self, size: Size) -> Option<NonNull<u8>> {
        let list = &self.lists[size.list?];
        let first = NonNull::new(list.first.get())?;
        // SAFETY: what is in a list is free, and was written by `keep` (I-3).
        list.first.set(unsafe { first.as_ref() }.next);
        list.bytes.set(list.bytes.get() - size.layout.size());
        let memory = first.cast();
        check(memory, size);
        Some(memory)
    }

    /// Keeps the memory of a block; false if that is not for this worker to have.
    ///
    /// # Safety
    /// It was allocated with this layout, and nobody uses it any more.
    #[inline]
    unsafe fn keep(&self, memory: NonNull<u8>, size: Size) -> bool {
        let Some(list) = size.list.map(|list| &self.lists[list]) else {
            return false;
        };
        if list.bytes.get() >= KEPT_BYTES || is_heap_counted() {
            return false;
        }
        spread(memory, size);
        let free = memory.cast::<Free>();
        // SAFETY: the caller's promise: it is free, large enough and aligned (I-3).
        unsafe {
            free.write(Free {
                next: list.first.get(),
            });
        }
        list.first.set(free.as_ptr());
        list.bytes.set(list.bytes.get() + size.layout.size());
        true
    }

    /// Gives everything back.
    pub(crate) fn clear(&self) {
        for list in 0..SIZES {
            let size = Size::of_list(list);
            while let Some(memory) = self.take(size) {
                // SAFETY: allocated with this layout, as every piece of the list (I-3).
                unsafe { dealloc(memory.as_ptr(), size.layout) };
            }
        }
    }
}

impl Drop for FreeBlocks {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How large a block is, and in which list it is kept, if in any.
#[derive(Clone, Copy)]
struct Size {
    layout: Layout,
    list: Option<usize>,
}

impl Size {
    const fn of<B>() -> Self {
        let plain = Layout::new::<B>();
        assert!(plain.size() > 0, "a block has a header");
        let list = plain.size().div_ceil(STEP) - 1;
        if !IS_KEPT || plain.align() > STEP || list >= SIZES {
            return Self {
                layout: plain,
                list: None,
            };
        }
        Self::of_list(list)
    }

    const fn of_list(list: usize) -> Self {
        match Layout::from_size_align((list + 1) * STEP, STEP) {
            Ok(layout) => Self {
                layout,
                list: Some(list),
            },
            Err(_) => panic!("a small layout is a valid one"),
        }
    }
}

/// Memory for a block, in which nothing is yet.
#[inline]
pub(super) fn take<B>() -> NonNull<B> {
    let size = const { Size::of::<B>() };
    let kept = Context::with(|context| context?.free_blocks().take(size));
    kept.unwrap_or_else(|| allocate(size)).cast()
}

#[inline]
fn allocate(size: Size) -> NonNull<u8> {
    // SAFETY: no layout of a block is empty (I-3).
    let memory = unsafe { alloc(size.layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(size.layout))
}

/// Drops a block and frees its memory.
///
/// # Safety
/// Its memory is from [`take`], the block is whole, and nobody uses it any more.
#[inline]
pub(super) unsafe fn free<B>(block: NonNull<B>) {
    let size = const { Size::of::<B>() };
    // SAFETY: by the caller's promise (I-3).
    unsafe { block.drop_in_place() };
    let memory = block.cast();
    let is_kept = Context::with(|context| {
        // SAFETY: what was in it was dropped just now (I-3).
        context.is_some_and(|context| unsafe { context.free_blocks().keep(memory, size) })
    });
    if !is_kept {
        // SAFETY: allocated with this layout: of a list, all are (I-3).
        unsafe { dealloc(memory.as_ptr(), size.layout) };
    }
}

fn spread(memory: NonNull<u8>, size: Size) {
    if cfg!(debug_assertions) {
        // SAFETY: free memory of this size (I-3).
        unsafe { memory.write_bytes(POISON, size.layout.size()) };
    }
}

/// Looks whether nobody has written to it since.
fn check(memory: NonNull<u8>, size: Size) {
    if cfg!(debug_assertions) {
        for at in size_of::<Free>()..size.layout.size() {
            // SAFETY: within the piece, which `spread` has written (I-3).
            let byte = unsafe { memory.add(at) };
            // SAFETY: as above (I-3).
            let byte = unsafe { byte.read() };
            assert_eq!(
                byte, POISON,
                "a fiber's block was written to after it was freed"
            );
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn what_is_freed_is_taken_again_and_no_more_is_kept_than_the_bound() {
        let blocks = FreeBlocks::new();
        let size = const { Size::of::<[u64; 25]>() };
        assert_eq!(size.layout.size(), 208);
        let all: Vec<_> = (0..2 * KEPT_BYTES / 208).map(|_| allocate(size)).collect();
        let mut kept = 0;
        for &memory in &all {
            // SAFETY: allocated above, and used by nobody (I-3).
            if unsafe { blocks.keep(memory, size) } {
                kept += 1;
            } else {
                // SAFETY: as above (I-3).
                unsafe { dealloc(memory.as_ptr(), size.layout) };
            }
        }
        assert_eq!(kept, KEPT_BYTES.div_ceil(208));
        let again = blocks.take(size).expect("it was kept");
        assert_eq!(again, all[kept - 1], "the one that was freed last");
        assert!(blocks.take(Size::of_list(0)).is_none());
        // SAFETY: taken just now (I-3).
        assert!(unsafe { blocks.keep(again, size) });
        blocks.clear();
        assert!(blocks.take(size).is_none());
    }

    #[test]
    fn what_is_large_or_wants_more_alignment_is_not_kept() {
        #[repr(align(32))]
        struct Aligned([u8; 32]);

        assert!(Size::of::<[u8; 512]>().list.is_some());
        assert!(Size::of::<[u8; 513]>().list.is_none());
        assert_eq!(Size::of::<Aligned>().layout, Layout::new::<Aligned>());
        assert_eq!(size_of_val(&Aligned([0; 32]).0), 32);
    }
}

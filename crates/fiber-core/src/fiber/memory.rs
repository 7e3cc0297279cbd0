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
use core::{alloc::Layout, cell::Cell, ptr::NonNull};

use crate::{context::Context, process::is_heap_counted};

/// Lists are for the multiples of so many bytes and a word more: what the usual allocators hand out
/// has a word in front, and is a multiple of this with it.
const STEP: usize = 16;
const WORD: usize = size_of::<usize>();
/// So many of them: for blocks of up to 520 bytes.
const SIZES: usize = 32;
/// How many bytes a worker keeps, of all sizes together.
const KEPT_BYTES: usize = 512 << 10;
/// What is kept is overwritten in debug builds, so that who still uses it is found out.
const POISON: u8 = 0xdb;
/// Whether anything is kept: the sanitizer of addresses is to see each block come and go.
const IS_KEPT: bool = !cfg!(any(feature = "sanitizer", loom, miri));

/// A worker's free memory for blocks.
pub(crate) struct FreeBlocks {
    /// The first free piece of each size; at its end is the address of the next one. Not at its
    /// beginning, where a fiber has what a late waker touches.
    lists: [Cell<Link>; SIZES],
    bytes: Cell<usize>,
}

type Link = Option<NonNull<u8>>;

impl FreeBlocks {
    pub(crate) const fn new() -> Self {
        Self {
            lists: [const { Cell::new(None) }; SIZES],
            bytes: Cell::new(0),
        }
    }

    #[inline]
    fn take(&self, size: Size) -> Link {
        let list = &self.lists[size.list?];
        let memory = list.get()?;
        check(memory, size);
        // SAFETY: what is in a list is free, and was written by `keep` (I-3).
        list.set(unsafe { size.link_of(memory).read() });
        self.bytes.set(self.bytes.get() - size.layout.size());
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
        let bytes = self.bytes.get() + size.layout.size();
        if bytes > KEPT_BYTES || is_heap_counted() {
            return false;
        }
        spread(memory, size);
        // SAFETY: the caller's promise: it is free, large enough and aligned (I-3).
        unsafe { size.link_of(memory).write(list.get()) };
        list.set(Some(memory));
        self.bytes.set(bytes);
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
        let list = plain
            .size()
            .saturating_sub(WORD)
            .div_ceil(STEP)
            .saturating_sub(1);
        if !IS_KEPT || plain.align() > STEP || list >= SIZES {
            return Self {
                layout: plain,
                list: None,
            };
        }
        Self::of_list(list)
    }

    const fn of_list(list: usize) -> Self {
        match Layout::from_size_align((list + 1) * STEP + WORD, STEP) {
            Ok(layout) => Self {
                layout,
                list: Some(list),
            },
            Err(_) => panic!("a small layout is a valid one"),
        }
    }

    /// Where a free piece of this size has the address of the next one.
    const fn link_of(self, memory: NonNull<u8>) -> NonNull<Link> {
        let at = self.layout.size() - size_of::<Link>();
        // SAFETY: within the piece, which is longer than that (I-3).
        unsafe { memory.add(at) }.cast()
    }
}

const _: () = assert!(
    size_of::<Link>() == WORD && STEP.is_multiple_of(align_of::<Link>()),
    "an address fits at the end of a piece, and is aligned there"
);

/// Memory for a block, in which nothing is yet.
#[inline]
pub(super) fn take<B>() -> NonNull<B> {
    let size = const { Size::of::<B>() };
    let kept = Context::with(|context| {
        let context = context.filter(|_| !is_heap_counted())?;
        context.free_blocks().take(size)
    });
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
    let _freed = Freed {
        memory: block.cast(),
        size: const { Size::of::<B>() },
    };
    // SAFETY: by the caller's promise (I-3).
    unsafe { block.drop_in_place() };
}

/// Memory that is free when this is dropped, also if dropping what was in it has panicked.
struct Freed {
    memory: NonNull<u8>,
    size: Size,
}

impl Drop for Freed {
    #[inline]
    fn drop(&mut self) {
        let Self { memory, size } = *self;
        let is_kept = Context::with(|context| {
            // SAFETY: allocated with this layout, and what was in it is gone (I-3).
            context.is_some_and(|context| unsafe { context.free_blocks().keep(memory, size) })
        });
        if !is_kept {
            // SAFETY: as above (I-3).
            unsafe { dealloc(memory.as_ptr(), size.layout) };
        }
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
        for at in 0..size.layout.size() - size_of::<Link>() {
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
        let size = Size::of_list(12);
        let bytes = size.layout.size();
        let all: Vec<_> = (0..2 * KEPT_BYTES / bytes)
            .map(|_| allocate(size))
            .collect();
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
        assert_eq!(kept, KEPT_BYTES / bytes);
        let again = blocks.take(size).expect("it was kept");
        assert_eq!(again, all[kept - 1], "the one that was freed last");
        assert!(blocks.take(Size::of_list(0)).is_none());
        // SAFETY: taken just now (I-3).
        assert!(unsafe { blocks.keep(again, size) });
        blocks.clear();
        assert!(blocks.take(size).is_none());
        assert_eq!(blocks.bytes.get(), 0);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "written to after it was freed")]
    fn a_late_write_is_found() {
        let blocks = FreeBlocks::new();
        let size = Size::of_list(12);
        let memory = allocate(size);
        // SAFETY: allocated above; it is leaked when the test panics (I-3).
        assert!(unsafe { blocks.keep(memory, size) });
        // SAFETY: what a late waker does: the memory is still allocated (I-3).
        unsafe { memory.cast::<u32>().write(1) };
        let _ = core::mem::ManuallyDrop::new(blocks).take(size);
    }

    #[test]
    fn what_is_large_or_wants_more_alignment_is_not_kept() {
        #[repr(align(32))]
        struct Aligned([u8; 32]);

        let kept = |size: Size| (size.layout.size(), size.list);
        for (size, bytes, list) in [
            (Size::of::<[u64; 1]>(), 24, 0),
            (Size::of::<[u64; 3]>(), 24, 0),
            (Size::of::<[u64; 4]>(), 40, 1),
            (Size::of::<[u64; 65]>(), 520, 31),
        ] {
            assert!(
                !IS_KEPT || kept(size) == (bytes, Some(list)),
                "{bytes} bytes"
            );
        }
        assert_eq!(kept(Size::of::<[u8; 521]>()), (521, None));
        assert_eq!(Size::of::<Aligned>().layout, Layout::new::<Aligned>());
        assert_eq!(size_of_val(&Aligned([0; 32]).0), 32);
    }
}

//! Free stacks are poisoned in debug builds: who uses one that was recycled is found out.
//!
//! The words in which its first frames were are overwritten when a stack becomes free and looked at
//! when it is taken again. A late reader meets nonsense, and a late writer ends the program by a
//! panic on the worker.

use core::ptr::NonNull;

use crate::{env::StackMemory, stack};

const WORDS: usize = 64;
const POISON: u64 = 0xdead_57ac_dead_57ac;

/// Overwrites the top of a free stack.
pub(super) fn spread(memory: &StackMemory) {
    if cfg!(debug_assertions) {
        for word in words(memory) {
            // SAFETY: in a free stack, which is ours and has no frames (I-3).
            unsafe { word.write(POISON) };
        }
    }
    #[cfg(feature = "sanitizer")]
    sanitizer::forbid(memory);
}

/// Lets the memory of a free stack be used: it goes to somebody.
pub(super) fn lift(memory: &StackMemory) {
    #[cfg(feature = "sanitizer")]
    sanitizer::allow(memory);
    #[cfg(not(feature = "sanitizer"))]
    let _ = memory;
}

/// Looks whether a stack was left alone while it was free.
///
/// # Panics
/// When it was not.
pub(super) fn check(memory: &StackMemory) {
    lift(memory);
    if cfg!(debug_assertions) {
        for word in words(memory) {
            // SAFETY: in a free stack, written by `spread` (I-3).
            let found = unsafe { word.read() };
            assert_eq!(
                found, POISON,
                "a stack was written to after its fiber's end"
            );
        }
    }
}

fn words(memory: &StackMemory) -> impl Iterator<Item = NonNull<u64>> {
    // What is above is no frame's: the header, and what the stack's colour leaves out.
    let above = memory.base().addr().get() - stack::begin(memory).get();
    let bytes = above + WORDS * size_of::<u64>();
    let lowest = memory.base().as_ptr().wrapping_sub(bytes);
    let lowest = NonNull::new(lowest).expect("a stack does not lie at address 0");
    // SAFETY: less than 2 KiB below the base of a stack of 16 KiB or more (I-3).
    (0..WORDS).map(move |index| unsafe { lowest.cast::<u64>().add(index) })
}

#[cfg(feature = "sanitizer")]
mod sanitizer {
    use core::ffi::c_void;

    use crate::env::StackMemory;

    unsafe extern "C" {
        fn __asan_poison_memory_region(start: *const c_void, bytes: usize);
        fn __asan_unpoison_memory_region(start: *const c_void, bytes: usize);
    }

    pub(super) fn forbid(memory: &StackMemory) {
        let (start, bytes) = extent(memory);
        // SAFETY: a free stack, which is ours (I-3); only the sanitizer's notes change.
        unsafe { __asan_poison_memory_region(start, bytes) };
    }

    pub(super) fn allow(memory: &StackMemory) {
        let (start, bytes) = extent(memory);
        // SAFETY: as above (I-3).
        unsafe { __asan_unpoison_memory_region(start, bytes) };
    }

    fn extent(memory: &StackMemory) -> (*const c_void, usize) {
        let limit = memory.limit();
        let bytes = memory.base().addr().get() - limit.addr().get();
        (limit.as_ptr().cast_const().cast(), bytes)
    }
}

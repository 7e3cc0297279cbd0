//! Which addresses are stacks: a table that a signal handler can read.
//!
//! ```text
//! a word   63             12 11        3 2     0
//!          | start of slab  | guard pages | class + 1 |     0 is an empty place
//! ```

use core::{
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering},
};

use fiber_core::env::StackClass;

/// Bytes of one mapping, carved into stacks of one class.
pub(crate) const SLAB_BYTES: usize = 64 << 20;
/// How many guard pages a word can say.
pub(crate) const GUARD_PAGES_MAX: usize = (1 << 9) - 1;
/// Mappings of the whole process: room for a terabyte of stacks.
const SLABS_MAX: usize = 16_384;
const CLASS_MASK: usize = 0b111;
const GUARD_SHIFT: u32 = 3;
const START_MASK: usize = !0xfff;

static TABLE: [AtomicUsize; SLABS_MAX] = [const { AtomicUsize::new(0) }; SLABS_MAX];
/// One past the highest place ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// A slab's place in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(usize);

/// The stack around an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The lowest address of its place, where the guard begins.
    pub(crate) start: usize,
    pub(crate) class: StackClass,
    /// Whether the address lies in the guard.
    pub(crate) in_guard: bool,
}

impl Found {
    /// One past the stack's highest byte.
    pub(crate) fn base(self) -> NonNull<u8> {
        let base = self.start + self.class.bytes();
        let base = NonZeroUsize::new(base).expect("a stack does not lie at address 0");
        NonNull::with_exposed_provenance(base)
    }
}

/// Enters a slab; `None` when the table is full.
pub(crate) fn enter(start: NonNull<u8>, class: StackClass, guard_pages: usize) -> Option<Place> {
    debug_assert!(guard_pages <= GUARD_PAGES_MAX, "checked by the pool");
    let start = start.expose_provenance().get();
    let word = start | guard_pages << GUARD_SHIFT | (class.index() + 1);
    let place = TABLE.iter().position(|place| {
        place.load(Ordering::Relaxed) == 0
            && place
                .compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    })?;
    USED.fetch_max(place + 1, Ordering::AcqRel);
    Some(Place(place))
}

/// Removes a slab that is about to be unmapped: before its addresses can belong to anybody else.
pub(crate) fn leave(place: Place) {
    TABLE[place.0].store(0, Ordering::Release);
}

/// The stack around `address`. Async-signal-safe: loads only.
///
/// Slabs come and go meanwhile, but not the one that the caller runs on: it is in use.
pub(crate) fn find(address: usize, page_bytes: usize) -> Option<Found> {
    let used = USED.load(Ordering::Acquire);
    TABLE[..used].iter().find_map(|place| {
        let word = place.load(Ordering::Acquire);
        let class = *StackClass::ALL.get((word & CLASS_MASK).checked_sub(1)?)?;
        let slab = word & START_MASK;
        let offset = address
            .checked_sub(slab)
            .filter(|&offset| offset < SLAB_BYTES)?;
        let within = offset % class.bytes();
        let guard_bytes = (word & !START_MASK) >> GUARD_SHIFT;
        Some(Found {
            start: address - within,
            class,
            in_guard: within < guard_bytes * page_bytes,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_finds_its_stack_and_its_guard() {
        let slab = 0x7_0000_0000_0000_usize;
        let start = NonNull::without_provenance(NonZeroUsize::new(slab).unwrap());
        let place = enter(start, StackClass::K64, 2).unwrap();
        let second = slab + (64 << 10);
        let guard = find(second + 0x1fff, 4096).unwrap();
        assert_eq!((guard.start, guard.in_guard), (second, true));
        assert!(!find(second + 0x2000, 4096).unwrap().in_guard);
        assert_eq!(guard.base().addr().get(), second + (64 << 10));
        assert_eq!(find(slab + SLAB_BYTES, 4096), None);
        leave(place);
        assert_eq!(find(second, 4096), None);
    }
}

//! The stacks of one class: which are in use, and which free ones still have memory.
//!
//! ```text
//!            begin                take                 give, memory kept
//! untouched ───────▶ (guarded) ─────────▶ in use ─────────────────────────▶ warm ─┐
//!                                 ▲ ▲          └──── give, memory discarded ▶ cold │
//!                                 │ └────────────────────────────────────────┘    │
//!                                 └───────────────────────────────────────────────┘
//! ```
//!
//! Whoever takes one gets it from the lowest slab that has any, so that the highest slabs empty;
//! slabs of which nothing is in use are handed out for unmapping, but for one that is kept.

use core::{ops::Range, ptr::NonNull};

use fiber_core::env::{ClassStats, StackClass, StackMemory};

use crate::slabs::{Place, SLAB_BYTES};

/// How many free stacks of a class keep their top page.
pub(super) const WARM_MAX: usize = 1024;
/// How many slabs stay mapped although nothing in them is in use.
const UNUSED_MAX: usize = 1;

/// A mapping, carved into stacks.
#[derive(Debug)]
pub(super) struct Slab {
    pub(super) start: NonNull<u8>,
    pub(super) place: Place,
    /// How many stacks were handed out at least once, from the bottom.
    begun: usize,
    /// How many have their guards, from the bottom.
    pub(super) guarded: usize,
    /// How many of those guards are mappings of their own.
    pub(super) split: usize,
    in_use: usize,
    warm: Vec<u16>,
    cold: Vec<u16>,
}

// SAFETY: the pointer names a mapping that belongs to the pool, and memory has no thread (I-3).
unsafe impl Send for Slab {}

impl Slab {
    pub(super) fn new(start: NonNull<u8>, place: Place) -> Self {
        Self {
            start,
            place,
            begun: 0,
            guarded: 0,
            split: 0,
            in_use: 0,
            warm: Vec::new(),
            cold: Vec::new(),
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.in_use == 0
    }

    /// The stacks that need guards before one more can begin, which are few, or none.
    pub(super) fn guards_missing(&self, class: StackClass, at_once: usize) -> Range<usize> {
        let end = if self.begun < self.guarded {
            self.guarded
        } else {
            (self.guarded + at_once).min(SLAB_BYTES / class.bytes())
        };
        self.guarded..end
    }

    /// Where stack `index` begins, with its guard.
    pub(super) fn stack(&self, index: usize, class: StackClass) -> NonNull<u8> {
        let there = self.start.as_ptr().wrapping_add(index * class.bytes());
        NonNull::new(there).expect("a stack does not lie at address 0")
    }
}

/// All slabs of one class.
#[derive(Debug)]
pub(super) struct ClassPool {
    class: StackClass,
    /// By address.
    slabs: Vec<Slab>,
    /// No slab before this one has a stack to give.
    open: usize,
    unused: usize,
    numbers: ClassStats,
}

/// Where the next stack comes from.
pub(super) enum Next<'pool> {
    /// It was used before.
    Again(NonNull<u8>),
    /// The slab has stacks that were never used; [`ClassPool::begin`] takes one once it is guarded.
    First(&'pool mut Slab),
    /// From a new slab.
    Nowhere,
}

impl ClassPool {
    pub(super) fn new(class: StackClass) -> Self {
        Self {
            class,
            slabs: Vec::new(),
            open: 0,
            unused: 0,
            numbers: ClassStats::default(),
        }
    }

    pub(super) fn numbers(&self) -> ClassStats {
        self.numbers
    }

    fn per_slab(&self) -> usize {
        SLAB_BYTES / self.class.bytes()
    }

    /// Takes a free stack, or says what is missing.
    pub(super) fn next(&mut self) -> Next<'_> {
        let per_slab = self.per_slab();
        while self
            .slabs
            .get(self.open)
            .is_some_and(|slab| slab.in_use == per_slab)
        {
            self.open += 1;
        }
        match self.slabs.get(self.open) {
            None => Next::Nowhere,
            Some(slab) if slab.warm.is_empty() && slab.cold.is_empty() => {
                Next::First(&mut self.slabs[self.open])
            }
            Some(_) => Next::Again(self.take(self.open)),
        }
    }

    /// Takes a stack that was used before, from whichever slab has one.
    pub(super) fn any(&mut self) -> Option<NonNull<u8>> {
        let has = |slab: &Slab| !slab.warm.is_empty() || !slab.cold.is_empty();
        let at = self.slabs.iter().position(has)?;
        Some(self.take(at))
    }

    fn take(&mut self, at: usize) -> NonNull<u8> {
        let slab = &mut self.slabs[at];
        let index = match slab.warm.pop() {
            Some(index) => {
                self.numbers.warm -= 1;
                index
            }
            None => {
                self.numbers.cold -= 1;
                slab.cold.pop().expect("the caller saw a free stack")
            }
        };
        self.use_stack(at, usize::from(index))
    }

    /// Takes the next stack of the slab that [`ClassPool::next`] gave, which has its guard by now.
    pub(super) fn begin(&mut self) -> NonNull<u8> {
        let index = self.slabs[self.open].begun;
        self.slabs[self.open].begun += 1;
        self.use_stack(self.open, index)
    }

    fn use_stack(&mut self, at: usize, index: usize) -> NonNull<u8> {
        let slab = &mut self.slabs[at];
        self.unused -= usize::from(slab.is_unused());
        slab.in_use += 1;
        self.numbers.in_use += 1;
        slab.stack(index, self.class)
    }

    pub(super) fn add(&mut self, slab: Slab) {
        let at = self.slabs.partition_point(|other| other.start < slab.start);
        self.slabs.insert(at, slab);
        self.open = self.open.min(at);
        self.unused += 1;
        self.numbers.mapped_bytes += SLAB_BYTES;
    }

    /// How many of `wanted` stacks may keep their memory; they count as warm from now on.
    pub(super) fn reserve_warm(&mut self, wanted: usize) -> usize {
        let room = WARM_MAX.saturating_sub(self.numbers.warm).min(wanted);
        self.numbers.warm += room;
        room
    }

    /// One that was taken never comes back; its slab stays for good.
    pub(super) fn leak(&mut self) {
        self.numbers.in_use -= 1;
        self.numbers.leaked += 1;
    }

    /// Takes stacks of this class back that are sorted by address, of which the first `warm` have
    /// kept their memory. What is not needed any more comes out, to be unmapped.
    pub(super) fn give(&mut self, stacks: &[StackMemory], warm: usize) -> Vec<Slab> {
        let cold = stacks.len() - warm;
        self.numbers.in_use -= stacks.len();
        self.numbers.cold += cold;
        self.numbers.trims += cold as u64;
        let mut unneeded = Vec::new();
        let mut at = None;
        for (number, stack) in stacks.iter().enumerate() {
            let address = stack.limit();
            let found = at.filter(|&at: &usize| self.has(at, address));
            let slab = found.unwrap_or_else(|| self.slab_of(address));
            self.give_one(slab, address, number < warm);
            at = Some(slab);
            if self.slabs[slab].is_unused() {
                self.unused += 1;
                if self.unused > UNUSED_MAX {
                    unneeded.push(self.remove(slab));
                    at = None;
                }
            }
        }
        unneeded
    }

    fn give_one(&mut self, at: usize, address: NonNull<u8>, is_warm: bool) {
        let slab = &mut self.slabs[at];
        let offset = address.addr().get() - slab.start.addr().get();
        let index = offset / self.class.bytes();
        let index = u16::try_from(index).expect("a slab has at most 4096 stacks");
        let free = if is_warm {
            &mut slab.warm
        } else {
            &mut slab.cold
        };
        free.push(index);
        slab.in_use -= 1;
        self.open = self.open.min(at);
    }

    fn remove(&mut self, at: usize) -> Slab {
        let slab = self.slabs.remove(at);
        self.open -= usize::from(at < self.open);
        self.unused -= 1;
        self.numbers.warm -= slab.warm.len();
        self.numbers.cold -= slab.cold.len();
        self.numbers.mapped_bytes -= SLAB_BYTES;
        slab
    }

    /// Takes out every slab of which nothing is in use.
    pub(super) fn remove_unused(&mut self) -> Vec<Slab> {
        let mut unused = Vec::new();
        while let Some(at) = self.slabs.iter().position(Slab::is_unused) {
            unused.push(self.remove(at));
        }
        unused
    }

    fn has(&self, at: usize, address: NonNull<u8>) -> bool {
        let start = self.slabs[at].start.addr().get();
        (start..start + SLAB_BYTES).contains(&address.addr().get())
    }

    fn slab_of(&self, address: NonNull<u8>) -> usize {
        let after = self.slabs.partition_point(|slab| slab.start <= address);
        let at = after.checked_sub(1).filter(|&at| self.has(at, address));
        at.expect("a stack that is given back came from a slab of this pool")
    }
}

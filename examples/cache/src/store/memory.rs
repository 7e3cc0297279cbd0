//! The memory limit, shared by all shards, and what one operation holds of it.
//!
//! What is counted is what the allocator hands out, not what was asked for: see [`allocated`].
//! Room is claimed before it is allocated and given back after it was freed, so the count never
//! exceeds the limit and never falls short of what is held.

use core::sync::atomic::{AtomicUsize, Ordering};

/// What the allocator takes for a block of `bytes`, as the usual ones on 64-bit machines do it:
/// a word in front, in steps of 16, at least 32.
pub(crate) const fn allocated(bytes: usize) -> usize {
    const WORD: usize = 8;
    const STEP: usize = 16;
    const MIN: usize = 32;
    if bytes == 0 {
        return 0;
    }
    let rounded = bytes.saturating_add(WORD).next_multiple_of(STEP);
    if rounded < MIN { MIN } else { rounded }
}

/// How many bytes are in use, and how many may be.
///
/// The count guards no other data, so relaxed operations are enough: each of them is one
/// step, and what is never exceeded is the number itself.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicUsize,
    max: usize,
}

impl Memory {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// A claim on nothing yet.
    pub(crate) const fn claim(&self) -> Claim<'_> {
        Claim {
            memory: self,
            bytes: 0,
        }
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let grow = |used: usize| used.checked_add(bytes).filter(|&used| used <= self.max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow)
            .is_ok()
    }
}

/// Bytes that count as used and belong to one operation, until it spends them on an item.
///
/// What an operation frees goes into its claim first, so that nobody else takes the room that
/// it has made. The rest returns when the claim is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    memory: &'a Memory,
    bytes: usize,
}

impl Claim<'_> {
    /// Makes the claim at least `bytes` large, or leaves it as it is and returns false.
    #[must_use]
    pub(crate) fn cover(&mut self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.bytes);
        let covered = missing == 0 || self.memory.take(missing);
        if covered {
            self.bytes += missing;
        }
        covered
    }

    /// Turns bytes of the claim into bytes that the store holds.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .expect("an operation spends no more than it has covered");
    }

    /// Adds what the store has let go.
    pub(crate) const fn gain(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_takes_all_or_nothing_and_returns_what_was_not_spent() {
        let memory = Memory::new(100);
        let mut claim = memory.claim();
        assert!(claim.cover(60));
        assert!(!claim.cover(101), "more than there is");
        assert_eq!(memory.used(), 60);
        claim.spend(40);
        claim.gain(10);
        let mut other = memory.claim();
        assert!(!other.cover(41), "30 are held back by the first claim");
        drop(claim);
        assert_eq!(memory.used(), 30);
        assert!(other.cover(70));
    }

    #[test]
    fn a_block_costs_what_the_allocator_rounds_it_to() {
        let costs = [0, 1, 24, 25, 40, 41, 4096].map(allocated);
        assert_eq!(costs, [0, 32, 32, 48, 48, 64, 4112]);
    }
}

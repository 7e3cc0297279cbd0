//! Every random draw of a world, keyed by where it is made.
//!
//! A draw's value depends on the seed, on the site, and on how many draws that site has had:
//! never on draws made elsewhere. So an edit that adds a draw here does not shift the draws there,
//! and a failing seed goes on failing.
//!
//! ```text
//! value = scramble(seed, site, count at site)        every draw is folded into the journal
//! ```

use core::time::Duration;

use fiber_core::env::Site;

use crate::journal::Journal;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The source of all draws of one world.
pub(crate) struct Choices {
    seed: u64,
    counts: Counts,
    drawn: u64,
    pub(crate) journal: Journal,
}

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed: scramble(seed),
            counts: Counts::new(),
            drawn: 0,
            journal: Journal::new(),
        }
    }

    /// How many draws were made.
    pub(crate) const fn drawn(&self) -> u64 {
        self.drawn
    }

    /// 64 fresh bits of `site`.
    #[inline]
    pub(crate) fn bits(&mut self, site: u64) -> u64 {
        let count = self.counts.next(site);
        let value = scramble(scramble(self.seed ^ site).wrapping_add(count.wrapping_mul(GOLDEN)));
        self.drawn += 1;
        self.journal.fold(site, value);
        value
    }

    /// A number below `n`, which is at least 1. With one possibility nothing is drawn.
    #[inline]
    pub(crate) fn below(&mut self, site: u64, n: u64) -> u64 {
        if n <= 1 {
            return 0;
        }
        scale(self.bits(site), n)
    }

    /// An index below `n`, which is at least 1.
    #[inline]
    pub(crate) fn index(&mut self, site: u64, n: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the value is below a usize"
        )]
        let index = self.below(site, n as u64) as usize;
        index
    }

    /// Whether the one case of `one_in` has come; never when `one_in` is 0.
    #[inline]
    pub(crate) fn one_in(&mut self, site: u64, one_in: u32) -> bool {
        one_in != 0 && self.below(site, u64::from(one_in)) == 0
    }

    /// A span below `span`, in nanoseconds.
    pub(crate) fn nanos_below(&mut self, site: u64, span: Duration) -> u64 {
        self.below(site, nanos(span))
    }
}

/// The key of a site that has only a name.
pub(crate) const fn site(name: &'static str) -> u64 {
    Site::new(name).hash()
}

/// The key of `site` at one node, or between two: keys that differ stay apart.
#[inline]
pub(crate) const fn at(site: u64, place: u64) -> u64 {
    scramble(site ^ place.rotate_left(29))
}

/// A span in nanoseconds, at most `u64::MAX`.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Takes 64 random bits to a number below `n` (Lemire's multiplication).
#[inline]
pub(crate) const fn scale(bits: u64, n: u64) -> u64 {
    ((bits as u128 * n as u128) >> 64) as u64
}

/// The finaliser of SplitMix64: every bit of `x` decides about every bit of the answer.
#[inline]
pub(crate) const fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// How often each site has drawn: open addressing, never iterated, so nothing depends on order.
struct Counts {
    slots: Vec<(u64, u64)>,
    used: usize,
}

impl Counts {
    fn new() -> Self {
        Self {
            slots: vec![(0, 0); 64],
            used: 0,
        }
    }

    /// The number of earlier draws of `site`, counting this one.
    #[inline]
    fn next(&mut self, site: u64) -> u64 {
        // 0 marks an empty slot.
        let site = site | u64::from(site == 0);
        let slot = self.find(site);
        let (key, count) = &mut self.slots[slot];
        let before = *count;
        *count += 1;
        if *key == 0 {
            *key = site;
            self.used += 1;
            if self.used * 2 > self.slots.len() {
                self.grow();
            }
        }
        before
    }

    #[inline]
    fn find(&self, site: u64) -> usize {
        let mask = self.slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "masked right away")]
        let mut slot = site as usize & mask;
        while self.slots[slot].0 != 0 && self.slots[slot].0 != site {
            slot = (slot + 1) & mask;
        }
        slot
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![(0, 0); self.slots.len() * 2];
        let old = core::mem::replace(&mut self.slots, larger);
        for entry in old.into_iter().filter(|entry| entry.0 != 0) {
            let slot = self.find(entry.0);
            self.slots[slot] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_at_one_site_do_not_shift_another() {
        let (a, b) = (site("a"), site("b"));
        let mut plain = Choices::new(7);
        let expected: Vec<u64> = (0..100).map(|_| plain.bits(a)).collect();
        let mut mixed = Choices::new(7);
        let got: Vec<u64> = (0..100)
            .map(|_| {
                mixed.bits(b);
                mixed.bits(a)
            })
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_thousand_sites_are_counted_apart() {
        let mut counts = Counts::new();
        for round in 0..3 {
            for number in 0..1000 {
                assert_eq!(counts.next(scramble(number)), round);
            }
        }
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_every_value() {
        let mut choices = Choices::new(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[choices.index(site("x"), 5)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }
}

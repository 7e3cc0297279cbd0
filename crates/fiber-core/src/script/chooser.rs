//! Decisions from a seed.

extern crate std;

use alloc::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::env::{Chooser, Site};

/// Decides by seed, site and how often the site was asked, and by nothing else.
#[derive(Debug)]
pub struct SeededChooser {
    seed: u64,
    asked: Mutex<BTreeMap<Site, u64>>,
}

impl SeededChooser {
    /// The decisions of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            asked: Mutex::new(BTreeMap::new()),
        }
    }
}

impl Chooser for SeededChooser {
    fn choose(&self, site: Site, n: u32) -> u32 {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(site).or_default();
        *count += 1;
        let word = mix(self.seed ^ mix(site.hash() ^ mix(*count)));
        u32::try_from(word % u64::from(n)).expect("below a u32")
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit depends on every bit.
pub(super) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

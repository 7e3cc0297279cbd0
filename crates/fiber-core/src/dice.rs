//! Random numbers that decide about nothing but balance and fairness.

use core::cell::Cell;

use crate::env::Entropy;

/// A small generator of random numbers, xorshift64* (Vigna, "An experimental exploration of
/// Marsaglia's xorshift generators, scrambled", 2016). Not for keys.
#[derive(Debug)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// Seeded by the host.
    pub fn new(entropy: &(impl Entropy + ?Sized)) -> Self {
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        Self::seeded(u64::from_le_bytes(seed))
    }

    /// The same seed gives the same numbers.
    pub const fn seeded(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    /// A number below `n`, which is not 0.
    #[inline]
    pub fn roll(&self, n: usize) -> usize {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        // 32 random bits scaled down to n: no division.
        ((random * n as u64) >> 32) as usize
    }
}

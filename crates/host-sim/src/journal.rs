//! What happened, as one number: two runs with the same hash did the same.

use core::fmt;

/// A rolling hash of every draw, turn, completion and sent byte, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journal {
    low: u64,
    high: u64,
}

impl Journal {
    pub(crate) const fn new() -> Self {
        Self {
            low: 0x243f_6a88_85a3_08d3,
            high: 0x1319_8a2e_0370_7344,
        }
    }

    /// Folds two words in.
    #[inline]
    pub(crate) const fn fold(&mut self, a: u64, b: u64) {
        self.low = (self.low ^ a)
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            .rotate_left(31);
        self.high = (self.high ^ b.wrapping_add(self.low))
            .wrapping_mul(0xc4ce_b9fe_1a85_ec53)
            .rotate_left(27);
    }

    /// Folds bytes in, so that a program whose messages differ is seen to differ.
    pub(crate) fn fold_bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
            self.fold(word, 8);
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(word), rest.len() as u64);
        }
    }

    pub(crate) const fn hash(&self) -> JournalHash {
        JournalHash((self.high as u128) << 64 | self.low as u128)
    }
}

/// The hash of a whole run: equal for equal seed, configuration and program (I-6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalHash(u128);

impl JournalHash {
    /// The hash as a number.
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for JournalHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JournalHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_both_count() {
        let hash = |parts: &[&[u8]]| {
            let mut journal = Journal::new();
            parts.iter().for_each(|part| journal.fold_bytes(part));
            journal.hash()
        };
        assert_eq!(hash(&[b"abc", b"d"]), hash(&[b"abc", b"d"]));
        assert_ne!(hash(&[b"abc", b"d"]), hash(&[b"d", b"abc"]));
        assert_ne!(hash(&[b"abc"]), hash(&[b"abd"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"ab\0"]));
    }
}

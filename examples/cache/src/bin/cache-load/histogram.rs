//! A histogram of latencies with a bounded relative error.
//!
//! ```text
//! values   0 … 63 │ 64 … 127 │ 128 … 255 │ 256 … 511 │ …     nanoseconds
//! buckets   64×1  │  64×1    │   64×2    │   64×4    │ …     so a bucket is ≤ 1/64 of its value
//! ```

/// Buckets for each doubling, as a power of two.
const PRECISION_BITS: u32 = 6;
const BUCKETS_PER_DOUBLING: usize = 1 << PRECISION_BITS;

/// Counts of values, by size.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        let doublings = (u64::BITS - PRECISION_BITS + 1) as usize;
        Self {
            buckets: vec![0; doublings * BUCKETS_PER_DOUBLING],
            count: 0,
        }
    }

    pub(crate) fn record(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
    }

    /// The value that `part` of `whole` of all recorded values do not exceed, up to the width of
    /// its bucket. Zero if nothing was recorded.
    pub(crate) fn quantile(&self, part: u64, whole: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(part)).div_ceil(u128::from(whole));
        let mut seen = 0_u128;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += u128::from(count);
            if count > 0 && seen >= rank {
                return highest(index);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    let place = usize::try_from(value >> shift).expect("seven bits are left");
    shift as usize * BUCKETS_PER_DOUBLING + place
}

/// The largest value that falls into a bucket.
fn highest(index: usize) -> u64 {
    let shift = (index / BUCKETS_PER_DOUBLING).saturating_sub(1);
    let place = (index - shift * BUCKETS_PER_DOUBLING) as u64;
    ((place + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_to_within_a_64th() {
        let mut value = 0_u64;
        while value < u64::MAX / 3 {
            let top = highest(bucket(value));
            assert!(
                top >= value && top - value <= value / 64,
                "{value} became {top}"
            );
            assert_eq!(bucket(top), bucket(value));
            assert_ne!(bucket(top + 1), bucket(value));
            value = value * 3 / 2 + 1;
        }
        assert_eq!(highest(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_are_found_by_rank() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(1, 2), 0);
        for value in 1..=100 {
            histogram.record(value);
        }
        assert_eq!(histogram.quantile(50, 100), 50);
        assert_eq!(histogram.quantile(99, 100), 99);
        assert_eq!(histogram.quantile(100, 100), 100);
    }
}

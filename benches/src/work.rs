//! What is the same for all runtimes in some workloads: chance, trees, and work of uneven size.

use core::{hint::black_box, time::Duration};

/// The exponent of the uneven work's distribution.
const EXPONENT: f64 = 1.1;
/// Timers that come due in each millisecond, as long as sleepers are spread.
const DUE_PER_MS: u64 = 100;
const STEPS: u64 = 64;
/// How many children a task of the tree has.
pub const BRANCHES: u64 = 10;
/// How many tasks share uneven work.
pub const UNEVEN_TASKS: u64 = 1000;
/// After so many pieces of work a task lets others run.
pub const PIECES_AT_ONCE: u64 = 16;

/// Numbers that look random and are the same in each run: xorshift.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// How long each of so many sleepers sleeps: whole milliseconds up to a second, or less where there
/// are so few sleepers that they would not come due as densely.
pub fn sleeps(sleepers: u64) -> impl Iterator<Item = Duration> {
    let most = (sleepers / DUE_PER_MS).clamp(1, 1000);
    let mut random = Random::default();
    (0..sleepers).map(move |_| Duration::from_millis(1 + random.below(most)))
}

/// How many tasks a tree has whose leaves are so many: [`BRANCHES`] at each that is not a leaf.
pub fn tree_tasks(leaves: u64) -> u64 {
    if leaves <= 1 {
        return 1;
    }
    1 + branches(0, leaves)
        .map(|(_, leaves)| tree_tasks(leaves))
        .sum::<u64>()
}

/// The branches of a tree: each one's first leaf, and how many it has, which is 1 or more.
pub fn branches(first: u64, leaves: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut first = first;
    let sizes = crate::shares(leaves, BRANCHES).filter(|size| *size > 0);
    sizes.map(move |size| {
        let branch = (first, size);
        first += size;
        branch
    })
}

/// The sum of all leaves' numbers.
pub const fn tree_sum(leaves: u64) -> u64 {
    leaves * leaves.saturating_sub(1) / 2
}

/// `total` pieces of work, of which the k-th of [`UNEVEN_TASKS`] tasks has a part in proportion to
/// 1/k^1.1 (Zipf's law), in mixed order.
pub fn uneven_shares(total: u64) -> Vec<u64> {
    let weights = (1..=UNEVEN_TASKS).map(|rank| (rank as f64).powf(-EXPONENT));
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    #[expect(clippy::cast_possible_truncation, reason = "a part, rounded down")]
    let part = |weight: &f64| (total as f64 * weight / sum) as u64;
    let mut parts: Vec<u64> = weights.iter().map(part).collect();
    // What rounding has left over is the first one's.
    parts[0] += total - parts.iter().sum::<u64>();
    let mut random = Random::default();
    for index in (1..parts.len()).rev() {
        let bound = u64::try_from(index).unwrap_or(u64::MAX) + 1;
        let other = usize::try_from(random.below(bound)).unwrap_or(0);
        parts.swap(index, other);
    }
    parts
}

/// One piece of work: some multiplications.
pub fn work() {
    let mut value = 1_u64;
    for step in 0..STEPS {
        value = black_box(value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step);
    }
}

#[cfg(test)]
mod tests {
    use super::{branches, sleeps, tree_sum, tree_tasks, uneven_shares};

    #[test]
    fn a_tree_has_every_leaf_once() {
        fn sum(first: u64, leaves: u64) -> (u64, u64) {
            if leaves == 1 {
                return (first, 1);
            }
            branches(first, leaves).fold((0, 1), |(total, tasks), (first, leaves)| {
                let (branch, more) = sum(first, leaves);
                (total + branch, tasks + more)
            })
        }
        for leaves in [1, 2, 10, 11, 1000, 1009] {
            assert_eq!(sum(0, leaves), (tree_sum(leaves), tree_tasks(leaves)));
        }
        assert_eq!(tree_tasks(1000), 1111);
    }

    #[test]
    fn uneven_shares_add_up_and_are_uneven() {
        for total in [0, 7, 1009, 1_000_000] {
            assert_eq!(uneven_shares(total).iter().sum::<u64>(), total);
        }
        let shares = uneven_shares(1_000_000);
        let most = shares.iter().max().expect("there are shares");
        assert!(*most > 100_000, "{most}");
    }

    #[test]
    fn sleepers_come_due_as_densely_however_many_they_are() {
        assert_eq!(sleeps(100_000).count(), 100_000);
        let longest = |sleepers| sleeps(sleepers).max().expect("there are some").as_millis();
        assert!(longest(100_000) > 990 && longest(100_000) <= 1000);
        assert!(longest(1000) <= 10);
    }
}

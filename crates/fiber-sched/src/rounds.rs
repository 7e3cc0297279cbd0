//! Who runs in a round, by priority.
//!
//! In a round everybody of the most urgent band that has anybody runs once. The bands below it are
//! passed over; every [`PASSES`] rounds one fiber of such a band runs, too: in turns the oldest of
//! those that are ready and the oldest of those that have not started. So one that is the k-th of
//! either runs in round `2 * k * PASSES` at the latest.

use core::cell::Cell;

use fiber_core::fiber::Priority;

/// How many rounds in a row pass a band over.
pub(crate) const PASSES: u32 = 8;

/// How many fibers of one band run in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Of those that have started.
    pub(crate) ready: usize,
    /// Of those that have not.
    pub(crate) unstarted: usize,
}

impl Quota {
    /// At most `max` of both; a quarter of that is for those who have not started, if so many wait.
    fn cut(self, max: usize) -> Self {
        let unstarted = self
            .unstarted
            .min(max.saturating_sub(self.ready).max(max / 4));
        Self {
            ready: self.ready.min(max - unstarted),
            unstarted,
        }
    }
}

/// What a worker remembers from round to round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    passed: [Cell<u32>; 3],
    /// Whether who ran last of a band that is passed over was ready, rather than new.
    ready_ran: [Cell<bool>; 3],
}

impl Rounds {
    /// Decides about one round of `max` resumes at the most, from how many wait in each band.
    pub(crate) fn plan(&self, ready: [usize; 3], unstarted: [usize; 3], max: usize) -> [Quota; 3] {
        let mut quotas = [Quota::default(); 3];
        let mut first = true;
        for band in Priority::ALL.map(Priority::index) {
            let all = Quota {
                ready: ready[band],
                unstarted: unstarted[band],
            };
            if all == Quota::default() {
                self.passed[band].set(0);
            } else if first {
                first = false;
                self.passed[band].set(0);
                quotas[band] = all.cut(max);
            } else {
                quotas[band] = self.pass(band, all);
            }
        }
        quotas
    }

    /// A round in which there was but one band.
    #[inline]
    pub(crate) fn nobody_passed(&self) {
        for passed in &self.passed {
            passed.set(0);
        }
    }

    fn pass(&self, band: usize, all: Quota) -> Quota {
        let passed = self.passed[band].get() + 1;
        if passed < PASSES {
            self.passed[band].set(passed);
            return Quota::default();
        }
        self.passed[band].set(0);
        // One that yields is ready again each time: it would keep the new ones out for ever.
        let new = all.unstarted > 0 && (all.ready == 0 || self.ready_ran[band].get());
        self.ready_ran[band].set(!new);
        Quota {
            ready: usize::from(!new),
            unstarted: usize::from(new),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn quota(ready: usize, unstarted: usize) -> Quota {
        Quota { ready, unstarted }
    }

    #[test]
    fn everybody_of_the_most_urgent_band_runs() {
        let rounds = Rounds::default();
        let plan = rounds.plan([0, 3, 5], [0, 2, 1], 128);
        assert_eq!(plan, [quota(0, 0), quota(3, 2), quota(0, 0)]);
    }

    #[test]
    fn a_band_that_is_passed_over_gets_one_run_in_eight_rounds() {
        let rounds = Rounds::default();
        let mut low = 0;
        let mut normal = 0;
        for round in 1..=80 {
            let plan = rounds.plan([1, 1, 0], [0, 0, 4], 128);
            assert_eq!(plan[0], quota(1, 0), "round {round}");
            normal += plan[1].ready;
            low += plan[2].unstarted;
        }
        assert_eq!((normal, low), (10, 10));
    }

    #[test]
    fn in_a_band_that_is_passed_over_new_fibers_run_though_one_is_always_ready() {
        let rounds = Rounds::default();
        let (mut ready, mut started) = (0, 0);
        for _ in 0..10 * PASSES {
            let low = rounds.plan([1, 0, 1], [0, 0, 4], 128)[2];
            ready += low.ready;
            started += low.unstarted;
        }
        assert_eq!((ready, started), (5, 5));
    }

    #[test]
    fn those_who_have_not_started_get_their_share_of_a_crowd() {
        let rounds = Rounds::default();
        let plan = rounds.plan([0, 5000, 0], [0, 5000, 0], 128);
        assert_eq!(plan[1], quota(96, 32));
        let plan = rounds.plan([0, 100, 0], [0, 5000, 0], 128);
        assert_eq!(plan[1], quota(96, 32));
        let plan = rounds.plan([0, 5000, 0], [0, 3, 0], 128);
        assert_eq!(plan[1], quota(125, 3));
        assert_eq!(rounds.plan([0, 5, 0], [0, 0, 0], 1)[1], quota(1, 0));
    }

    #[test]
    fn a_band_that_was_empty_begins_to_count_anew() {
        let rounds = Rounds::default();
        for _ in 1..PASSES {
            assert_eq!(rounds.plan([1, 1, 0], [0; 3], 128)[1], quota(0, 0));
        }
        rounds.plan([1, 0, 0], [0; 3], 128);
        assert_eq!(rounds.plan([1, 1, 0], [0; 3], 128)[1], quota(0, 0));
    }
}

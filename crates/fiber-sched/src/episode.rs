//! What a worker is up to, judged from looks at it now and then.
//!
//! ```text
//! look: progress moved, or asleep ──▶ Moves      a new episode begins
//!       not, and processor time did ──▶ EndSlice, once Hog
//!       neither, and in the kernel ──▶ Stays, once Stuck
//! ```

use core::time::Duration;

use fiber_core::env::Instant;

use crate::watchdog::Watchdog;

/// A thread that used less than this between two looks may be asleep.
const STILL: Duration = Duration::from_millis(1);

/// One worker at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// A number that rises whenever the worker resumes a fiber or takes a turn.
    pub(crate) progress: u64,
    /// Whether it waits in the host because it has nothing to do.
    pub(crate) sleeping: bool,
    /// Processor time that its thread has used.
    pub(crate) cpu: Duration,
    pub(crate) now: Instant,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It makes progress, or has nothing to do.
    Moves,
    /// It has just begun with something, or waits in the kernel, which may be over soon.
    Stays,
    /// Its fiber should let others run.
    EndSlice,
    /// Its fiber has used this much without letting others run, and was not reported yet.
    Hog(Duration),
    /// Its fiber has kept the thread in the kernel for so long, and was not reported yet.
    Stuck(Duration),
}

/// The time during which a worker makes no progress.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Episode {
    progress: u64,
    cpu_begin: Duration,
    cpu_last: Duration,
    still_since: Option<Instant>,
    reported: bool,
    began: bool,
}

impl Episode {
    /// Judges one look, after those before it. `in_kernel` says whether the thread is asleep there;
    /// it is asked only when that matters.
    pub(crate) fn look(
        &mut self,
        look: &Look,
        limits: &Watchdog,
        in_kernel: impl FnOnce() -> bool,
    ) -> Finding {
        if look.sleeping || !self.began || look.progress != self.progress {
            *self = Self {
                progress: look.progress,
                cpu_begin: look.cpu,
                cpu_last: look.cpu,
                still_since: None,
                reported: false,
                began: !look.sleeping,
            };
            return Finding::Moves;
        }
        let step = look.cpu.saturating_sub(self.cpu_last);
        self.cpu_last = look.cpu;
        if step < STILL && in_kernel() {
            let since = *self.still_since.get_or_insert(look.now);
            let span = look.now.saturating_since(since);
            return self.report(limits.stuck_after, span, Finding::Stuck, Finding::Stays);
        }
        self.still_since = None;
        let used = look.cpu.saturating_sub(self.cpu_begin);
        // It may have begun at any time between two looks: half a slice is one and a half.
        let over = if used >= limits.slice / 2 {
            Finding::EndSlice
        } else {
            Finding::Stays
        };
        self.report(limits.hog_after, used, Finding::Hog, over)
    }

    fn report(
        &mut self,
        after: Duration,
        span: Duration,
        first: impl FnOnce(Duration) -> Finding,
        otherwise: Finding,
    ) -> Finding {
        if span < after || self.reported {
            return otherwise;
        }
        self.reported = true;
        first(span)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Looks every 10 ms; each step says: progress, processor time used meanwhile, in the kernel.
    fn findings(steps: &[(u64, u64, bool)]) -> Vec<Finding> {
        let limits = Watchdog::default();
        let mut episode = Episode::default();
        let mut cpu = Duration::ZERO;
        let looks = steps
            .iter()
            .zip(1..)
            .map(|(&(progress, used, in_kernel), count)| {
                cpu += Duration::from_millis(used);
                let look = Look {
                    progress,
                    sleeping: false,
                    cpu,
                    now: Instant::ORIGIN + Duration::from_millis(10 * count),
                };
                episode.look(&look, &limits, || in_kernel)
            });
        looks.collect()
    }

    extern crate alloc;
    use alloc::vec::Vec;

    #[test]
    fn a_worker_that_makes_progress_is_left_alone_however_busy_it_is() {
        let steps: Vec<_> = (0..100).map(|step| (step, 10, false)).collect();
        assert!(findings(&steps).iter().all(|f| *f == Finding::Moves));
    }

    #[test]
    fn a_fiber_that_runs_through_a_whole_period_is_told_to_give_way_each_time() {
        let found = findings(&[(7, 10, false), (7, 10, false), (7, 10, false)]);
        let [Finding::Moves, Finding::EndSlice, Finding::EndSlice] = found[..] else {
            panic!("{found:?}");
        };
    }

    #[test]
    fn a_hog_is_reported_once_and_again_only_after_it_has_moved() {
        let mut steps = [(1, 10, false)].repeat(40);
        steps.extend([(2, 10, false)].repeat(40));
        let hogs: Vec<_> = findings(&steps)
            .into_iter()
            .enumerate()
            .filter(|(_, finding)| matches!(finding, Finding::Hog(_)))
            .collect();
        let used = Finding::Hog(Duration::from_millis(100));
        assert_eq!(hogs, [(10, used), (50, used)]);
    }

    #[test]
    fn a_thread_that_was_not_given_the_processor_is_no_hog() {
        let found = findings(&[(1, 0, false)].repeat(300));
        assert!(found[1..].iter().all(|f| *f == Finding::Stays), "{found:?}");
    }

    #[test]
    fn a_worker_that_sleeps_in_the_kernel_with_a_fiber_is_reported_once() {
        let found = findings(&[(1, 0, true)].repeat(300));
        let stuck: Vec<_> = (0..)
            .zip(&found)
            .filter(|(_, finding)| matches!(finding, Finding::Stuck(_)))
            .map(|(index, _)| index)
            .collect();
        assert_eq!(stuck, [101], "a second after the first look at it");
        assert!(found.iter().all(|finding| *finding != Finding::EndSlice));
    }

    #[test]
    fn short_waits_in_the_kernel_are_not_added_up() {
        let steps: Vec<_> = (0..300).map(|step| (1, 2, step % 50 != 0)).collect();
        let found = findings(&steps);
        assert!(!found.iter().any(|f| matches!(f, Finding::Stuck(_))));
    }

    #[test]
    fn a_worker_that_has_nothing_to_do_is_never_looked_at_closely() {
        let mut episode = Episode::default();
        for ms in 0..10_000 {
            let look = Look {
                progress: 5,
                sleeping: true,
                cpu: Duration::ZERO,
                now: Instant::ORIGIN + Duration::from_millis(ms),
            };
            let found = episode.look(&look, &Watchdog::default(), || unreachable!());
            assert_eq!(found, Finding::Moves);
        }
    }
}

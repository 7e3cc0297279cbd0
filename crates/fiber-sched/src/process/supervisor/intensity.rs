//! How often a supervisor starts children again before it gives up.

use alloc::collections::VecDeque;
use core::time::Duration;

use fiber_core::env::Instant;

/// More than `max` restarts within `period` are too many.
#[derive(Debug)]
pub(super) struct Intensity {
    max: usize,
    period: Duration,
    /// The restarts of the last period, oldest first. Bound: one more than the most.
    restarts: VecDeque<Instant>,
}

impl Intensity {
    pub(super) const fn new(max: usize, period: Duration) -> Self {
        Self {
            max,
            period,
            restarts: VecDeque::new(),
        }
    }

    /// Counts a restart at `now`; says whether it is still one of those that are allowed.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        while let Some(first) = self.restarts.front()
            && *first + self.period < now
        {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        self.restarts.len() <= self.max
    }
}

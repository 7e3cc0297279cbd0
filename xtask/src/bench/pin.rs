//! Keeping what is measured on its processors.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this thread, and so the programs that it starts, may use.
pub(super) struct Pins {
    all: CpuSet,
    numbers: Vec<usize>,
}

impl Pins {
    pub(super) fn of_this_thread() -> Result<Self, String> {
        let all = sched_getaffinity(None).map_err(|error| format!("affinity: {error}"))?;
        let numbers = (0..CpuSet::MAX_CPU)
            .filter(|number| all.is_set(*number))
            .collect();
        Ok(Self { all, numbers })
    }

    pub(super) fn processors(&self) -> usize {
        self.numbers.len()
    }

    /// Runs `work`; programs that it starts stay on `count` processors from the `first` on.
    pub(super) fn confined<T>(
        &self,
        first: usize,
        count: usize,
        work: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let mut set = CpuSet::new();
        for number in self.numbers.iter().skip(first).take(count) {
            set.set(*number);
        }
        apply(&set)?;
        let result = work();
        apply(&self.all)?;
        result
    }
}

fn apply(set: &CpuSet) -> Result<(), String> {
    sched_setaffinity(None, set).map_err(|error| format!("cannot set the affinity: {error}"))
}

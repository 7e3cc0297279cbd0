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

    /// Programs started from now on run on the first `count` of them.
    pub(super) fn confine(&self, count: usize) -> Result<(), String> {
        let mut set = CpuSet::new();
        for number in self.numbers.iter().take(count) {
            set.set(*number);
        }
        apply(&set)
    }

    /// Programs started from now on run on any of them.
    pub(super) fn release(&self) -> Result<(), String> {
        apply(&self.all)
    }
}

fn apply(set: &CpuSet) -> Result<(), String> {
    sched_setaffinity(None, set).map_err(|error| format!("cannot set the affinity: {error}"))
}

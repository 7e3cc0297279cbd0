//! How long a fiber runs before it lets others run.

use core::time::Duration;

use crate::primitive::{AtomicU32, AtomicU64, Ordering};

/// How many charged calls a fiber makes from one resume on before it lets others run.
pub(crate) const BUDGET: u32 = 128;

/// What is left of the running fiber's budget.
///
/// Its worker counts it down, with loads and stores; another thread may end it. A count that
/// crosses the end loses it, which only one that charges all the time is likely to do: its own
/// count ends soon. Who charges rarely is the one that is meant, and hardly ever between the two.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU32,
    /// Processor time that the worker has used, as a sample: that of whichever fiber comes back
    /// next.
    sample_ns: AtomicU64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            left: AtomicU32::new(BUDGET),
            sample_ns: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.left.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, left: u32) {
        self.left.store(left, Ordering::Relaxed);
    }

    /// Has the fiber that runs let others run at its next charged call. *Thread*: any.
    pub fn end(&self) {
        self.set(0);
    }

    /// The worker has used so much processor time since this was last called: it is counted to the
    /// process of the fiber that runs, when that comes back. *Thread*: any.
    pub fn sample(&self, cpu: Duration) {
        let nanos = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        self.sample_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was sampled while the fiber ran that has just come back.
    #[inline]
    pub(crate) fn take_sample(&self) -> u64 {
        match self.sample_ns.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.sample_ns.swap(0, Ordering::Relaxed),
        }
    }
}

//! What a worker counts, for everybody to read.

use core::time::Duration;

use fiber_core::env::Instant;

use crate::primitive::{AtomicU64, Ordering};

/// How far back the measure of a worker's load reaches.
const WINDOW_NS: u64 = 50_000_000;

/// A number that one thread changes and any may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it; by the one thread that does.
    #[inline]
    pub(crate) fn add(&self, by: u64) {
        // Not an exchange: there is one writer.
        self.0
            .store(self.0.load(Ordering::Relaxed) + by, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Adds to it, and whoever reads the sum by [`Counter::acquire`] sees what came before.
    pub(crate) fn release(&self, by: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + by, Ordering::Release);
    }

    pub(crate) fn acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn raise(&self, to: u64) {
        if self.get() < to {
            self.set(to);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn get_usize(&self) -> usize {
        usize::try_from(self.get()).unwrap_or(usize::MAX)
    }
}

/// One worker's numbers, written by the worker alone.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) resumes: Counter,
    pub(crate) launched: Counter,
    pub(crate) started: Counter,
    /// Released, so that who sees an end sees the launches before it.
    pub(crate) ended: Counter,
    pub(crate) yields: Counter,
    pub(crate) stolen: Counter,
    pub(crate) sleeps: Counter,
    pub(crate) requests: Counter,
    pub(crate) enters: Counter,
    pub(crate) batch_max: Counter,
    /// Timers in the wheel, when the turn began.
    pub(crate) timers: Counter,
    pub(crate) handlers_overdue: Counter,
    /// Fibers that are ready, when the round began.
    pub(crate) ready: Counter,
    pub(crate) ready_max: Counter,
    pub(crate) busy_ns: Counter,
    pub(crate) asleep_ns: Counter,
    load: Load,
}

/// How busy a worker was of late.
#[derive(Debug, Default)]
struct Load {
    /// In thousandths of the time.
    permille: Counter,
    measured_at: Counter,
}

impl Counters {
    /// The worker was busy for a while, and then slept for a while.
    pub(crate) fn spent(&self, busy: Duration, asleep: Duration, now: Instant) {
        let (busy, asleep) = (nanos(busy), nanos(asleep));
        self.busy_ns.add(busy);
        self.asleep_ns.add(asleep);
        let span = busy + asleep;
        if let Some(sample) = (busy * 1000).checked_div(span) {
            let old = self.load.permille.get();
            let weight = span.min(WINDOW_NS);
            let new = (old * (WINDOW_NS - weight) + sample * weight) / WINDOW_NS;
            self.load.permille.set(new);
        }
        self.load.measured_at.set(now.as_nanos());
    }

    /// How busy the worker was of late, in thousandths. What it has done since it was last
    /// measured, sleep or work, counts too.
    pub(crate) fn load_permille(&self, sleeping: bool, now: Instant) -> u64 {
        let since = now.as_nanos().saturating_sub(self.load.measured_at.get());
        let since = since.min(WINDOW_NS);
        let goes_to = if sleeping { 0 } else { 1000 };
        (self.load.permille.get() * (WINDOW_NS - since) + goes_to * since) / WINDOW_NS
    }
}

fn nanos(span: Duration) -> u64 {
    // Years are enough, and products with thousandths stay in range.
    u64::try_from(span.as_nanos()).map_or(1 << 52, |nanos| nanos.min(1 << 52))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_worker_that_was_busy_half_of_the_time_has_half_a_load() {
        let counters = Counters::default();
        let mut now = Instant::ORIGIN;
        for _ in 0..100 {
            now = now + ms(2);
            counters.spent(ms(1), ms(1), now);
        }
        let load = counters.load_permille(false, now);
        assert!((450..=550).contains(&load), "{load}");
        assert_eq!(counters.busy_ns.get(), 100_000_000);
    }

    #[test]
    fn a_sleeper_s_load_goes_away_and_that_of_one_who_works_on_rises() {
        let counters = Counters::default();
        counters.spent(ms(100), ms(0), Instant::ORIGIN);
        assert_eq!(counters.load_permille(true, Instant::ORIGIN), 1000);
        assert_eq!(counters.load_permille(true, Instant::ORIGIN + ms(25)), 500);
        assert_eq!(counters.load_permille(true, Instant::ORIGIN + ms(90)), 0);
        counters.spent(ms(0), ms(100), Instant::ORIGIN);
        assert_eq!(counters.load_permille(false, Instant::ORIGIN), 0);
        assert_eq!(counters.load_permille(false, Instant::ORIGIN + ms(25)), 500);
    }
}

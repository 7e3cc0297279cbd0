//! Looking for what others send a little longer before the worker sleeps.
//!
//! To fall asleep and be called costs both sides some microseconds of processor time. Where an
//! answer comes sooner than that, as between two fibers of two workers that talk to each other, it
//! is cheaper to wait for it awake. Nobody knows that beforehand; so a worker lingers while its
//! sleeps of late were short and others have ended them. One that has lingered in vain some times
//! in a row, as where both workers share a processor, sleeps some more times before it tries again,
//! and twice as often the next time. On an idle machine sleeps are long, and nobody lingers.

use core::time::Duration;

/// A sleep that was shorter was hardly worth it.
const SHORT: Duration = Duration::from_micros(200);
/// How many short sleeps in a row make a worker linger.
const SLEEPS: i16 = 2;
/// How many times in a row it may linger in vain.
const DOUBTS: u8 = 4;
/// How many more short sleeps it takes then, at first and at the most.
const PENALTY_MIN: i16 = 16;
const PENALTY_MAX: i16 = 1024;
/// How often it looks: some tens of microseconds, about what it costs to fall asleep and be called.
pub(crate) const LOOKS: u32 = 1024;
/// How often where the host may have answers, which are not seen meanwhile.
pub(crate) const LOOKS_BESIDE_REQUESTS: u32 = 256;
/// Nobody lingers whose next moment is as near as this.
pub(crate) const SOON: Duration = Duration::from_micros(50);

/// What a worker remembers of its sleeps.
#[derive(Debug)]
pub(crate) struct Linger {
    /// Short sleeps, up to `SLEEPS`; below 0 while a penalty is worked off.
    short: i16,
    /// How often it has lingered in vain since something came.
    doubts: u8,
    /// The next penalty.
    penalty: i16,
}

impl Default for Linger {
    fn default() -> Self {
        Self {
            short: 0,
            doubts: 0,
            penalty: PENALTY_MIN,
        }
    }
}

impl Linger {
    /// The worker has slept; `called` is whether it found something of others' afterwards.
    pub(crate) fn slept(&mut self, asleep: Duration, called: bool) {
        self.short = match called && asleep < SHORT {
            true => SLEEPS.min(self.short + 1),
            // A penalty is for short sleeps to work off.
            false => self.short.min(0),
        };
    }

    /// Whether it should linger before it sleeps.
    pub(crate) fn pays(&self) -> bool {
        self.short == SLEEPS
    }

    /// It has lingered; `found` is whether something came.
    pub(crate) fn lingered(&mut self, found: bool) {
        if found {
            self.doubts = 0;
            self.penalty = PENALTY_MIN;
            return;
        }
        self.doubts += 1;
        if self.doubts == DOUBTS {
            self.doubts = 0;
            self.short = -self.penalty;
            self.penalty = PENALTY_MAX.min(2 * self.penalty);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_micros(10);

    #[test]
    fn a_worker_lingers_after_two_short_sleeps_that_others_have_ended() {
        let mut linger = Linger::default();
        linger.slept(BRIEF, true);
        assert!(!linger.pays());
        linger.slept(BRIEF, true);
        assert!(linger.pays());
        linger.lingered(true);
        assert!(linger.pays(), "for as long as something comes");
        linger.slept(Duration::from_millis(1), true);
        assert!(!linger.pays(), "a long sleep ends it");
    }

    #[test]
    fn a_worker_does_not_linger_whose_sleeps_end_by_themselves() {
        let mut linger = Linger::default();
        for _ in 0..100 {
            linger.slept(BRIEF, false);
            assert!(!linger.pays());
        }
    }

    #[test]
    fn a_worker_that_has_lingered_in_vain_some_times_does_not_for_longer_and_longer() {
        let mut linger = Linger::default();
        linger.slept(BRIEF, true);
        for penalty in [PENALTY_MIN, 2 * PENALTY_MIN, 4 * PENALTY_MIN] {
            linger.slept(BRIEF, true);
            for _ in 0..DOUBTS {
                assert!(linger.pays());
                linger.lingered(false);
                linger.slept(BRIEF, true);
            }
            for _ in 2..penalty + SLEEPS {
                assert!(!linger.pays());
                linger.slept(BRIEF, true);
            }
            assert!(!linger.pays());
        }
    }

    #[test]
    fn doubts_are_forgotten_when_something_comes() {
        let mut linger = Linger::default();
        linger.slept(BRIEF, true);
        linger.slept(BRIEF, true);
        for _ in 0..100 {
            for _ in 1..DOUBTS {
                linger.lingered(false);
                linger.slept(BRIEF, true);
            }
            linger.lingered(true);
            assert!(linger.pays());
        }
    }
}

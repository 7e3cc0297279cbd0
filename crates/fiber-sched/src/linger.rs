//! Looking for what others send a little longer before the worker sleeps.
//!
//! To fall asleep and be called costs both sides some microseconds of processor time. Where an
//! answer comes sooner than that, as between two fibers of two workers that talk to each other, it
//! is cheaper to wait for it awake. Nobody knows that beforehand; so a worker lingers while its
//! sleeps of late were short and others have ended them, and one that has lingered in vain sleeps
//! some more times before it tries again. On an idle machine sleeps are long, and nobody lingers.

use core::time::Duration;

/// A sleep that was shorter was hardly worth it.
const SHORT: Duration = Duration::from_micros(200);
/// How many short sleeps in a row make a worker linger.
const SLEEPS: i8 = 2;
/// How many more it takes after it has lingered in vain.
const PENALTY: i8 = 14;
/// How often it looks: a few microseconds.
pub(crate) const LOOKS: u32 = 256;

/// What a worker remembers of its sleeps.
#[derive(Debug, Default)]
pub(crate) struct Linger {
    short: i8,
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
        if !found {
            self.short = -PENALTY;
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
    fn a_worker_that_has_lingered_in_vain_does_not_for_some_time() {
        let mut linger = Linger::default();
        linger.slept(BRIEF, true);
        linger.slept(BRIEF, true);
        linger.lingered(false);
        for _ in 0..PENALTY + 1 {
            linger.slept(BRIEF, true);
            assert!(!linger.pays());
        }
        linger.slept(BRIEF, true);
        assert!(linger.pays());
    }
}

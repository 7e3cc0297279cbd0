//! Deciding that nothing will ever happen again.
//!
//! A worker that has nothing to run, no timer and no request says that it is quiet before it
//! sleeps. When all are, the last one looks at every queue once more. A worker that was woken
//! leaves the count first, then moves the epoch, then takes what it was woken for; so whoever
//! found all quiet and all queues empty within one epoch has seen one moment at which both held.
//! If the epoch moved meanwhile and all are quiet again nevertheless, the one who moved it may not
//! have been the last to come back: then it is looked at again.

use crate::primitive::{AtomicUsize, Ordering};

/// Counts the quiet workers of one runtime.
#[derive(Debug)]
pub(crate) struct Quiet {
    workers: usize,
    quiet: AtomicUsize,
    epoch: AtomicUsize,
}

impl Quiet {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            quiet: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
        }
    }

    /// The calling worker has nothing left. True if no worker has, as `queues_empty` confirms:
    /// then nothing will ever happen again, and the caller tells everybody.
    pub(crate) fn enter(&self, queues_empty: impl Fn() -> bool) -> bool {
        if self.quiet.fetch_add(1, Ordering::SeqCst) + 1 != self.workers {
            return false;
        }
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if self.quiet.load(Ordering::SeqCst) != self.workers || !queues_empty() {
                // Somebody is awake, or about to be, and looks when it falls quiet itself.
                return false;
            }
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return true;
            }
        }
    }

    /// The calling worker was woken. To be called before it takes anything out of its queues.
    pub(crate) fn leave(&self) {
        self.quiet.fetch_sub(1, Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_worker_decides_and_only_on_empty_queues() {
        let quiet = Quiet::new(2);
        assert!(!quiet.enter(|| unreachable!("the other one is awake")));
        assert!(!quiet.enter(|| false));
        quiet.leave();
        assert!(quiet.enter(|| true));
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::{Arc, atomic::AtomicBool};

    use super::*;

    /// Two workers; the first is quiet when a wake-up is in its queue, put there by the second,
    /// which then goes quiet too. The wake-up must be run before anybody finds that all is over.
    #[test]
    fn loom_no_worker_decides_while_a_wake_up_is_on_its_way() {
        loom::model(|| {
            let shared = Arc::new((
                Quiet::new(2),
                AtomicBool::new(false),
                AtomicBool::new(false),
            ));
            let (first, second) = (Arc::clone(&shared), Arc::clone(&shared));
            assert!(!shared.0.enter(|| true), "the second is awake");
            let sleeper = loom::thread::spawn(move || {
                let (quiet, queued, ran) = &*first;
                // Woken, rightly or not: it looks at its queue and sleeps again.
                quiet.leave();
                if queued.swap(false, Ordering::SeqCst) {
                    ran.store(true, Ordering::SeqCst);
                }
                if quiet.enter(|| !queued.load(Ordering::SeqCst)) {
                    assert!(
                        ran.load(Ordering::SeqCst),
                        "decided with a wake-up on its way"
                    );
                }
            });
            let (quiet, queued, ran) = &*second;
            // An exchange, as the queues' own: loom lets an exchange overtake a plain store that it
            // did not read.
            queued.swap(true, Ordering::SeqCst);
            if quiet.enter(|| !queued.load(Ordering::SeqCst)) {
                assert!(
                    ran.load(Ordering::SeqCst),
                    "decided with a wake-up on its way"
                );
            }
            sleeper.join().unwrap();
        });
    }

    /// Two workers; the first was quiet and is woken for nothing, while the second falls quiet.
    /// One of them must find that all is over.
    #[test]
    fn loom_a_needless_wake_up_does_not_keep_everybody_from_deciding() {
        loom::model(|| {
            let quiet = Arc::new(Quiet::new(2));
            let decided = Arc::new(AtomicBool::new(false));
            assert!(!quiet.enter(|| true), "the second is awake");
            let first = {
                let (quiet, decided) = (Arc::clone(&quiet), Arc::clone(&decided));
                loom::thread::spawn(move || {
                    quiet.leave();
                    if quiet.enter(|| true) {
                        decided.store(true, Ordering::SeqCst);
                    }
                })
            };
            if quiet.enter(|| true) {
                decided.store(true, Ordering::SeqCst);
            }
            first.join().unwrap();
            assert!(decided.load(Ordering::SeqCst), "both sleep, undecided");
        });
    }
}

//! Letting the watchdog sleep while all workers do.
//!
//! ```text
//! watchdog  resting = true, then looks at everybody once more; all asleep: sleeps
//! worker    sleeping = false, then looks at `resting`; set: wakes the watchdog
//! ```
//!
//! Whichever of the two stores is first, the other side sees it.

use crate::primitive::{AtomicBool, Ordering, fence};

/// Whether the watchdog sleeps, or is about to.
#[derive(Debug)]
pub(crate) struct Rest(AtomicBool);

impl Rest {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// The watchdog would rest; true if it may, as `all_asleep` confirms.
    pub(crate) fn enter(&self, all_asleep: impl FnOnce() -> bool) -> bool {
        self.0.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if all_asleep() {
            return true;
        }
        // If a worker was faster it wakes one who does not sleep, which does no harm.
        self.0.store(false, Ordering::SeqCst);
        false
    }

    /// The calling worker does not sleep any more; true if it must wake the watchdog.
    #[inline]
    pub(crate) fn ended(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst) && self.0.swap(false, Ordering::SeqCst)
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::{Arc, atomic::AtomicBool};

    use super::*;

    /// A worker wakes while the watchdog decides to rest: it must not rest while the worker is
    /// awake and has not called it.
    #[test]
    fn loom_the_watchdog_does_not_rest_while_a_worker_is_awake() {
        loom::model(|| {
            let shared = Arc::new((Rest::new(), AtomicBool::new(true)));
            let worker = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    let (rest, sleeping) = &*shared;
                    sleeping.store(false, Ordering::SeqCst);
                    rest.ended()
                })
            };
            let (rest, sleeping) = &*shared;
            let rests = rest.enter(|| sleeping.load(Ordering::SeqCst));
            let called = worker.join().unwrap();
            assert!(called || !rests, "it rests beside a worker that is awake");
        });
    }
}

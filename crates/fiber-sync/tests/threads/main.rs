//! The primitives on plain threads of the operating system, without any runtime.
#![cfg(not(loom))]
#![expect(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::unwrap_used,
    reason = "tests run on std, and may panic"
)]

mod broadcast;
mod channel;
mod condvar;
mod credit;
mod mutex;
mod oneshot;
mod queues;
mod semaphore;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fiber_core::script::ScriptEnv;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
/// How long tests wait for what never comes.
const SHORT: Duration = Duration::from_millis(2);

/// Plain threads block through a host.
fn host() {
    drop(ScriptEnv::new());
}

/// Counts how many of its kind live.
struct Counted {
    alive: Arc<AtomicUsize>,
    number: usize,
}

impl Counted {
    fn new(alive: &Arc<AtomicUsize>, number: usize) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self {
            alive: Arc::clone(alive),
            number,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

//! A great many coroutines that wait at one gate.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use benches::{Measured, Meter, timed};
use may::{coroutine::sleep, go, sync::SyncFlag};

/// A run measures once, so these are never used again.
static ARRIVED: AtomicU64 = AtomicU64::new(0);
static GONE: AtomicU64 = AtomicU64::new(0);

pub(crate) fn parked(coroutines: u64) -> Measured {
    let gate = Arc::new(SyncFlag::new());
    let meter = Meter::start();
    for _ in 0..coroutines {
        let gate = Arc::clone(&gate);
        drop(go!(move || {
            ARRIVED.fetch_add(1, Ordering::Relaxed);
            gate.wait();
            GONE.fetch_add(1, Ordering::Relaxed);
        }));
    }
    until(&ARRIVED, coroutines);
    let measured = meter.stop_while_waiting(coroutines);
    let ending = timed!(coroutines => {
        gate.fire();
        until(&GONE, coroutines);
    });
    measured.with_ending(&ending)
}

/// Who only yields is asked again before those who have just been started.
fn until(counter: &AtomicU64, all: u64) {
    while counter.load(Ordering::Relaxed) < all {
        sleep(Duration::from_millis(1));
    }
}

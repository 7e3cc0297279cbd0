//! A great many tasks that wait at one gate.

use core::sync::atomic::{AtomicU64, Ordering};

use benches::{Measured, Meter, timed};
use tokio::{spawn, sync::Notify, task::yield_now};

/// A run measures once, so these are never used again.
static GATE: Notify = Notify::const_new();
static ARRIVED: AtomicU64 = AtomicU64::new(0);
static GONE: AtomicU64 = AtomicU64::new(0);

pub(crate) async fn parked(tasks: u64) -> Measured {
    let meter = Meter::start();
    for _ in 0..tasks {
        drop(spawn(async {
            ARRIVED.fetch_add(1, Ordering::Relaxed);
            GATE.notified().await;
            GONE.fetch_add(1, Ordering::Relaxed);
        }));
    }
    until(&ARRIVED, tasks).await;
    let measured = meter.stop_while_waiting(tasks);
    let ending = timed!(tasks => {
        GATE.notify_waiters();
        until(&GONE, tasks).await;
    });
    measured.with_ending(&ending)
}

async fn until(counter: &AtomicU64, all: u64) {
    while counter.load(Ordering::Relaxed) < all {
        yield_now().await;
    }
}

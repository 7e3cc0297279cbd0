//! A great many fibers that wait at one gate.

use core::sync::atomic::{AtomicU64, Ordering};

use benches::{Measured, Meter, timed};
use fiber::{FiberBuilder, StackClass, operation::always, spawn_when, sync::Latch, yield_now};

/// A run measures once, so these are never used again.
static GATE: Latch = Latch::new();
static ARRIVED: AtomicU64 = AtomicU64::new(0);
static GONE: AtomicU64 = AtomicU64::new(0);

pub(crate) fn parked(fibers: u64) -> Measured {
    let meter = Meter::start();
    for _ in 0..fibers {
        let builder = FiberBuilder::new().stack(StackClass::K64);
        let waiter = builder.spawn(|| {
            count(&ARRIVED);
            GATE.wait();
            count(&GONE);
        });
        drop(waiter.expect("this is a fiber, and there is no limit"));
    }
    until(&ARRIVED, fibers);
    end(meter.stop_while_waiting(fibers))
}

pub(crate) fn waiting_without_stacks(fibers: u64) -> Measured {
    let meter = Meter::start();
    for _ in 0..fibers {
        drop(spawn_when(GATE.wait_operation(), |()| count(&GONE)));
    }
    // One worker asks them in their order whether they can begin: this one is the last.
    let last = spawn_when(always(()), |()| ());
    last.join().expect("it does nothing");
    end(meter.stop_while_waiting(fibers))
}

fn end(measured: Measured) -> Measured {
    let fibers = measured.ops;
    let ending = timed!(fibers => {
        GATE.open();
        until(&GONE, fibers);
    });
    measured.with_ending(&ending)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn until(counter: &AtomicU64, all: u64) {
    while counter.load(Ordering::Relaxed) < all {
        yield_now();
    }
}

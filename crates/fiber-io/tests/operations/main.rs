//! Input and output as arms of a choice, and before a fiber starts, in every world.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

extern crate alloc;

mod choices;
mod endings;
mod readiness;
mod steady_state;
#[path = "../tcp/support.rs"]
#[expect(dead_code, reason = "each test program uses its own part")]
mod support;
mod unstarted;

use core::time::Duration;

use fiber_core::Context;
use fiber_sched::sleep;

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(2);

fn in_flight() -> usize {
    Context::with(|context| context.unwrap().inflight())
}

/// Waits until the host has answered whatever this worker has asked.
fn settle() {
    for round in 0..10_000 {
        if in_flight() == 0 {
            return;
        }
        // Longer and longer: a busy machine takes its time.
        sleep(Duration::from_micros(100 + round));
    }
    panic!("{} requests are in flight for nobody", in_flight());
}

//! The floor: what cannot be had for less. Bare coroutines in one queue, two bare threads, and a
//! bare ring with sockets.
//!
//! No runtime: nothing is cancelled or timed, nobody else may take part, and nothing is checked
//! that is not needed for the workload at hand. Read `queue` first.

extern crate alloc;

mod channels;
mod locks;
mod memory;
mod queue;
mod ring;
mod spawning;
mod stacks;

use alloc::rc::Rc;
use std::process::ExitCode;

use benches::{Failure, Job, Measured, Protocol, Workload, names, program, timed};

use self::queue::{Me, Queue};

/// Runs so many ops.
type Body = fn(u64) -> Measured;

/// Runs a body as the first coroutine of a queue, or without any.
macro_rules! body {
    (bare $($body:tt)+) => { |ops| timed!(ops => $($body)+(ops)) };
    ($($body:tt)+) => { |ops| timed!(ops => queued(ops, $($body)+)) };
}

#[rustfmt::skip]
const TABLE: &[Workload<Body>] = &[
    Workload { name: names::YIELD_2, workers: &[1], body: body!(spawning::yields::<2>) },
    Workload { name: names::YIELD_1000, workers: &[1], body: body!(spawning::yields::<1000>) },
    Workload { name: names::SPAWN_SEQ, workers: &[1], body: body!(spawning::one_by_one) },
    Workload { name: names::SPAWN_BATCH, workers: &[1], body: body!(spawning::batches) },
    Workload { name: names::SKYNET, workers: &[1], body: spawning::tree },
    Workload { name: names::ZIPF, workers: &[1], body: body!(bare spawning::uneven) },
    Workload { name: names::PINGPONG, workers: &[1], body: body!(channels::round_trips) },
    Workload { name: names::CHAN_1P1C, workers: &[1], body: body!(channels::bounded::<1>) },
    Workload { name: names::CHAN_4P1C, workers: &[1], body: body!(channels::bounded::<4>) },
    Workload { name: names::MUTEX_UNCONTENDED, workers: &[1],
        body: body!(bare locks::uncontended) },
    Workload { name: names::MUTEX_CONTENDED8, workers: &[2], body: body!(bare locks::contended) },
    Workload { name: names::MUTEX_YIELD8, workers: &[1], body: body!(locks::handed_over) },
    Workload { name: names::MEM, workers: &[1], body: memory::parked },
];

fn main() -> ExitCode {
    program(TABLE, run, &[Protocol::Echo, Protocol::Mc], ring::serve)
}

#[expect(clippy::unnecessary_wraps, reason = "as programs want it")]
fn run(job: Job<Body>) -> Result<Measured, Failure> {
    Ok((job.body)(job.ops))
}

fn queued(ops: u64, body: fn(&Me<'_>, u64)) {
    let queue = Rc::new(Queue::default());
    queue.spawn(move |me| body(me, ops));
    queue.run();
}

//! The workloads on this project's fibers.

extern crate alloc;

mod channels;
mod locks;
mod memory;
mod processes;
mod serving;
mod spawning;
mod timing;

use std::process::ExitCode;

use benches::{Failure, Job, Measured, Protocol, Workload, names, program, timed};
use fiber::{JoinHandle, Runtime, Stats};
use host_linux::{Config, Linux};

/// Runs so many ops, on the main fiber.
type Body = fn(u64) -> Measured;

macro_rules! body {
    ($($body:tt)+) => { |ops| timed!(ops => $($body)+(ops)) };
}

#[rustfmt::skip]
const TABLE: &[Workload<Body>] = &[
    Workload { name: names::YIELD_2, workers: &[1, 2], body: body!(spawning::yields::<2>) },
    Workload { name: names::YIELD_1000, workers: &[1, 2], body: body!(spawning::yields::<1000>) },
    // There is but one way to yield.
    Workload { name: names::YIELDW_2, workers: &[1], body: body!(spawning::yields::<2>) },
    Workload { name: names::YIELDW_1000, workers: &[1], body: body!(spawning::yields::<1000>) },
    Workload { name: names::SPAWN_SEQ, workers: &[1, 2], body: body!(spawning::one_by_one) },
    Workload { name: names::SPAWN_BATCH, workers: &[1, 2], body: body!(spawning::batches) },
    Workload { name: names::SKYNET, workers: &[1, 2], body: spawning::tree },
    Workload { name: names::ZIPF, workers: &[1, 2], body: spawning::uneven },
    Workload { name: names::PINGPONG, workers: &[1, 2], body: body!(channels::round_trips) },
    Workload { name: names::PINGPONG_CROSS, workers: &[2],
        body: body!(channels::round_trips_across) },
    Workload { name: names::CHAN_1P1C, workers: &[1, 2], body: body!(channels::bounded_from::<1>) },
    Workload { name: names::CHAN_4P1C, workers: &[1, 2], body: body!(channels::bounded_from::<4>) },
    Workload { name: names::MUTEX_UNCONTENDED, workers: &[1], body: body!(locks::uncontended) },
    Workload { name: names::MUTEX_CONTENDED8, workers: &[1, 2], body: body!(locks::contended) },
    Workload { name: names::MUTEX_YIELD8, workers: &[1, 2], body: body!(locks::handed_over) },
    Workload { name: names::SELECT_2, workers: &[1, 2], body: body!(channels::choices) },
    Workload { name: names::TIMER_CANCEL, workers: &[1], body: body!(timing::limits) },
    Workload { name: names::TIMEOUT_WAIT, workers: &[1],
        body: body!(timing::round_trips_in_time) },
    Workload { name: names::TIMER_SLEEP, workers: &[1, 2], body: body!(timing::sleepers) },
    Workload { name: names::TIMER_SLEEP_WHEN, workers: &[1, 2],
        body: body!(timing::sleepers_without_stacks) },
    Workload { name: names::MEM, workers: &[1], body: memory::parked },
    Workload { name: names::MEM_WHEN, workers: &[1], body: memory::waiting_without_stacks },
    Workload { name: names::PROCESS, workers: &[1, 2], body: body!(processes::spawn_and_exit) },
    Workload { name: names::KILL_1, workers: &[1], body: body!(processes::kills::<1>) },
    Workload { name: names::KILL_1000, workers: &[1], body: body!(processes::kills::<1000>) },
    Workload { name: names::MONITOR, workers: &[1], body: body!(processes::monitors) },
    Workload { name: names::ID_LOOKUP, workers: &[1], body: body!(processes::lookups) },
    Workload { name: names::ID_ENTER, workers: &[1], body: body!(processes::entries) },
    Workload { name: names::ID_DUP, workers: &[1], body: body!(processes::duplicates) },
];

fn main() -> ExitCode {
    program(TABLE, run, &[Protocol::Echo, Protocol::Mc], serving::serve)
}

fn run(job: Job<Body>) -> Result<Measured, Failure> {
    let linux = Linux::new(Config::default())?;
    let runtime = Runtime::builder(linux).workers(job.workers);
    let measured = runtime.run(move || {
        let measured = (job.body)(job.ops);
        let runtime = Runtime::current().expect("this is a fiber");
        with_stats(measured, &runtime.stats())
    });
    Ok(measured?)
}

/// Adds what the runtime has counted: how often workers were rung up and entered the kernel.
fn with_stats(measured: Measured, stats: &Stats) -> Measured {
    let ops = measured.ops.max(1) as f64;
    let sum = |number: fn(&fiber::WorkerStats) -> u64| {
        stats.workers.iter().map(number).sum::<u64>() as f64 / ops
    };
    let rings = sum(|worker| worker.wakes_sent);
    let enters = sum(|worker| worker.enters);
    measured
        .with("rings_per_op", rings)
        .with("enters_per_op", enters)
}

fn join_all(fibers: impl IntoIterator<Item = JoinHandle<()>>) {
    for fiber in fibers {
        fiber.join().expect("workloads do not fail");
    }
}

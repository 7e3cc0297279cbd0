//! The workloads on this project's fibers.

extern crate alloc;

mod channels;
mod locks;
mod processes;
mod spawning;
mod timing;

use std::process::ExitCode;

use benches::{Job, Measured, Meter, Workload, names, program};
use fiber::{JoinHandle, RunError, Runtime};
use host_linux::{Config, Linux};

/// Runs so many ops, on the main fiber.
type Body = fn(u64);

#[rustfmt::skip]
const TABLE: &[Workload<Body>] = &[
    Workload { name: names::YIELD_2, workers: &[1, 2], body: spawning::yields::<2> },
    Workload { name: names::YIELD_1000, workers: &[1, 2], body: spawning::yields::<1000> },
    // There is but one way to yield.
    Workload { name: names::YIELDW_2, workers: &[1], body: spawning::yields::<2> },
    Workload { name: names::YIELDW_1000, workers: &[1], body: spawning::yields::<1000> },
    Workload { name: names::SPAWN_SEQ, workers: &[1, 2], body: spawning::one_by_one },
    Workload { name: names::SPAWN_BATCH, workers: &[1, 2], body: spawning::batches },
    Workload { name: names::PINGPONG, workers: &[1, 2], body: channels::round_trips },
    Workload { name: names::PINGPONG_CROSS, workers: &[2], body: channels::round_trips_across },
    Workload { name: names::CHAN_1P1C, workers: &[1, 2], body: channels::bounded_from::<1> },
    Workload { name: names::CHAN_4P1C, workers: &[1, 2], body: channels::bounded_from::<4> },
    Workload { name: names::MUTEX_UNCONTENDED, workers: &[1], body: locks::uncontended },
    Workload { name: names::MUTEX_CONTENDED8, workers: &[1, 2], body: locks::contended },
    Workload { name: names::MUTEX_YIELD8, workers: &[1, 2], body: locks::handed_over },
    Workload { name: names::SELECT_2, workers: &[1, 2], body: channels::choices },
    Workload { name: names::TIMER_CANCEL, workers: &[1], body: timing::limits },
    Workload { name: names::TIMEOUT_WAIT, workers: &[1], body: timing::round_trips_in_time },
    Workload { name: names::PROCESS, workers: &[1, 2], body: processes::spawn_and_exit },
    Workload { name: names::KILL_1, workers: &[1], body: processes::kills::<1> },
    Workload { name: names::KILL_1000, workers: &[1], body: processes::kills::<1000> },
    Workload { name: names::MONITOR, workers: &[1], body: processes::monitors },
    Workload { name: names::ID_LOOKUP, workers: &[1], body: processes::lookups },
    Workload { name: names::ID_ENTER, workers: &[1], body: processes::entries },
    Workload { name: names::ID_DUP, workers: &[1], body: processes::duplicates },
];

fn main() -> ExitCode {
    program(TABLE, run)
}

fn run(job: Job<Body>) -> Result<Measured, Box<dyn core::error::Error>> {
    let linux = Linux::new(Config::default())?;
    let measured: Result<_, RunError> =
        Runtime::builder(linux).workers(job.workers).run(move || {
            let meter = Meter::start();
            (job.body)(job.ops);
            meter.stop(job.ops)
        });
    Ok(measured?)
}

fn join_all(fibers: impl IntoIterator<Item = JoinHandle<()>>) {
    for fiber in fibers {
        fiber.join().expect("workloads do not fail");
    }
}

//! The workloads on may's coroutines.
//!
//! Its channels have no bound, and so neither a rendezvous: senders never wait.

extern crate alloc;

mod channels;
mod memory;
mod serving;
mod spawning;

use core::any::Any;
use std::process::ExitCode;

use benches::{Failure, Job, Measured, Protocol, Workload, names, program, timed};
use may::{coroutine::JoinHandle, go};

/// Runs so many ops, in a coroutine.
type Body = fn(u64) -> Measured;

macro_rules! body {
    ($($body:tt)+) => { |ops| timed!(ops => $($body)+(ops)) };
}

#[rustfmt::skip]
const TABLE: &[Workload<Body>] = &[
    Workload { name: names::YIELD_2, workers: &[1, 2], body: body!(spawning::yields::<2>) },
    Workload { name: names::YIELD_1000, workers: &[1, 2], body: body!(spawning::yields::<1000>) },
    Workload { name: names::SPAWN_SEQ, workers: &[1, 2], body: body!(spawning::one_by_one) },
    Workload { name: names::SPAWN_BATCH, workers: &[1, 2], body: body!(spawning::batches) },
    Workload { name: names::SKYNET, workers: &[1, 2], body: spawning::tree },
    Workload { name: names::ZIPF, workers: &[1, 2], body: body!(spawning::uneven) },
    Workload { name: names::PINGPONG, workers: &[1, 2], body: body!(channels::round_trips) },
    Workload { name: names::CHAN_1P1C, workers: &[1, 2], body: body!(channels::from::<1>) },
    Workload { name: names::CHAN_4P1C, workers: &[1, 2], body: body!(channels::from::<4>) },
    // On two workers a value is lost now and then, and the workload does not end.
    Workload { name: names::SELECT_2, workers: &[1], body: body!(channels::choices) },
    Workload { name: names::TIMEOUT_WAIT, workers: &[1],
        body: body!(channels::round_trips_in_time) },
    Workload { name: names::MUTEX_UNCONTENDED, workers: &[1],
        body: body!(spawning::uncontended) },
    Workload { name: names::MUTEX_CONTENDED8, workers: &[1, 2],
        body: body!(spawning::contended) },
    Workload { name: names::MUTEX_YIELD8, workers: &[1, 2], body: body!(spawning::handed_over) },
    Workload { name: names::TIMER_SLEEP, workers: &[1, 2], body: body!(spawning::sleepers) },
    Workload { name: names::MEM, workers: &[1], body: memory::parked },
];

fn main() -> ExitCode {
    program(TABLE, run, &[Protocol::Echo, Protocol::Mc], serving::serve)
}

fn run(job: Job<Body>) -> Result<Measured, Failure> {
    may::config().set_workers(usize::from(job.workers));
    let measured = go!(move || (job.body)(job.ops)).join();
    measured.map_err(|panic| words(&*panic).into())
}

fn words(panic: &(dyn Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned());
    let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
    words.unwrap_or_else(|| "a workload has failed".to_owned())
}

fn join_all(coroutines: impl IntoIterator<Item = JoinHandle<()>>) {
    for coroutine in coroutines {
        coroutine.join().expect("workloads do not fail");
    }
}

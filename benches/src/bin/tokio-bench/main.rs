//! The workloads on tokio: on one worker its current-thread runtime, on more the multi-threaded
//! one.

extern crate alloc;

mod channels;
mod locks;
mod memory;
mod serving;
mod spawning;
mod timing;

use core::pin::Pin;
use std::process::ExitCode;

use benches::{Failure, Job, Measured, Protocol, Workload, names, program, timed};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// Runs so many ops, in a task.
type Body = fn(u64) -> Pin<Box<dyn Future<Output = Measured> + Send>>;

macro_rules! boxed {
    ($($body:tt)+) => { |ops| Box::pin(async move { timed!(ops => $($body)+(ops).await) }) };
}

#[rustfmt::skip]
const TABLE: &[Workload<Body>] = &[
    Workload { name: names::YIELD_2, workers: &[1, 2], body: boxed!(spawning::yields::<2>) },
    Workload { name: names::YIELD_1000, workers: &[1, 2], body: boxed!(spawning::yields::<1000>) },
    Workload { name: names::YIELDW_2, workers: &[1], body: boxed!(spawning::wakes::<2>) },
    Workload { name: names::YIELDW_1000, workers: &[1], body: boxed!(spawning::wakes::<1000>) },
    Workload { name: names::SPAWN_SEQ, workers: &[1, 2], body: boxed!(spawning::one_by_one) },
    Workload { name: names::SPAWN_BATCH, workers: &[1, 2], body: boxed!(spawning::batches) },
    Workload { name: names::PINGPONG, workers: &[1, 2], body: boxed!(channels::round_trips) },
    Workload { name: names::PINGPONG_CROSS, workers: &[2],
        body: boxed!(channels::round_trips_across) },
    Workload { name: names::CHAN_1P1C, workers: &[1, 2], body: boxed!(channels::bounded::<1>) },
    Workload { name: names::CHAN_4P1C, workers: &[1, 2], body: boxed!(channels::bounded::<4>) },
    Workload { name: names::MUTEX_UNCONTENDED, workers: &[1], body: boxed!(locks::uncontended) },
    Workload { name: names::MUTEX_CONTENDED8, workers: &[1, 2], body: boxed!(locks::contended) },
    Workload { name: names::MUTEX_YIELD8, workers: &[1, 2], body: boxed!(locks::handed_over) },
    Workload { name: names::SELECT_2, workers: &[1, 2], body: boxed!(channels::choices) },
    Workload { name: names::TIMER_CANCEL, workers: &[1], body: boxed!(timing::limits) },
    Workload { name: names::TIMEOUT_WAIT, workers: &[1],
        body: boxed!(timing::round_trips_in_time) },
    Workload { name: names::TIMER_SLEEP, workers: &[1, 2], body: boxed!(timing::sleepers) },
    Workload { name: names::MEM, workers: &[1], body: |ops| Box::pin(memory::parked(ops)) },
    Workload { name: names::SKYNET, workers: &[1, 2], body: |ops| Box::pin(spawning::tree(ops)) },
    Workload { name: names::ZIPF, workers: &[1, 2], body: boxed!(spawning::uneven) },
];

fn main() -> ExitCode {
    program(TABLE, run, &[Protocol::Echo, Protocol::Mc], serving::serve)
}

fn run(job: Job<Body>) -> Result<Measured, Failure> {
    let runtime = runtime(job.workers)?;
    Ok(runtime.block_on(runtime.spawn((job.body)(job.ops)))?)
}

fn runtime(workers: u16) -> Result<Runtime, std::io::Error> {
    if workers == 1 {
        Builder::new_current_thread().enable_all().build()
    } else {
        Builder::new_multi_thread()
            .worker_threads(usize::from(workers))
            .enable_all()
            .build()
    }
}

async fn join_all(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("workloads do not fail");
    }
}

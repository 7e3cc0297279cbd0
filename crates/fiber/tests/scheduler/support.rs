//! The two hosts, and what must hold when a run is over.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::fs;

use fiber::{Builder, Drain, Runtime, SharedEnv};
use host_linux::{Config, Linux};
use host_sim::{Outcome, Sim};

/// The numbers of workers with which things are tried.
pub(crate) const WORKERS: [u16; 3] = [1, 2, 4];

/// Runs `main` on Linux and waits for all fibers.
pub(crate) fn on_linux<T: Send>(workers: u16, main: impl FnOnce() -> T + Send) -> T {
    run_to_the_end(Linux::new(Config::default()).unwrap(), workers, main)
}

/// As [`on_linux`] with one worker, where who is ready runs in turn: no watchdog ends the slice of
/// a fiber that was held up.
pub(crate) fn in_turn<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    let linux = Linux::new(Config::default()).unwrap();
    let builder = Runtime::builder(linux).workers(1).watchdog(None);
    run_as(builder, main)
}

/// Runs `main` and waits for all fibers; then no fiber is left, and no stack is with anybody.
pub(crate) fn run_to_the_end<T: Send>(
    env: SharedEnv,
    workers: u16,
    main: impl FnOnce() -> T + Send,
) -> T {
    run_as(Runtime::builder(env).workers(workers), main)
}

fn run_as<T: Send>(builder: Builder, main: impl FnOnce() -> T + Send) -> T {
    let main = move || (Runtime::current().unwrap(), main());
    let (runtime, value) = builder.drain(Drain::Wait).run(main).unwrap();
    let stats = runtime.stats();
    assert_eq!((stats.live, stats.stacks.in_use()), (0, 0), "{stats}");
    value
}

/// Runs `main` in `seeds` simulated worlds, with each number of workers in turn.
pub(crate) fn in_worlds(seeds: u64, main: fn()) {
    host_sim::check(seeds, |sim| {
        let workers = WORKERS[usize::try_from(sim.seed() % 3).unwrap()];
        in_world(sim, workers, main)
    });
}

/// Runs `main` in one simulated world and waits for all fibers.
pub(crate) fn in_world(mut sim: Sim, workers: u16, main: fn()) -> Outcome {
    sim.node("only", move |env| run_to_the_end(env, workers, main));
    let outcome = sim.run();
    assert_eq!(outcome.abandoned, host_sim::Abandoned::default());
    outcome
}

/// On Linux with each number of workers, and in a thousand worlds.
pub(crate) fn on_both(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(1000, main);
}

/// A count that fibers share.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a process holds of the system: descriptors, threads, mappings.
pub(crate) fn holdings() -> (usize, usize, usize) {
    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    (
        count("/proc/self/fd"),
        count("/proc/self/task"),
        maps.lines().count(),
    )
}

/// Bytes of memory that the process occupies.
pub(crate) fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

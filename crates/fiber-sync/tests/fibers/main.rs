//! The primitives on fibers: order, cancels, panics, virtual time, random schedules.
#![cfg(not(loom))]
#![expect(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::unwrap_used,
    reason = "tests run on std, and may panic"
)]

mod channel;
mod condvar;
mod credit;
mod mutex;
mod semaphore;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fiber_core::{
    Context,
    env::{Chooser, Site},
    script::{Script, ScriptEnv, SeededChooser},
};
use fiber_sched::{JoinHandle, Runtime, yield_now};

/// How many random schedules a test runs under.
const SEEDS: u64 = 200;

const SECOND: Duration = Duration::from_secs(1);

/// Runs `main` on one worker, in the production order. Fails when something waits for ever.
fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    Runtime::builder(ScriptEnv::new())
        .workers(1)
        .closed_world()
        .run(main)
        .expect("the run succeeds")
}

/// Runs `main` on one worker, under many random schedules. It is given what else is random.
fn on_all_seeds(main: impl Fn(&Dice) + Send + Sync) {
    for seed in 0..SEEDS {
        let env = ScriptEnv::with(Script::new().chooser(SeededChooser::new(seed)));
        let dice = Dice(SeededChooser::new(!seed));
        Runtime::builder(env)
            .workers(1)
            .closed_world()
            .run(|| main(&dice))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// Random numbers that depend on the seed alone.
struct Dice(SeededChooser);

impl Dice {
    fn below(&self, n: u32) -> u32 {
        self.0.choose(Site::new("dice"), n)
    }

    /// Lets others run, for a random while.
    fn pause(&self, at_most: u32) {
        for _ in 0..self.below(at_most + 1) {
            yield_now();
        }
    }
}

/// Lets everybody run until they wait.
fn settle() {
    for _ in 0..8 {
        yield_now();
    }
}

/// Waits until all have ended well.
fn join_all(fibers: impl IntoIterator<Item = JoinHandle<()>>) {
    for fiber in fibers {
        fiber.join().unwrap();
    }
}

fn now() -> Duration {
    Context::with(|context| Duration::from_nanos(context.unwrap().now().as_nanos()))
}

/// Counts how many of its kind live.
struct Counted {
    alive: Arc<AtomicUsize>,
    number: usize,
}

impl Counted {
    fn new(alive: &Arc<AtomicUsize>, number: usize) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self {
            alive: Arc::clone(alive),
            number,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

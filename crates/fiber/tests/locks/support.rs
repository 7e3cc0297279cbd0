//! The two hosts.

use fiber::{Drain, Runtime, SharedEnv};
use host_linux::{Config, Linux};

/// On Linux with one, two and four workers, and in some hundred worlds.
pub(crate) fn on_both(main: fn()) {
    for workers in [1, 2, 4] {
        run(Linux::new(Config::default()).unwrap(), workers, main);
    }
    host_sim::check(300, move |mut sim| {
        let workers = [1, 2, 4][usize::try_from(sim.seed() % 3).unwrap()];
        sim.node("only", move |env| run(env, workers, main));
        let outcome = sim.run();
        assert_eq!(outcome.abandoned, host_sim::Abandoned::default());
        outcome
    });
}

/// On Linux with one worker, where who is ready runs in turn: no watchdog ends the slice of a
/// fiber that was held up.
pub(crate) fn on_one(main: fn()) {
    let linux = Linux::new(Config::default()).unwrap();
    let builder = Runtime::builder(linux).workers(1).watchdog(None);
    builder.drain(Drain::Wait).run(main).unwrap();
}

/// Runs `main` and waits for all fibers.
fn run(env: SharedEnv, workers: u16, main: fn()) {
    let builder = Runtime::builder(env).workers(workers).drain(Drain::Wait);
    builder.run(main).unwrap();
}

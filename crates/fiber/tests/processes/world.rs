//! Where the scenarios run.

use std::{sync::mpsc, thread};

use fiber::{Builder, Drain, Runtime, SharedEnv};
use host_linux::{Config, Linux};

use crate::support::{WORKERS, in_worlds, on_linux};

/// On Linux with each number of workers, and in some hundred simulated worlds.
pub(crate) fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(200, main);
}

/// As [`everywhere`], where so many fibers are abandoned: their stacks are leaked, and all else is
/// as it was.
pub(crate) fn losing(lost: usize, main: fn()) {
    for workers in WORKERS {
        losing_on_linux(workers, lost, main);
    }
    host_sim::check(100, |mut sim| {
        let workers = WORKERS[usize::try_from(sim.seed() % 3).unwrap()];
        sim.node("only", move |env| run(env, workers, lost, main));
        let outcome = sim.run();
        assert_eq!(outcome.abandoned.fiber_stacks, lost as u64);
        assert_eq!((outcome.abandoned.threads, outcome.abandoned.nodes), (0, 0));
        outcome
    });
}

pub(crate) fn losing_on_linux(workers: u16, lost: usize, main: impl FnOnce() + Send + 'static) {
    on_a_thread_that_may_stay(move || {
        run(Linux::new(Config::default()).unwrap(), workers, lost, main);
    });
}

/// As [`losing_on_linux`], without a watchdog: nobody ends the slice of a fiber that runs on.
pub(crate) fn losing_unwatched(workers: u16, lost: usize, main: impl FnOnce() + Send + 'static) {
    on_a_thread_that_may_stay(move || {
        let linux = Linux::new(Config::default()).unwrap();
        let builder = Runtime::builder(linux).watchdog(None);
        run_as(builder.workers(workers), lost, main);
    });
}

/// Runs `body` on a thread that nobody waits for once it has succeeded: it does not end when a
/// fiber was abandoned there.
pub(crate) fn on_a_thread_that_may_stay(body: impl FnOnce() + Send + 'static) {
    let (tell, told) = mpsc::channel();
    drop(thread::spawn(move || {
        body();
        tell.send(()).unwrap();
    }));
    told.recv().expect("it has not panicked");
}

fn run(env: SharedEnv, workers: u16, lost: usize, main: impl FnOnce() + Send) {
    run_as(Runtime::builder(env).workers(workers), lost, main);
}

fn run_as(builder: Builder, lost: usize, main: impl FnOnce() + Send) {
    let watched = move || (Runtime::current().unwrap(), main());
    let (runtime, ()) = builder.drain(Drain::Wait).run(watched).unwrap();
    let stats = runtime.stats();
    assert_eq!((stats.live, stats.stacks.in_use()), (0, 0), "{stats}");
    assert_eq!(stats.stacks.leaked(), lost, "{stats}");
}

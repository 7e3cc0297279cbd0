//! A million fibers sleep for one second, all at once.
//!
//! Alone in its file, and run with nothing beside it: it takes some gigabytes.

extern crate alloc;

use alloc::{rc::Rc, sync::Arc};
use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber::{FiberBuilder, Runtime, SharedEnv, StackClass};
use host_linux::{Config, Linux};
use host_sim::{Order, Sim};

const FIBERS: usize = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// How long it took by the host's clock, from before the first one was spawned.
fn sleep_all(env: SharedEnv, workers: u16) -> Duration {
    let clock = Arc::clone(&env);
    let run = Runtime::builder(env).workers(workers);
    run.run(move || {
        let began = clock.now();
        let slept = Arc::new(AtomicUsize::new(0));
        let fibers: Vec<_> = (0..FIBERS)
            .map(|_| {
                let slept = Arc::clone(&slept);
                let builder = FiberBuilder::new().stack(StackClass::K16);
                let fiber = builder.spawn(move || {
                    fiber::sleep(SECOND);
                    slept.fetch_add(1, Ordering::Relaxed);
                });
                fiber.expect("inside of a runtime")
            })
            .collect();
        for fiber in fibers {
            fiber.join().expect("it does not panic");
        }
        assert_eq!(slept.load(Ordering::Relaxed), FIBERS);
        clock.now().saturating_since(began)
    })
    .expect("the run succeeds")
}

#[test]
fn a_million_fibers_sleep_for_a_second_on_linux() {
    let linux = Linux::new(Config::default()).expect("the host starts");
    assert!(sleep_all(linux, 2) >= SECOND);
}

/// In a world where computing takes no time, the one second is all that passes. In production's
/// order: it is not about interleavings, and to draw one of a million means to count up to it.
#[test]
fn a_million_fibers_sleep_for_one_virtual_second_in_the_simulator() {
    let took = Rc::new(Cell::new(Duration::ZERO));
    let seen = Rc::clone(&took);
    let sim = Sim::new(1).order(Order::Fifo).costless();
    let mut sim = sim.step_limit(u64::MAX);
    sim.node("sleepers", move |env| seen.set(sleep_all(env, 1)));
    sim.run().expect_finished();
    assert_eq!(took.get(), SECOND);
}

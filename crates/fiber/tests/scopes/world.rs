//! Where single scenarios run, and what they write down.

use alloc::sync::Arc;
use std::sync::Mutex;

use host_sim::{Order, Sim};

use crate::support::{in_turn, run_to_the_end};

/// What has happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    pub(crate) fn add(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    pub(crate) fn taken(&self) -> Vec<&'static str> {
        core::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Runs `main` on one worker, on Linux and in a simulated world in production order: where the
/// order in which fibers run is documented.
pub(crate) fn in_order(main: impl Fn() + Copy + Send + 'static) {
    in_turn(main);
    simulated(Sim::new(0).order(Order::Fifo), 1, main);
}

/// Runs `main` in one simulated world; computing takes no time in it.
pub(crate) fn simulated(sim: Sim, workers: u16, main: impl Fn() + Copy + Send + 'static) {
    let mut sim = sim.costless();
    sim.node("only", move |env| run_to_the_end(env, workers, main));
    sim.run().expect_finished();
}

/// Panics without the words that a panic prints, which thousands of worlds would repeat.
pub(crate) fn fail(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// What a panic of `body` carries.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Box<dyn core::any::Any + Send> {
    let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(body));
    caught.err().expect("it panics")
}

/// All panics of a scope.
pub(crate) fn panics_of<T>(body: impl FnOnce() -> T) -> fiber::MultiPanic {
    *caught(body)
        .downcast()
        .expect("a scope panics with all of them")
}

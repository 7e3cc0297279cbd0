//! What a run tells its subscriber, and that a subscriber cannot break a run.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

use alloc::sync::Arc;
use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};
use std::{panic, sync::Mutex};

use fiber_core::script::{Script, ScriptEnv};
use fiber_sched::{FiberBuilder, Runtime, WorkerId};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
static PANICS: AtomicBool = AtomicBool::new(false);

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["fiber::core", "fiber::sched"].contains(&metadata.target())
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        TOLD.lock().unwrap().push(line.0);
        let on_a_fiber = fiber_sched::current().is_some();
        if PANICS.load(Ordering::SeqCst) && on_a_fiber {
            panic::resume_unwind(Box::new("a subscriber that panics"));
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

fn told(words: &[&str]) -> usize {
    let told = TOLD.lock().unwrap();
    let matches = |line: &&String| words.iter().all(|word| line.contains(word));
    told.iter().filter(matches).count()
}

#[test]
fn a_fiber_s_life_is_told_and_a_subscriber_that_panics_ends_nothing() {
    tracing::subscriber::set_global_default(Collector).unwrap();
    every_worker_tells_of_its_own_when_all_are_asleep();
    TOLD.lock().unwrap().clear();
    let run = || {
        Runtime::builder(ScriptEnv::new()).workers(1).run(|| {
            let fiber = FiberBuilder::new().name("told").spawn(|| 7).unwrap();
            fiber.join().unwrap()
        })
    };
    assert_eq!(run().unwrap(), 7);
    for event in ["launched", "started", "ended"] {
        assert_eq!(told(&["'told'", event]), 1, "{event}");
    }
    PANICS.store(true, Ordering::SeqCst);
    let broken = run();
    // The spawner's own call of the subscriber is the user's: its panic is that fiber's.
    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(told(&["'main'", "started"]), 2);
    assert_eq!(told(&["'main'", "ended"]), 2);
}

/// In an open world, where a plain thread wakes the main fiber once it has seen that it was told.
fn every_worker_tells_of_its_own_when_all_are_asleep() {
    let env = ScriptEnv::with(Script::new().outsiders());
    let run = Runtime::builder(env).workers(3).run(|| {
        for worker in 0..3 {
            let name = format!("sleeper {worker}");
            let fiber = FiberBuilder::new().name(name).worker(WorkerId(worker));
            drop(fiber.spawn(fiber_sched::park).unwrap());
        }
        let main = fiber_sched::current().unwrap();
        let all_told = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&all_told);
        let waker = std::thread::spawn(move || {
            let all = |worker| told(&["all fibers are asleep", &format!("sleeper {worker}")]) > 0;
            while !(0..3).all(all) {
                std::thread::yield_now();
            }
            seen.store(true, Ordering::SeqCst);
            main.unpark();
        });
        while !all_told.load(Ordering::SeqCst) {
            fiber_sched::park();
        }
        waker.join().unwrap();
    });
    run.unwrap();
}

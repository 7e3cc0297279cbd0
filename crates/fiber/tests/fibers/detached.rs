//! Panics of fibers that nobody joins: told once, and by whom it was that they were left.

use core::fmt::{self, Write};
use std::sync::{Mutex, Once};

use fiber::{ExitReason, FiberBuilder, JoinHandle, Runtime, into_future, park, yield_now};
use host_linux::{Config, Linux};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::on_linux;

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects what is told of panics, of all tests of this process.
struct Collector;

impl Collector {
    fn install() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Self).unwrap());
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
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

/// What was told of panics with this message.
fn told(message: &str) -> Vec<String> {
    let told = TOLD.lock().unwrap();
    told.iter()
        .filter(|line| line.contains(message))
        .cloned()
        .collect()
}

fn panics(name: &'static str) -> JoinHandle<()> {
    let builder = FiberBuilder::new().name(format!("fiber of {name}"));
    builder.spawn(move || panic!("{name}")).unwrap()
}

fn assert_told_once(name: &str) {
    let told = told(name);
    let [line] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(line.contains(&format!("fiber of {name}")), "{line}");
    assert!(line.contains("detached.rs"), "where it was spawned: {line}");
}

#[test]
fn one_that_is_detached_before_it_panics_is_told_of_once() {
    Collector::install();
    on_linux(2, || panics("left before").detach());
    assert_told_once("left before");
}

#[test]
fn one_that_is_detached_after_it_has_panicked_is_told_of_once() {
    Collector::install();
    on_linux(2, || {
        let fiber = panics("left after");
        while !fiber.is_finished() {
            yield_now();
        }
        assert_eq!(told("left after").len(), 0, "it may still be joined");
        drop(fiber);
    });
    assert_told_once("left after");
}

#[test]
fn one_whose_handle_lives_to_the_end_of_the_run_is_told_of_once() {
    Collector::install();
    let env = Linux::new(Config::default()).unwrap();
    let fiber = Runtime::builder(env).workers(1).run(|| {
        let fiber = panics("left at the end");
        yield_now();
        fiber
    });
    assert_eq!(told("left at the end").len(), 0, "it may still be joined");
    drop(fiber);
    assert_told_once("left at the end");
}

#[test]
fn one_that_is_joined_is_not_told_of_again() {
    Collector::install();
    on_linux(2, || {
        let mut fiber = panics("joined");
        let Err(ExitReason::Panicked(payload)) = fiber.try_join().unwrap_or_else(|| {
            while !fiber.is_finished() {
                yield_now();
            }
            fiber.try_join().unwrap()
        }) else {
            panic!("it panicked");
        };
        assert_eq!(payload.message(), Some("joined"));
        drop(fiber);
    });
    assert_eq!(told("joined").len(), 0);
}

#[test]
fn one_that_was_cancelled_is_not_told_of() {
    Collector::install();
    on_linux(1, || {
        let fiber = FiberBuilder::new()
            .name("cancelled and left")
            .spawn(park)
            .unwrap();
        yield_now();
        fiber.cancel();
        fiber.detach();
    });
    assert_eq!(told("cancelled and left").len(), 0);
}

#[test]
fn a_panic_of_a_fiber_whose_future_was_dropped_is_told_of_once() {
    Collector::install();
    on_linux(2, || {
        let future = into_future(|| panic!("nobody awaits it")).unwrap();
        while !future.fiber().is_finished() {
            yield_now();
        }
        drop::<fiber::FiberFuture<()>>(future);
    });
    assert_eq!(told("nobody awaits it").len(), 1);
}

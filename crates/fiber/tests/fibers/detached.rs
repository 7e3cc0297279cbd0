//! Panics of fibers that nobody joins: told once, and by whom it was that they were left.

use core::fmt::{self, Write};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    process::Command,
    sync::{Mutex, Once},
};

use fiber::{
    ExitReason, FiberBuilder, JoinHandle, Runtime, SharedEnv, StackClass, into_future, park,
    yield_now,
};
use host_linux::{Config, Linux};
use host_sim::Sim;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::{in_world, on_linux};

/// The variable that says that this is a process of a test's own.
const PART: &str = "FIBER_TEST_PART";

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
        .filter(|line| line.contains(&format!("panic={message}, at ")))
        .cloned()
        .collect()
}

/// Where the fibers of `panics` do so.
const PANICS_AT: u32 = line!() + 5;

/// A fiber on the smallest stack, on which a report with a backtrace would find no room.
fn panics(name: &'static str) -> JoinHandle<()> {
    let builder = FiberBuilder::new().name(format!("fiber of {name}"));
    let body = move || panic!("{name}");
    builder.stack(StackClass::K16).spawn(body).unwrap()
}

fn assert_told_once(name: &str) {
    let told = told(name);
    let [line] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(line.contains(&format!("fiber of {name}")), "{line}");
    let spawned_at = format!("spawned_at={}:{}:", file!(), PANICS_AT + 1);
    assert!(line.contains(&spawned_at), "where it was spawned: {line}");
    let panic = format!("panic={name}, at {}:{PANICS_AT}:", file!());
    assert!(line.contains(&panic), "where it has panicked: {line}");
    let wanted = Backtrace::capture().status() == BacktraceStatus::Captured;
    assert_eq!(line.contains("backtrace="), wanted, "{line}");
    assert_eq!(line.contains("detached::panics"), wanted, "{line}");
}

fn left_before(name: &'static str) {
    panics(name).detach();
}

fn left_after(name: &'static str) {
    let fiber = panics(name);
    while !fiber.is_finished() {
        yield_now();
    }
    assert_eq!(told(name).len(), 0, "it may still be joined");
    drop(fiber);
}

#[test]
fn one_that_is_detached_before_it_panics_is_told_of_once() {
    Collector::install();
    on_linux(2, || left_before("left before"));
    assert_told_once("left before");
    in_world(Sim::new(1), 2, || left_before("left before in a world"));
    assert_told_once("left before in a world");
}

#[test]
fn one_that_is_detached_after_it_has_panicked_is_told_of_once() {
    Collector::install();
    on_linux(2, || left_after("left after"));
    assert_told_once("left after");
    in_world(Sim::new(1), 2, || left_after("left after in a world"));
    assert_told_once("left after in a world");
}

fn outlives_main(env: SharedEnv, name: &'static str) {
    let fiber = Runtime::builder(env).workers(1).run(|| {
        let fiber = panics(name);
        while !fiber.is_finished() {
            yield_now();
        }
        fiber
    });
    assert_eq!(told(name).len(), 0, "it may still be joined");
    drop(fiber);
}

#[test]
fn one_whose_handle_lives_to_the_end_of_the_run_is_told_of_once() {
    Collector::install();
    outlives_main(Linux::new(Config::default()).unwrap(), "left at the end");
    assert_told_once("left at the end");
    let mut sim = Sim::new(1);
    sim.node("only", |env| outlives_main(env, "left at a world's end"));
    sim.run().expect_finished();
    assert_told_once("left at a world's end");
}

#[test]
fn what_is_told_has_a_backtrace_if_the_environment_asks_for_one() {
    let test = "detached::what_is_told_has_a_backtrace_if_the_environment_asks_for_one";
    if env::var_os(PART).is_some() {
        // That it is there is asserted with the rest.
        one_that_is_detached_before_it_panics_is_told_of_once();
        one_that_is_detached_after_it_has_panicked_is_told_of_once();
        return one_whose_handle_lives_to_the_end_of_the_run_is_told_of_once();
    }
    for wanted in ["0", "1"] {
        let output = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(PART, "told")
            .env_remove("RUST_LIB_BACKTRACE")
            .env("RUST_BACKTRACE", wanted)
            .output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    }
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
    let told = told("nobody awaits it");
    let [line] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(line.contains(&format!("spawned_at={}", file!())), "{line}");
}

//! Handlers at the end of a scope.

use alloc::sync::Arc;
use core::time::Duration;
use std::thread;

use fiber::{
    ExitReason, Runtime, ScopeBuilder, checkpoint, current, defer, is_cancelled, join, scope,
    sleep, spawn, sync::Mutex, time, yield_now,
};
use host_sim::Sim;

use crate::{
    support::{Count, on_both, on_linux},
    world::{Log, caught, fail, in_order, panics_of, simulated},
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn handlers_run_last_first_when_the_scope_returns_panics_or_is_cancelled_also_nested() {
    on_both(|| {
        let log = Log::default();
        let two = |end: fn()| {
            scope(|s| {
                s.defer(|| log.add("outer first"));
                s.defer(|| log.add("outer second"));
                scope(|inner| {
                    inner.defer(|| log.add("inner"));
                    end();
                });
            });
        };
        let expected = ["inner", "outer second", "outer first"];
        two(|| ());
        assert_eq!(log.taken(), expected);
        assert_eq!(
            *caught(|| two(|| fail("as planned")))
                .downcast::<&str>()
                .unwrap(),
            "as planned"
        );
        assert_eq!(log.taken(), expected);
        let own = log.clone();
        let cancelled = spawn(move || {
            scope(|s| {
                s.defer(|| own.add("first"));
                s.defer(|| own.add("second"));
                current().unwrap().cancel();
                yield_now();
                own.add("never");
            });
        });
        assert!(matches!(cancelled.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(log.taken(), ["second", "first"]);
    });
}

#[test]
fn a_handler_can_be_taken_back_or_run_early() {
    on_both(|| {
        let log = Log::default();
        scope(|s| {
            s.defer(|| log.add("foobar"));
            s.defer(|| log.add("qux"));
            let never = s.defer(|| log.add("bar"));
            let early = s.defer(|| log.add("baz"));
            early.run_now();
            log.add("foo");
            never.cancel();
        });
        assert_eq!(log.taken(), ["baz", "foo", "qux", "foobar"]);
        let payload = caught(|| scope(|s| s.defer(|| fail("as planned")).run_now()));
        assert_eq!(*payload.downcast::<&str>().unwrap(), "as planned");
    });
}

#[test]
fn handlers_run_after_the_children_have_ended_and_may_spawn_more() {
    on_both(|| {
        let ended = Count::default();
        scope(|s| {
            s.defer(|| assert_eq!(ended.get(), 2));
            s.defer(|| {
                assert_eq!(ended.get(), 1);
                drop(s.spawn(|| ended.add()));
            });
            drop(s.spawn(|| {
                yield_now();
                ended.add();
            }));
        });
    });
}

#[test]
fn handlers_that_suspend_take_turns_with_those_of_other_fibers() {
    in_order(|| {
        let log = Log::default();
        let end = |one: &'static str, two: &'static str| {
            scope(|s| {
                s.defer(|| {
                    log.add(one);
                    yield_now();
                    log.add(two);
                });
            });
        };
        join!(end("foo1", "foo2"), end("bar1", "bar2"));
        assert_eq!(log.taken(), ["foo1", "bar1", "foo2", "bar2"]);
    });
}

#[test]
fn handlers_of_a_cancelled_fiber_may_wait() {
    on_both(|| {
        let done = Count::default();
        let handled = done.clone();
        let fiber = spawn(move || {
            scope(|s| {
                s.defer(|| {
                    assert!(is_cancelled());
                    sleep(Duration::from_millis(1));
                    checkpoint();
                    handled.add();
                });
                current().unwrap().cancel();
                sleep(Duration::MAX);
            });
        });
        assert!(fiber.join().is_err());
        assert_eq!(done.get(), 1);
    });
}

#[test]
fn a_handler_that_panics_keeps_none_from_running_and_all_panics_are_told() {
    on_both(|| {
        let log = Log::default();
        let all = panics_of(|| {
            scope(|s| {
                s.defer(|| log.add("first"));
                s.defer(|| fail("second"));
                s.defer(|| log.add("third"));
                s.defer(|| fail("fourth"));
                fail("body");
            });
        });
        assert_eq!(log.taken(), ["third", "first"]);
        let messages: Vec<_> = all.panics().iter().map(|panic| panic.message()).collect();
        assert_eq!(messages, [Some("fourth"), Some("second")]);
        assert_eq!((all.count(), all.body_message()), (3, Some("body")));
        assert!(all.panics()[0].location().file().ends_with("handlers.rs"));
        // And in a fiber it is the fiber that has panicked, and nothing else.
        let fiber = spawn(|| {
            scope(|s| {
                s.defer(|| fail("as planned"));
            })
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Panicked(_))));
    });
}

#[test]
fn a_handler_that_takes_too_long_is_unwound_and_counted_and_the_others_run() {
    simulated(Sim::new(0), 1, || {
        let log = Log::default();
        let begun = time::now();
        scope(|s| {
            s.defer(|| log.add("next"));
            s.defer(|| {
                sleep(Duration::MAX);
                log.add("never");
            });
        });
        assert_eq!(time::now().saturating_since(begun), 5 * SECOND);
        ScopeBuilder::new().cleanup_grace(SECOND).run(|s| {
            s.defer(|| sleep(Duration::MAX));
        });
        assert_eq!(time::now().saturating_since(begun), 6 * SECOND);
        assert_eq!(log.taken(), ["next"]);
        let stats = Runtime::current().unwrap().stats();
        assert_eq!(stats.workers[0].handlers_overdue, 2);
    });
}

#[test]
fn a_fiber_has_handlers_of_its_own_for_its_end_and_so_has_main() {
    on_both(|| {
        let log = Log::default();
        let own = log.clone();
        let work = move |end: fn()| {
            let (first, second) = (own.clone(), own.clone());
            defer(move || first.add("first"));
            defer(|| fail("as planned"));
            defer(move || {
                yield_now();
                checkpoint();
                second.add("second");
            });
            end();
        };
        for end in [
            (|| ()) as fn(),
            || fail("as planned"),
            || {
                current().unwrap().cancel();
                yield_now();
            },
        ] {
            let work = work.clone();
            let ended = spawn(move || work(end)).join();
            drop(ended);
            assert_eq!(log.taken(), ["second", "first"]);
        }
        defer(move || {
            yield_now();
            assert_eq!(log.taken(), [""; 0]);
        });
    });
    assert!(std::panic::catch_unwind(|| defer(|| ())).is_err());
}

#[test]
fn the_handlers_of_main_have_run_when_its_run_returns() {
    let ran = Count::default();
    let counted = ran.clone();
    on_linux(2, move || {
        defer(move || {
            sleep(Duration::from_millis(1));
            counted.add();
        });
    });
    assert_eq!(ran.get(), 1);
}

#[test]
fn a_handler_of_a_cancelled_fiber_that_panics_poisons_what_it_was_changing() {
    on_both(|| {
        let lock = Arc::new(Mutex::new(()));
        let changed = Arc::clone(&lock);
        let fiber = spawn(move || {
            scope(|s| {
                s.defer(|| {
                    let _guard = changed.lock().unwrap();
                    fail("as planned");
                });
                current().unwrap().cancel();
                checkpoint();
            });
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Panicked(_))));
        assert!(lock.lock().is_err(), "it was left half changed");
    });
}

#[test]
fn a_handler_that_a_plain_thread_cannot_run_is_run_at_the_end() {
    on_linux(1, || {
        let log = Log::default();
        scope(|s| {
            let handler = s.defer(|| log.add("handler"));
            let on_thread = thread::scope(|t| t.spawn(|| handler.run_now()).join());
            assert!(on_thread.is_err());
        });
        assert_eq!(log.taken(), ["handler"]);
    });
}

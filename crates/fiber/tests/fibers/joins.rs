//! Waiting for fibers.

use alloc::sync::Arc;
use core::time::Duration;
use std::{sync::Mutex, thread};

use fiber::{
    ExitReason, JoinHandle, Runtime,
    core::{choose, operation::perform},
    park, sleep, spawn, spawn_any,
    sync::channel,
    yield_now,
};

use crate::support::{Count, WORKERS, in_worlds, on_linux};

fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(200, main);
}

#[test]
fn a_fiber_can_be_joined_before_it_runs_while_it_waits_and_after_it_has_ended() {
    everywhere(|| {
        let early = spawn(|| (1, "two", [3.0]));
        assert_eq!(early.join().unwrap(), (1, "two", [3.0]));

        let (go, wait) = channel::bounded(1);
        let waits = spawn_any(move || wait.recv().unwrap());
        yield_now();
        go.send(4).unwrap();
        assert_eq!(waits.join().unwrap(), 4);

        let late = spawn_any(|| 5);
        while !late.is_finished() {
            yield_now();
        }
        assert_eq!(late.join().unwrap(), 5);
    });
}

#[test]
fn an_error_that_a_fiber_returns_is_its_value() {
    everywhere(|| {
        let fails = spawn(|| Err::<(), _>("as planned"));
        assert_eq!(fails.join().unwrap(), Err("as planned"));
    });
}

#[test]
fn a_fiber_is_joined_once() {
    everywhere(|| {
        let mut fiber = spawn(|| 1);
        assert_eq!(perform(fiber.join_operation()).unwrap(), 1);
        assert!(matches!(fiber.try_join(), Some(Err(ExitReason::Taken))));
        assert!(matches!(
            fiber.join_timeout(Duration::ZERO),
            Ok(Err(ExitReason::Taken))
        ));
        let error = fiber.join().unwrap_err();
        assert!(error.to_string().contains("given once"), "{error}");
    });
}

#[test]
fn the_value_of_a_fiber_is_dropped_once_however_its_handle_ends() {
    everywhere(|| {
        let value = Arc::new(());
        let make = |value: &Arc<()>| {
            let value = Arc::clone(value);
            spawn(move || value)
        };
        let mut spent = make(&value);
        drop(perform(spent.join_operation()).unwrap());
        drop(spent);
        make(&value).detach();
        drop(make(&value));
        let late = make(&value);
        while !late.is_finished() {
            yield_now();
        }
        drop(late);
        drop(make(&value).join());
        while Arc::strong_count(&value) > 1 {
            yield_now();
        }
    });
}

#[test]
fn joining_can_be_tried_and_limited_and_begun_again() {
    everywhere(|| {
        let (go, wait) = channel::bounded(1);
        let mut fiber = spawn(move || wait.recv().unwrap());
        assert!(fiber.try_join().is_none());
        assert!(fiber.join_timeout(Duration::from_millis(1)).is_err());
        go.send(6).unwrap();
        let joined = fiber.join_timeout(Duration::from_secs(3600));
        assert_eq!(joined.unwrap().unwrap(), 6);
    });
}

#[test]
fn the_first_of_two_fibers_is_joined_in_a_choice_and_the_other_later() {
    everywhere(|| {
        let (go, wait) = channel::bounded(1);
        let mut slow = spawn(move || wait.recv().unwrap());
        let mut fast = spawn_any(|| 1);
        let first = choose! {
            slow = slow.join_operation() => slow.unwrap(),
            fast = fast.join_operation() => fast.unwrap(),
        };
        assert_eq!(first, 1);
        go.send(2).unwrap();
        assert_eq!(slow.join().unwrap(), 2);
    });
}

/// Spawns a fiber that is given its own handle.
fn with_own_handle(body: fn(JoinHandle<()>)) -> (fiber::Fiber, channel::Receiver<()>) {
    let (give, take) = channel::bounded::<JoinHandle<()>>(1);
    let (ended, end) = channel::bounded(1);
    let handle = spawn(move || {
        let _ended = ended;
        body(take.recv().unwrap());
    });
    let fiber = handle.fiber().clone();
    give.send(handle).unwrap();
    (fiber, end)
}

#[test]
fn a_fiber_that_joins_itself_is_told_that_it_would_wait_for_ever() {
    everywhere(|| {
        let (fiber, end) = with_own_handle(|own| {
            let Err(ExitReason::Deadlock(deadlock)) = own.join() else {
                panic!("it has not waited for itself");
            };
            assert_eq!(deadlock.links().len(), 1);
            assert!(deadlock.links()[0].at.file().ends_with("joins.rs"));
        });
        assert!(end.recv().is_err());
        while !fiber.is_finished() {
            yield_now();
        }
        assert!(!fiber.has_unseen_panic());
        let (fiber, end) = with_own_handle(|own| {
            let nested = || [own].map(|own| own.join().unwrap_err());
            let [error] = nested();
            assert!(matches!(error, ExitReason::Deadlock(_)), "{error}");
        });
        assert!(end.recv().is_err());
        while !fiber.is_finished() {
            yield_now();
        }
        assert!(!fiber.has_unseen_panic());
    });
}

#[test]
fn of_two_fibers_that_join_each_other_the_second_is_told_of_the_circle() {
    everywhere(|| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let fibers: Vec<_> = ["one", "other"]
            .map(|name| {
                let (give, take) = channel::bounded::<JoinHandle<()>>(1);
                let told = Arc::clone(&told);
                let body = move || {
                    if let Err(ExitReason::Deadlock(deadlock)) = take.recv().unwrap().join() {
                        told.lock().unwrap().push((name, deadlock));
                    }
                };
                let handle = fiber::FiberBuilder::new().name(name).spawn(body).unwrap();
                (handle, give)
            })
            .into();
        let [(one, to_one), (other, to_other)] = <[_; 2]>::try_from(fibers).unwrap();
        let both = [one.fiber().clone(), other.fiber().clone()];
        to_one.send(other).unwrap();
        to_other.send(one).unwrap();
        while !both.iter().all(fiber::Fiber::is_finished) {
            yield_now();
        }
        let told = told.lock().unwrap();
        let [(name, deadlock)] = &told[..] else {
            panic!("{told:?}");
        };
        let names: Vec<_> = deadlock
            .links()
            .iter()
            .map(|link| link.name.clone())
            .collect();
        assert_eq!(names.len(), 2);
        assert_eq!(names[0].as_deref(), Some(*name), "{deadlock}");
        assert!(
            deadlock.to_string().contains("the end of a fiber"),
            "{deadlock}"
        );
    });
}

#[test]
fn plain_threads_join_wait_and_try() {
    on_linux(2, || {
        let runtime = Runtime::current().unwrap();
        let joined = thread::spawn(move || {
            let (go, wait) = channel::bounded(1);
            let mut fiber = runtime.spawn(move || wait.recv().unwrap()).unwrap();
            assert!(fiber.try_join().is_none());
            assert!(fiber.join_timeout(Duration::from_millis(1)).is_err());
            go.send(8).unwrap();
            fiber.join().unwrap()
        });
        while !joined.is_finished() {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(joined.join().unwrap(), 8);
    });
}

#[test]
fn a_cancelled_joiner_leaves_and_the_fiber_goes_on() {
    everywhere(|| {
        let (go, wait) = channel::bounded(1);
        let done = Count::default();
        let seen = done.clone();
        let child = spawn(move || {
            wait.recv().unwrap();
            seen.add();
        });
        let fiber = child.fiber().clone();
        let joiner = spawn(move || child.join());
        yield_now();
        joiner.cancel();
        assert!(joiner.join().is_err());
        if !fiber.is_finished() {
            go.send(()).unwrap();
        }
        while !fiber.is_finished() {
            yield_now();
        }
        assert_eq!(done.get(), 1);
    });
}

#[test]
fn a_detached_fiber_goes_on() {
    everywhere(|| {
        let (give, take) = channel::bounded(1);
        spawn(move || give.send(9).unwrap()).detach();
        assert_eq!(take.recv().unwrap(), 9);
        let parked = spawn(park);
        let fiber = parked.fiber().clone();
        parked.detach();
        fiber.unpark();
    });
}

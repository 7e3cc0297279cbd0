//! What is said about those who wait for ever, and about those who must not wait.

use alloc::sync::Arc;
use core::mem;

use fiber::{
    AllAsleep, FiberBuilder, JoinHandle, ParkedFiber, RunError, Runtime, catch_unwind, no_suspend,
    park, sleep, spawn,
    sync::{
        Mutex, Semaphore,
        channel::{self, broadcast, credit, oneshot, watch},
    },
    yield_now,
};
use host_linux::{Config, Linux};

use crate::support::{in_worlds, on_linux};

/// Runs `main`, after which all are asleep, on Linux and in some worlds; `check` is given what was
/// said.
fn when_asleep(main: fn(), check: fn(&AllAsleep)) {
    let report = move |run: Result<(), RunError>| match run {
        Err(RunError::AllAsleep(asleep)) => check(&asleep),
        other => panic!("nobody wakes them: {other:?}"),
    };
    let env = Linux::new(Config::default()).unwrap();
    report(Runtime::builder(env).workers(2).closed_world().run(main));
    host_sim::check(50, move |mut sim| {
        sim.node("only", move |env| {
            report(Runtime::builder(env).workers(2).run(main));
        });
        sim.run()
    });
}

fn named<'a>(asleep: &'a AllAsleep, name: &str) -> &'a ParkedFiber {
    let is_it = |fiber: &&ParkedFiber| fiber.name.as_deref() == Some(name);
    let found = asleep.fibers.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {name}: {asleep}"))
}

fn spawn_named(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    FiberBuilder::new().name(name).spawn(body).unwrap()
}

#[test]
fn those_who_are_asleep_are_told_with_what_they_wait_for_where_and_who_has_it() {
    let main = || {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().unwrap();
        let waiter = spawn_named("waiter", {
            let mutex = Arc::clone(&mutex);
            move || drop(mutex.lock())
        });
        let (_sender, receiver) = channel::rendezvous::<()>();
        receiver.recv().unwrap();
        drop(guard);
        waiter.join().unwrap();
    };
    when_asleep(main, |report| {
        let text = report.to_string();
        assert_eq!(report.fibers.len(), 2, "{text}");
        let waiter = named(report, "waiter");
        assert_eq!(waiter.waiting_for, "a mutex");
        assert_eq!(waiter.at.unwrap().file(), file!());
        let holder = waiter.held_by.first().expect("main has it");
        assert_eq!((waiter.held_by.len(), holder.since.file()), (1, file!()));
        assert!(!waiter.is_orphaned, "main may still give it back");
        assert!(text.contains("receiving"), "{text}");
    });
}

#[test]
fn those_whose_lock_went_with_its_holder_are_flagged() {
    let main = || {
        let mutex = Arc::new(Mutex::new(()));
        let permits = Arc::new(Semaphore::new(1));
        let gone = spawn({
            let (mutex, permits) = (Arc::clone(&mutex), Arc::clone(&permits));
            move || {
                mem::forget(mutex.lock().unwrap());
                mem::forget(permits.acquire());
            }
        });
        gone.join().unwrap();
        let waiter = spawn(move || drop(permits.acquire()));
        let _ = mutex.lock();
        waiter.join().unwrap();
    };
    when_asleep(main, |report| {
        let fibers = report.fibers.iter();
        let orphaned = fibers.filter(|fiber| fiber.is_orphaned).count();
        assert_eq!(orphaned, 2, "{report}");
        let text = report.to_string();
        assert!(text.contains("without giving it back"), "{text}");
    });
}

#[test]
fn those_who_are_parked_without_a_handle_left_are_flagged() {
    let main = || {
        spawn_named("lost", park).detach();
        spawn_named("held", park_then_end).join().unwrap();
    };
    fn park_then_end() {
        park();
    }
    when_asleep(main, |report| {
        let (lost, held) = (named(report, "lost"), named(report, "held"));
        assert_eq!((lost.peers, lost.is_orphaned), (Some(0), true), "{report}");
        assert!(held.peers > Some(0) && !held.is_orphaned, "{report}");
        let text = report.to_string();
        assert_eq!(text.matches("no handle is left").count(), 1, "{text}");
        assert_eq!(held.at.unwrap().file(), file!());
    });
}

/// Each end of a channel waits while the same fiber has the only other end.
#[test]
fn those_at_a_channel_are_told_with_where_they_wait_and_how_many_are_on_the_other_side() {
    let main = || {
        let (_sender, receiver) = channel::bounded::<()>(1);
        let receives = spawn_named("receives", move || {
            let _others = [_sender.clone(), _sender];
            receiver.iter().for_each(drop);
        });
        let (sender, _receiver) = channel::rendezvous();
        let sends = spawn_named("sends", move || {
            let _other = _receiver;
            sender.send(()).unwrap();
        });
        let (_promise, promised) = oneshot::channel::<()>();
        let hopes = spawn_named("hopes", move || {
            let _other = _promise;
            promised.recv().unwrap();
        });
        let (_changes, mut watched) = watch::channel(0);
        let watches = spawn_named("watches", move || {
            let _other = _changes;
            watched.changed().unwrap();
        });
        let (_news, mut hears) = broadcast::channel::<u32>(1);
        let listens = spawn_named("listens", move || {
            let _other = _news;
            hears.recv().unwrap();
        });
        let (granted, _grants) = credit::channel::<u32>(1);
        let begs = spawn_named("begs", move || {
            let _other = _grants;
            (0..2).for_each(|number| granted.send(number).unwrap());
        });
        for waits in [receives, sends, hopes, watches, listens, begs] {
            waits.join().unwrap();
        }
    };
    when_asleep(main, |report| {
        for name in ["sends", "hopes", "watches", "listens", "begs", "receives"] {
            let waits = named(report, name);
            let peers = if name == "receives" { 2 } else { 1 };
            assert_eq!(waits.peers, Some(peers), "{name}: {report}");
            assert!(!waits.is_orphaned, "{name}: {report}");
            assert_eq!(waits.at.unwrap().file(), file!(), "{name}: {report}");
        }
        let text = report.to_string();
        assert!(text.contains("which any of 2 handles could end"), "{text}");
        assert_eq!(text.matches("which one handle could end").count(), 5);
    });
}

#[test]
fn when_one_side_of_a_channel_is_gone_nobody_is_left_asleep_on_the_other() {
    in_worlds(300, || {
        let (sender, receiver) = channel::rendezvous::<u32>();
        let (sends, receives) = channel::rendezvous::<u32>();
        let (promise, promised) = oneshot::channel::<u32>();
        let waiters = [
            spawn(move || assert!(receiver.recv().is_err())),
            spawn(move || assert!(sends.send(1).is_err())),
            spawn(move || assert!(promised.recv().is_err())),
        ];
        yield_now();
        drop((sender, receives, promise));
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn who_suspends_where_nothing_may_is_told_what_it_was_and_where_that_began() {
    fn attempts() {
        let attempts: [fn(); 3] = [
            || sleep(core::time::Duration::from_millis(1)),
            yield_now,
            || {
                let (sender, _receiver) = channel::rendezvous();
                let _ = sender.send(());
            },
        ];
        for attempt in attempts {
            let line = line!() + 1;
            let panic = catch_unwind(|| no_suspend(attempt)).unwrap_err();
            let message = panic.message().unwrap();
            let site = format!("{}:{line}", file!());
            assert!(
                message.contains("no_suspend") && message.contains(&site),
                "{message}"
            );
        }
        // What does not have to wait is not refused, and regions end as they began.
        let (sender, receiver) = channel::bounded(1);
        no_suspend(|| no_suspend(|| sender.send(7)).unwrap());
        assert_eq!(no_suspend(|| receiver.recv()), Ok(7));
        yield_now();
    }
    on_linux(1, attempts);
    on_linux(2, attempts);
    in_worlds(10, attempts);
}

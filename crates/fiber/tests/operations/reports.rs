//! What is said about those who wait for ever, and about those who must not wait.

use alloc::sync::Arc;
use core::mem;

use fiber::{
    FiberBuilder, RunError, Runtime, catch_unwind, no_suspend, sleep, spawn,
    sync::{Mutex, Semaphore, channel},
    yield_now,
};
use host_linux::{Config, Linux};

use crate::support::{in_worlds, on_linux};

fn asleep(main: impl FnOnce() + Send) -> fiber::AllAsleep {
    let env = Linux::new(Config::default()).unwrap();
    match Runtime::builder(env).workers(2).closed_world().run(main) {
        Err(RunError::AllAsleep(asleep)) => asleep,
        other => panic!("nobody wakes them: {other:?}"),
    }
}

#[test]
fn those_who_are_asleep_are_told_with_what_they_wait_for_where_and_who_has_it() {
    let report = asleep(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().unwrap();
        let waiter = FiberBuilder::new().name("waiter").spawn({
            let mutex = Arc::clone(&mutex);
            move || drop(mutex.lock())
        });
        let (_sender, receiver) = channel::rendezvous::<()>();
        receiver.recv().unwrap();
        drop(guard);
        waiter.unwrap().join().unwrap();
    });
    let text = report.to_string();
    assert_eq!(report.fibers.len(), 2, "{text}");
    let waiter = report
        .fibers
        .iter()
        .find(|fiber| fiber.name.as_deref() == Some("waiter"));
    let waiter = waiter.expect("it is named");
    assert_eq!(waiter.waiting_for, "a mutex");
    assert_eq!(waiter.at.unwrap().file(), file!());
    let holder = waiter.held_by.first().expect("main has it");
    assert_eq!((waiter.held_by.len(), holder.since.file()), (1, file!()));
    assert!(!waiter.is_orphaned, "main may still give it back");
    assert!(text.contains("receiving"), "{text}");
}

#[test]
fn those_whose_lock_went_with_its_holder_are_flagged() {
    let report = asleep(|| {
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
    });
    let orphaned = report
        .fibers
        .iter()
        .filter(|fiber| fiber.is_orphaned)
        .count();
    assert_eq!(orphaned, 2, "{report}");
    assert!(
        report.to_string().contains("without giving it back"),
        "{report}"
    );
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

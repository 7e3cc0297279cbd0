//! Regions in which nothing may suspend: what is refused there, what is not, and that they end.

use core::time::Duration;
use std::panic::resume_unwind;

use fiber::{
    ExitReason, catch_unwind, checkpoint, current, mask, no_suspend, park, sleep, spawn,
    sync::{Mutex, channel},
    timeout, unmask, yield_now,
};

use crate::support::{Count, WORKERS, in_worlds, on_linux};

const MOMENT: Duration = Duration::from_millis(1);

fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(50, main);
}

/// What the panic of `body` says, and that its region is over.
fn refused(what: &str, body: impl FnOnce()) {
    let panic = catch_unwind(body).unwrap_err();
    let message = panic.message().unwrap_or_default();
    assert!(
        message.contains("no_suspend, from ") && message.contains(file!()),
        "{message}"
    );
    assert!(message.ends_with(what), "{message}");
    yield_now();
}

#[test]
fn whatever_would_wait_is_refused_and_named() {
    everywhere(|| {
        refused(": sleep", || no_suspend(|| sleep(MOMENT)));
        refused(": yield", || no_suspend(yield_now));
        refused(": unpark", || no_suspend(park));
        let sleeper = spawn(park);
        let asleep = sleeper.fiber().clone();
        refused(": join", || {
            no_suspend(|| drop(sleeper.join()));
        });
        asleep.cancel();
        let mutex = Mutex::new(());
        let guard = mutex.lock().unwrap();
        fiber::scope(|scope| {
            let (tell, told) = channel::bounded(1);
            let mutex = &mutex;
            scope.spawn(move || {
                refused(": a mutex", || no_suspend(|| drop(mutex.lock())));
                tell.send(()).unwrap();
            });
            told.recv().unwrap();
            drop(guard);
        });
        let (_sender, receiver) = channel::bounded::<()>(1);
        refused(": receiving", || no_suspend(|| receiver.recv()).unwrap());
    });
}

#[test]
fn masks_neither_open_a_region_nor_close_it() {
    everywhere(|| {
        refused(": sleep", || mask(|| no_suspend(|| sleep(MOMENT))));
        refused(": sleep", || no_suspend(|| mask(|| sleep(MOMENT))));
        refused(": sleep", || {
            no_suspend(|| drop(unmask(|| sleep(MOMENT))));
        });
        refused(": sleep", || {
            no_suspend(|| timeout(MOMENT, || sleep(MOMENT))).unwrap();
        });
        mask(|| no_suspend(checkpoint));
        no_suspend(|| mask(checkpoint));
    });
}

#[test]
fn an_inner_region_that_ends_leaves_the_outer_one_closed() {
    everywhere(|| {
        refused(": sleep", || {
            no_suspend(|| {
                no_suspend(|| ());
                sleep(MOMENT);
            });
        });
        refused(": sleep", || {
            no_suspend(|| {
                let inner = catch_unwind(|| no_suspend(|| resume_unwind(Box::new(7))));
                let inner: Result<(), _> = inner;
                inner.unwrap_err();
                sleep(MOMENT);
            });
        });
    });
}

#[test]
fn a_cancel_unwinds_at_a_checkpoint_of_a_region_unless_that_is_masked() {
    everywhere(|| {
        let steps = Count::default();
        let seen = steps.clone();
        let fiber = spawn(move || {
            current().unwrap().cancel();
            no_suspend(|| mask(checkpoint));
            mask(|| no_suspend(checkpoint));
            seen.add();
            no_suspend(checkpoint);
            seen.add();
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(steps.get(), 1);
        let seen = steps.clone();
        let fiber = spawn(move || {
            current().unwrap().kill("masks do not help");
            mask(|| no_suspend(|| mask(checkpoint)));
            seen.add();
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Killed(_))));
        assert_eq!(steps.get(), 1);
        // Their worker lets others wait as before.
        sleep(MOMENT);
    });
}

#[test]
fn the_region_of_a_fiber_that_ends_in_it_ends_with_it() {
    everywhere(|| {
        for _ in 0..3 {
            let fiber = spawn(|| no_suspend(|| resume_unwind(Box::new("in the region"))));
            let fiber: fiber::JoinHandle<()> = fiber;
            assert!(matches!(fiber.join(), Err(ExitReason::Panicked(_))));
            let others = [0; 4].map(|_| spawn(|| sleep(MOMENT)));
            for other in others {
                other.join().unwrap();
            }
        }
    });
}

#[test]
fn plain_threads_have_no_such_regions() {
    no_suspend(std::thread::yield_now);
    let (sender, receiver) = channel::bounded(1);
    sender.send(7).unwrap();
    assert_eq!(no_suspend(|| receiver.recv()), Ok(7));
}

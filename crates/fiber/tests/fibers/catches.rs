//! Catching panics: a cancel comes through, or comes back.

use alloc::sync::Arc;
use core::time::Duration;
use std::panic;

use fiber::{
    ExitReason, catch_unwind, checkpoint, current, park, sleep, spawn, sync::Mutex, timeout,
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
fn a_loop_that_catches_everything_is_unwound_at_each_of_its_points() {
    everywhere(|| {
        let caught = Count::default();
        let seen = caught.clone();
        let fiber = spawn(move || {
            // It would run for ever if catching a cancel ended it.
            while seen.get() < 100 {
                if panic::catch_unwind(park).is_err() {
                    seen.add();
                }
            }
            yield_now();
            seen.add();
        });
        fiber.cancel();
        yield_now();
        fiber.fiber().unpark();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert!([0, 100].contains(&caught.get()), "{}", caught.get());
    });
}

#[test]
fn one_that_was_running_when_it_was_cancelled_is_unwound_at_each_point() {
    everywhere(|| {
        let caught = Count::default();
        let seen = caught.clone();
        let fiber = spawn(move || {
            current().unwrap().cancel();
            for _ in 0..100 {
                assert!(panic::catch_unwind(park).is_err());
                seen.add();
            }
            yield_now();
            seen.add();
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(caught.get(), 100);
    });
}

#[test]
fn our_catch_gives_panics_and_lets_a_cancel_through() {
    on_linux(2, || {
        let after = Count::default();
        let seen = after.clone();
        let fiber = spawn(move || {
            let payload = catch_unwind(|| panic!("as {}", "planned")).unwrap_err();
            assert_eq!(payload.message(), Some("as planned"));
            assert_eq!(catch_unwind(|| 5).unwrap(), 5);
            seen.add();
            let _ = catch_unwind(|| {
                current().unwrap().cancel();
                park();
            });
            seen.add();
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(after.get(), 1);
    });
}

#[test]
fn our_catch_is_a_point() {
    everywhere(|| {
        let inside = Count::default();
        let seen = inside.clone();
        let fiber = spawn(move || {
            current().unwrap().cancel();
            let _ = catch_unwind(|| seen.add());
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(inside.get(), 0);
    });
}

#[test]
fn our_catch_lets_a_timeout_through_to_where_it_was_set() {
    everywhere(|| {
        let late = timeout(Duration::from_millis(1), || {
            let _ = catch_unwind(|| sleep(Duration::MAX));
            unreachable!("the timeout was swallowed");
        });
        assert!(late.is_err());
    });
}

#[test]
fn a_panic_ends_its_fiber_alone() {
    on_linux(2, || {
        let fine = spawn(|| {
            yield_now();
            1
        });
        let panics = spawn(|| panic!("as planned"));
        assert!(matches!(panics.join(), Err(ExitReason::Panicked(_))));
        assert_eq!(fine.join().unwrap(), 1);
    });
}

#[test]
fn a_cancel_that_was_caught_before_does_not_make_a_panic_of_the_next_one() {
    everywhere(|| {
        let lock = Arc::new(Mutex::new(()));
        let locked = Arc::clone(&lock);
        let fiber = spawn(move || {
            let _guard = locked.lock().unwrap();
            current().unwrap().cancel();
            let _caught = panic::catch_unwind(checkpoint);
            checkpoint();
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert!(lock.lock().is_ok(), "a cancel does not poison");
    });
}

//! Doing and making something once, while others wait, panic and are cancelled.

use alloc::sync::Arc;
use core::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use std::panic::catch_unwind;

use fiber::{
    ExitReason, park, sleep, spawn,
    sync::{LazyLock, Once, OnceLock},
    yield_now,
};

use crate::support::on_both;

#[test]
fn what_is_made_while_others_wait_is_made_once() {
    on_both(|| {
        let shared = Arc::new((OnceLock::new(), AtomicUsize::new(0)));
        let fibers: Vec<_> = (0..5)
            .map(|_| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    *shared.0.get_or_init(|| {
                        yield_now();
                        shared.1.fetch_add(1, Ordering::SeqCst)
                    })
                })
            })
            .collect();
        assert_eq!(*shared.0.wait(), 0);
        for fiber in fibers {
            assert_eq!(fiber.join().unwrap(), 0);
        }
        assert_eq!(shared.1.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_function_that_is_cancelled_runs_anew_for_the_next_caller() {
    on_both(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let lazy = Arc::new(LazyLock::new(move || {
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                park();
            }
            5
        }));
        let other = Arc::clone(&lazy);
        let first = spawn(move || **other);
        while runs.load(Ordering::SeqCst) == 0 {
            yield_now();
        }
        let other = Arc::clone(&lazy);
        let second = spawn(move || **other);
        yield_now();
        first.cancel();
        assert!(matches!(first.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(second.join().unwrap(), 5);
        assert_eq!((**lazy, runs.load(Ordering::SeqCst)), (5, 2));
    });
}

/// What a function has in it is dropped when the function has made its value, and may wait then.
#[test]
fn a_cancel_in_the_destructor_of_a_function_does_not_lose_what_it_has_made() {
    struct Waits(Arc<AtomicBool>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            sleep(Duration::from_secs(3600));
        }
    }
    on_both(|| {
        let dropping = Arc::new(AtomicBool::new(false));
        let waits = Waits(Arc::clone(&dropping));
        let lazy = Arc::new(LazyLock::new(move || {
            let _has_it = &waits;
            5
        }));
        let other = Arc::clone(&lazy);
        let first = spawn(move || **other);
        while !dropping.load(Ordering::SeqCst) {
            yield_now();
        }
        first.cancel();
        assert!(matches!(first.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(**lazy, 5);
    });
}

#[test]
fn a_function_that_panics_leaves_a_once_poisoned_until_it_is_forced() {
    on_both(|| {
        let once = Arc::new(Once::new());
        let other = Arc::clone(&once);
        let panicked = spawn(move || other.call_once(|| panic!("half done")));
        assert!(matches!(panicked.join(), Err(ExitReason::Panicked(_))));
        let refused = catch_unwind(AssertUnwindSafe(|| once.call_once(|| {})));
        assert!(refused.is_err() && !once.is_completed());
        once.call_once_force(|state| assert!(state.is_poisoned()));
        assert!(once.is_completed());
        once.call_once(|| panic!("it is done"));
    });
}

#[test]
fn a_call_from_inside_panics_with_a_report() {
    on_both(|| {
        let once = Arc::new(OnceLock::new());
        let inside = Arc::clone(&once);
        let caller = spawn(move || *once.get_or_init(|| *inside.get_or_init(|| 5)));
        let Err(ExitReason::Panicked(payload)) = caller.join() else {
            panic!("it has made itself");
        };
        let message = payload.message().unwrap();
        assert!(message.contains("waits for a once"), "{message}");
    });
}

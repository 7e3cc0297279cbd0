//! Cancelling whomever, whenever.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use fiber::{
    ExitReason, Reason, cancel_reason, checkpoint, current, io::TcpListener, is_cancelled, park,
    scope, spawn, spawn_any, sync::channel, yield_now,
};

use crate::support::{Count, WORKERS, in_turn, in_worlds, on_linux};

fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(200, main);
}

fn reason<T>(ended: Result<T, ExitReason>) -> Reason {
    match ended {
        Err(ExitReason::Cancelled(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not cancelled"),
    }
}

#[test]
fn who_cancels_itself_goes_on_to_its_next_point() {
    everywhere(|| {
        let steps = Count::default();
        let seen = steps.clone();
        let fiber = spawn(move || {
            current().unwrap().cancel();
            seen.add();
            yield_now();
            seen.add();
        });
        reason(fiber.join());
        assert_eq!(steps.get(), 1);
    });
}

#[test]
fn a_detached_fiber_that_cancels_itself_ends_at_its_next_point() {
    everywhere(|| {
        let steps = Count::default();
        let seen = steps.clone();
        let (go, wait) = channel::bounded(1);
        let (ended, end) = channel::bounded::<()>(1);
        let fiber = spawn(move || {
            let _ended = ended;
            wait.recv().unwrap();
            current().unwrap().cancel();
            seen.add();
            yield_now();
            seen.add();
        });
        fiber.detach();
        go.send(()).unwrap();
        assert!(end.recv().is_err());
        assert_eq!(steps.get(), 1);
    });
}

#[test]
fn who_is_cancelled_before_the_first_run_never_runs() {
    in_turn(never_runs);
    in_worlds(500, || {
        // Another worker may have taken it already: then it runs to its first point.
        let fiber = spawn(park);
        fiber.cancel();
        reason(fiber.join());
    });
}

fn never_runs() {
    let ran = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ran);
    let fiber = spawn(move || seen.store(true, Ordering::Relaxed));
    fiber.cancel();
    reason(fiber.join());
    assert!(!ran.load(Ordering::Relaxed));
    assert_eq!(Arc::strong_count(&ran), 1, "its closure was dropped");
}

#[test]
fn joining_gives_the_cancel_whether_the_fiber_has_met_it_yet_or_not() {
    everywhere(|| {
        let (early, late) = (spawn(park), spawn(park));
        yield_now();
        early.cancel();
        reason(early.join());
        late.cancel();
        while !late.is_finished() {
            yield_now();
        }
        reason(late.join());
    });
}

#[test]
fn cancelling_is_legal_twice_after_the_end_and_without_a_handle() {
    everywhere(|| {
        let twice = spawn(park);
        twice.cancel();
        twice.cancel();
        let again = twice.fiber().clone();
        reason(twice.join());
        again.cancel();

        let value = spawn(|| 1);
        while !value.is_finished() {
            yield_now();
        }
        value.cancel();
        assert_eq!(value.join().unwrap(), 1, "what it returned is kept");

        let detached = spawn(park);
        let fiber = detached.fiber().clone();
        detached.detach();
        fiber.cancel();
        while !fiber.is_finished() {
            yield_now();
        }
    });
}

#[test]
fn cancelling_a_fiber_that_has_panicked_does_not_hide_the_panic() {
    on_linux(2, || {
        let fiber = spawn(|| panic!("as planned"));
        while !fiber.is_finished() {
            yield_now();
        }
        fiber.cancel();
        let Err(ExitReason::Panicked(payload)) = fiber.join() else {
            panic!("the panic is gone");
        };
        let any: &dyn core::any::Any = &*payload.into_inner();
        assert_eq!(any.downcast_ref::<&str>(), Some(&"as planned"));
    });
}

#[test]
fn the_first_reason_travels_with_who_asked() {
    everywhere(|| {
        let fiber = spawn_any(|| {
            while !is_cancelled() {
                yield_now_masked();
            }
            let reason = cancel_reason().unwrap();
            assert_eq!(reason.message(), Some("the first"));
            checkpoint();
        });
        fiber.cancel_with("the first");
        fiber.cancel_with(format!("the {}", "second"));
        fiber.cancel();
        assert_eq!(
            fiber.fiber().cancel_reason().unwrap().message(),
            Some("the first")
        );
        let reason = reason(fiber.join());
        assert_eq!(reason.message(), Some("the first"));
        assert_eq!(reason.by(), current().unwrap().id());
        assert_eq!(cancel_reason(), None, "the caller was not asked");
    });
}

fn yield_now_masked() {
    fiber::mask(yield_now);
}

#[test]
fn what_is_left_at_the_end_of_the_run_learns_why_it_is_cancelled() {
    let env = host_linux::Linux::new(host_linux::Config::default()).unwrap();
    let why = Arc::new(std::sync::Mutex::new(None));
    let seen = Arc::clone(&why);
    let main = move || {
        spawn(move || {
            let left = fiber::unmask(park).unwrap_err();
            *seen.lock().unwrap() = Some(left.reason);
        })
        .detach();
        yield_now();
    };
    fiber::Runtime::builder(env).workers(1).run(main).unwrap();
    let why = why.lock().unwrap().take().unwrap();
    assert!(why.message().unwrap().contains("main fiber"), "{why}");
}

fn is_handed_a_value() -> usize {
    let (sender, receiver) = channel::bounded(1);
    let got = Count::default();
    let seen = got.clone();
    let fiber = spawn(move || {
        while let Ok(()) = receiver.recv() {
            seen.add();
        }
    });
    yield_now();
    sender.send(()).unwrap();
    fiber.cancel();
    reason(fiber.join());
    got.get()
}

#[test]
fn a_value_that_was_handed_over_is_received_and_the_cancel_meets_the_next_point() {
    // It waits when the value comes: on one worker it had its turn.
    in_turn(|| assert_eq!(is_handed_a_value(), 1));
    in_worlds(1000, || assert!(is_handed_a_value() <= 1));
}

#[test]
fn a_fiber_that_waits_for_connections_is_cancelled() {
    for workers in WORKERS {
        on_linux(workers, || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let acceptor = spawn(move || {
                loop {
                    listener.accept().unwrap();
                }
            });
            for _ in 0..5 {
                yield_now();
            }
            acceptor.cancel_with("no more guests");
            assert_eq!(reason(acceptor.join()).message(), Some("no more guests"));
        });
    }
}

#[test]
fn a_scope_ends_whose_fibers_are_cancelled_as_soon_as_they_are_spawned() {
    everywhere(|| {
        let ended = scope(|scope| {
            let child = scope.spawn(park);
            child.cancel();
            child.join()
        });
        reason(ended);
    });
}

#[test]
fn neither_cancelling_nor_an_empty_scope_is_a_point() {
    everywhere(|| {
        let steps = Count::default();
        let seen = steps.clone();
        let fiber = spawn(move || {
            current().unwrap().cancel();
            seen.add();
            scope(|_| ());
            seen.add();
            checkpoint();
            seen.add();
        });
        reason(fiber.join());
        assert_eq!(steps.get(), 2);
    });
}

#[test]
fn a_scope_that_was_not_cancelled_swallows_no_cancel() {
    everywhere(|| {
        let after = Count::default();
        let seen = after.clone();
        let fiber = spawn(move || {
            scope(|scope| {
                scope.spawn(|| ()).join().unwrap();
                park();
            });
            seen.add();
        });
        yield_now();
        fiber.cancel();
        reason(fiber.join());
        assert_eq!(
            after.get(),
            0,
            "it has left the scope as if nothing had been"
        );
    });
}

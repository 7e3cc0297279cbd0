//! Waiting in a destructor while a fiber unwinds, on a host that cannot set that aside: it works,
//! the others of the worker look as if they unwound, too, and no cancel of theirs is lost.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use core::time::Duration;
use std::{panic::resume_unwind, thread::panicking};

use fiber_core::{env::Env, fiber::ExitReason, script::ScriptEnv};
use fiber_sched::{JoinHandle, Runtime, checkpoint, current, park, sleep, spawn, yield_now};

const SECOND: Duration = Duration::from_secs(1);

fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    let env = ScriptEnv::new();
    assert!(!env.caps().aside, "this is about hosts that cannot");
    let run = Runtime::builder(env).workers(1).closed_world().run(main);
    assert!(!panicking(), "every unwinding is over");
    run.unwrap()
}

/// Does something as it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A fiber that panics and does `body` meanwhile.
fn unwinds(body: impl FnMut() + Send + 'static) -> JoinHandle<()> {
    spawn(move || {
        let _on_drop = OnDrop(body);
        resume_unwind(Box::new("as planned"));
    })
}

fn assert_cancelled(fiber: JoinHandle<()>) {
    assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
}

#[test]
fn a_destructor_waits_and_goes_on() {
    run(|| {
        let fiber = unwinds(|| {
            yield_now();
            sleep(SECOND);
        });
        sleep(SECOND / 2);
        assert!(panicking(), "it cannot be set aside here");
        assert!(matches!(fiber.join(), Err(ExitReason::Panicked(_))));
        assert!(!panicking());
    });
}

#[test]
fn a_cancel_at_a_checkpoint_comes_when_the_other_one_is_done() {
    run(|| {
        let fiber = unwinds(|| sleep(SECOND));
        yield_now();
        let cancelled = spawn(|| {
            current().unwrap().cancel();
            checkpoint();
            // Put off, and not lost: it is woken when it can be unwound.
            park();
            park();
        });
        assert_cancelled(cancelled);
        assert!(fiber.join().is_err());
    });
}

#[test]
fn one_that_waits_can_be_cancelled_and_joined_by_the_destructor() {
    run(|| {
        let waits = spawn(park);
        yield_now();
        let mut waits = Some(waits);
        let fiber = unwinds(move || {
            let waits = waits.take().unwrap();
            waits.cancel();
            assert_cancelled(waits);
        });
        assert!(matches!(fiber.join(), Err(ExitReason::Panicked(_))));
    });
}

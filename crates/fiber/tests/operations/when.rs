//! Fibers that wait before they start, without a stack.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use fiber::{
    ExitReason, FiberBuilder, RunError, Runtime, WorkerId,
    operation::{Latch, Operation, always, never, timeout, with_nack},
    sleep, spawn_when,
    sync::{Mutex, Semaphore, channel},
    time, yield_now,
};
use host_linux::{Config, Linux};

use crate::support::{Count, in_worlds, on_both, on_linux};

const MS: Duration = Duration::from_millis(1);

/// A latch that lives as long as the test.
fn latch() -> &'static Latch {
    Box::leak(Box::new(Latch::new()))
}

fn stacks_in_use() -> usize {
    Runtime::current().unwrap().stats().stacks.in_use()
}

#[test]
fn it_runs_with_what_its_operation_gave_once_that_has_committed() {
    on_both(|| {
        let ready = spawn_when(always(7), |n| n + 1);
        assert_eq!(ready.join().unwrap(), 8);
        let door = latch();
        let waits = spawn_when(door.wait_operation("a door").wrap(|()| 5), |n| n * 2);
        yield_now();
        assert!(!waits.is_finished());
        door.open();
        assert_eq!(waits.join().unwrap(), 10);
    });
}

#[test]
fn it_holds_no_stack_while_it_waits() {
    on_linux(2, || {
        let door = latch();
        let (before, ran) = (stacks_in_use(), Count::default());
        let waiting: Vec<_> = (0..10_000)
            .map(|_| {
                let ran = ran.clone();
                spawn_when(door.wait_operation("a door"), move |()| ran.add())
            })
            .collect();
        sleep(MS * 10);
        assert!(stacks_in_use() <= before, "{}", stacks_in_use());
        assert_eq!(Runtime::current().unwrap().stats().live, 10_001);
        door.open();
        for fiber in waiting {
            fiber.join().unwrap();
        }
        assert_eq!(ran.get(), 10_000);
    });
}

#[test]
fn it_waits_for_moments_exactly() {
    in_worlds(1000, || {
        let start = time::now();
        let fibers: Vec<_> = (1..20_u32)
            .map(|n| spawn_when(timeout(MS * n), move |()| (n, time::now())))
            .collect();
        for fiber in fibers {
            let (n, at) = fiber.join().unwrap();
            assert!(at.saturating_since(start) >= MS * n);
        }
    });
}

#[test]
fn cancelled_while_it_waits_it_ends_without_running_and_takes_nothing_along() {
    on_both(|| {
        let permits: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
        let dropped = Count::default();
        struct Dropped(Count);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.add();
            }
        }
        // Where they wait on several workers, each comes to its guard at a moment of its own.
        let nacks = Arc::new([0; 4].map(|_| Mutex::new(None)));
        let fibers: Vec<_> = (0..4)
            .map(|number| {
                let (guarded, nacks) = (Dropped(dropped.clone()), Arc::clone(&nacks));
                let operation = with_nack(move |not_chosen| {
                    *nacks[number].lock().unwrap() = Some(not_chosen);
                    permits.acquire_operation(1)
                });
                spawn_when(operation, move |permit| {
                    permit.forget();
                    drop(guarded);
                })
            })
            .collect();
        yield_now();
        for fiber in &fibers[..2] {
            fiber.cancel();
        }
        permits.add_permits(2);
        let ended: Vec<_> = fibers.into_iter().map(|fiber| fiber.join()).collect();
        assert!(
            ended[..2]
                .iter()
                .all(|end| matches!(end, Err(ExitReason::Cancelled { .. })))
        );
        assert!(ended[2..].iter().all(Result::is_ok));
        assert_eq!(dropped.get(), 4);
        assert_eq!(permits.available_permits(), 0);
        for nack in &nacks[2..] {
            let nack = nack.lock().unwrap().take().unwrap();
            assert!(!nack.is_ready(), "they were chosen");
        }
    });
}

#[test]
fn permits_that_reach_it_as_it_is_cancelled_go_back() {
    on_both(|| {
        let permits: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
        let fiber = spawn_when(permits.acquire_operation(1), drop);
        yield_now();
        permits.add_permits(1);
        fiber.cancel();
        let _ = fiber.join();
        assert_eq!(permits.available_permits(), 1);
    });
}

#[test]
fn it_takes_what_it_waits_on_along() {
    on_both(|| {
        let (sender, receiver) = channel::rendezvous();
        let first = spawn_when(receiver.clone().into_recv_operation(), |value| {
            value.unwrap()
        });
        let second = spawn_when(receiver.into_recv_operation(), |value| value.unwrap());
        sender.send(1).unwrap();
        let third = spawn_when(sender.into_send_operation(2), |sent| sent.is_ok());
        assert_eq!(first.join().unwrap() + second.join().unwrap(), 3);
        assert!(third.join().unwrap());
    });
}

#[test]
fn it_is_cancelled_with_the_rest_when_main_returns() {
    let env = Linux::new(Config::default()).unwrap();
    let door = latch();
    let handle = Runtime::builder(env)
        .workers(2)
        .run(|| {
            let handles: Vec<_> = (0..100)
                .map(|_| spawn_when(door.wait_operation("a door"), drop))
                .collect();
            yield_now();
            handles
        })
        .unwrap();
    for fiber in handle {
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled { .. })));
    }
}

#[test]
fn it_lives_where_its_builder_says() {
    on_linux(2, || {
        for worker in [WorkerId(0), WorkerId(1)] {
            let fiber = FiberBuilder::new()
                .worker(worker)
                .name("waits")
                .spawn_when(timeout(MS), move |()| {
                    let glance = fiber::current().unwrap();
                    glance.name().map(str::len)
                })
                .unwrap();
            assert_eq!(fiber.join().unwrap(), Some(5));
        }
        let missing = FiberBuilder::new().worker(WorkerId(9));
        assert!(missing.spawn_when(always(()), drop).is_err());
    });
}

#[test]
fn it_is_named_among_those_that_are_asleep() {
    let env = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(env).closed_world().run(|| {
        let waits = FiberBuilder::new()
            .name("unstarted")
            .spawn_when(never(), |()| ());
        waits.unwrap().join().unwrap();
    });
    let Err(RunError::AllAsleep(asleep)) = run else {
        panic!("it never is: {run:?}");
    };
    let names: Vec<_> = asleep
        .fibers
        .iter()
        .map(|fiber| fiber.name.as_deref())
        .collect();
    assert!(names.contains(&Some("unstarted")), "{asleep}");
}

#[test]
fn a_panic_in_what_it_makes_of_the_value_is_the_fiber_s() {
    on_both(|| {
        let fiber = spawn_when(always(1).wrap(|_| -> u32 { panic!("in the wrap") }), |n| n);
        let ended = fiber.join();
        assert!(matches!(ended, Err(ExitReason::Panicked(_))), "{ended:?}");
    });
}

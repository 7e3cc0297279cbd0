//! `JoinSet`.

use core::time::Duration;
use std::thread;

use fiber::{
    ExitReason, FiberBuilder, JoinSet, Runtime, choose, core::operation::Latch, park, sleep, spawn,
    spawn_local, time, yield_now,
};
use host_sim::Sim;

use crate::{
    support::{on_both, on_linux},
    world::{fail, simulated},
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn results_come_in_the_order_in_which_fibers_end() {
    simulated(Sim::new(0), 2, || {
        let mut set = JoinSet::new();
        for seconds in [3, 1, 2] {
            set.spawn(move || {
                sleep(seconds * SECOND);
                seconds
            });
        }
        assert!(set.try_join_next().is_err());
        assert!(set.join_next_timeout(SECOND / 2).is_err());
        let mut order = Vec::new();
        while let Some(result) = set.join_next() {
            order.push(result.unwrap());
        }
        assert_eq!(order, [1, 2, 3]);
        assert!(matches!(set.try_join_next(), Ok(None)));
        for seconds in [3, 1, 2] {
            set.spawn(move || {
                sleep(seconds * SECOND);
                seconds
            });
        }
        sleep(4 * SECOND);
        order.clear();
        while let Ok(Some(result)) = set.try_join_next() {
            order.push(result.unwrap());
        }
        assert_eq!(order, [1, 2, 3], "also when all of them have ended before");
        assert_eq!((set.len(), set.is_empty()), (0, true));
    });
}

#[test]
fn every_result_comes_once_whatever_has_become_of_the_fiber() {
    on_both(|| {
        let mut set = JoinSet::new();
        for index in 0..20 {
            let body = move || match index % 4 {
                0 => index,
                1 => {
                    yield_now();
                    index
                }
                2 => fail("as planned"),
                _ => {
                    park();
                    index
                }
            };
            let fiber = FiberBuilder::new()
                .name("member")
                .spawn_in(&mut set, body)
                .unwrap();
            if index % 4 == 3 {
                fiber.cancel();
            }
        }
        let (mut values, mut panics, mut cancels) = (0, 0, 0);
        while let Some(result) = set.join_next() {
            match result {
                Ok(_) => values += 1,
                Err(ExitReason::Panicked(_)) => panics += 1,
                Err(ExitReason::Cancelled(_)) => cancels += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((values, panics, cancels), (10, 5, 5));
    });
}

#[test]
fn a_set_can_be_cancelled_and_cancels_its_fibers_when_it_is_dropped() {
    on_both(|| {
        let mut set = JoinSet::new();
        (0..3).for_each(|_| drop(set.spawn(park)));
        set.cancel_all();
        assert_eq!(set.len(), 3);
        while let Some(result) = set.join_next() {
            assert!(matches!(result, Err(ExitReason::Cancelled(_))));
        }
        let fiber = set.spawn(park);
        drop(set);
        while !fiber.is_finished() {
            yield_now();
        }
    });
}

#[test]
fn a_caller_that_is_cancelled_takes_no_result() {
    on_both(|| {
        let mut set = JoinSet::new();
        let member = set.spawn(park);
        let waiter = spawn(move || {
            let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                set.join_next();
            }));
            assert!(caught.is_err());
            (set, caught)
        });
        yield_now();
        waiter.cancel();
        let Ok((mut set, _)) = waiter.join() else {
            // It was cancelled before it began.
            return;
        };
        assert_eq!(set.len(), 1);
        member.unpark();
        assert!(set.join_next().unwrap().is_ok());
    });
}

#[test]
fn the_end_of_a_member_is_one_arm_of_a_choice() {
    on_both(|| {
        let mut set = JoinSet::new();
        set.spawn(|| {
            yield_now();
            7
        });
        let never = Latch::new();
        let chosen = choose! {
            next = set.join_next_operation() => next,
            () = never.wait_operation("never") => None,
        };
        assert_eq!(chosen.unwrap().unwrap(), 7);
        let member = set.spawn(|| {
            park();
            8
        });
        let other = Latch::new();
        other.open();
        let chosen = choose! {
            next = set.join_next_operation() => next,
            () = other.wait_operation("other") => None,
        };
        assert!(chosen.is_none());
        member.unpark();
        assert_eq!(
            set.join_next().unwrap().unwrap(),
            8,
            "losing a choice loses no result"
        );
    });
}

#[test]
fn a_plain_thread_waits_for_a_set_as_a_fiber_does() {
    on_linux(2, || {
        let runtime = Runtime::current().unwrap();
        let mut set = JoinSet::new();
        for _ in 0..100 {
            set.spawn(yield_now);
        }
        let thread = thread::spawn(move || {
            assert!(FiberBuilder::new().spawn_in(&mut set, || ()).is_err());
            let mut ended = 0;
            while let Some(result) = set.join_next() {
                result.unwrap();
                ended += 1;
            }
            drop(runtime);
            ended
        });
        while !thread.is_finished() {
            yield_now();
        }
        assert_eq!(thread.join().unwrap(), 100);
    });
}

#[test]
fn sets_of_sleepers_take_no_longer_than_the_longest() {
    simulated(Sim::new(1), 4, || {
        let begun = time::now();
        let mut set = JoinSet::new();
        for index in 0..1000 {
            set.spawn(move || sleep(Duration::from_millis(index % 10)));
        }
        let idle = spawn_local(|| ());
        while let Some(result) = set.join_next() {
            result.unwrap();
        }
        idle.join().unwrap();
        assert_eq!(
            time::now().saturating_since(begun),
            Duration::from_millis(9)
        );
    });
}

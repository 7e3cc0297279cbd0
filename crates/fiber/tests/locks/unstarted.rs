//! Circles that lead through fibers which wait before they start.

use alloc::vec::Vec;
use core::time::Duration;

use fiber::{
    ExitReason, FiberBuilder, JoinHandle,
    core::operation::{Deadlock, Latch},
    operation::{Either, Operation, timeout},
    sleep, spawn, spawn_when,
    sync::{LockError, LockResult, Mutex, MutexGuard, channel::oneshot},
    yield_now,
};

use crate::support::{on_both, on_one};

const MS: Duration = Duration::from_millis(1);

/// Lives as long as the test, so that an operation may go with a fiber.
fn keep<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

type Locked = LockResult<MutexGuard<'static, u32>>;

/// Whether the one that wanted the lock was told of a circle.
fn is_told(locked: Locked) -> bool {
    matches!(locked, Err(LockError::Deadlock(_)))
}

fn report<T>(ended: Result<T, ExitReason>) -> Option<Deadlock> {
    match ended {
        Ok(_) => None,
        Err(ExitReason::Deadlock(deadlock)) => Some(deadlock),
        Err(other) => panic!("nothing else goes wrong: {other}"),
    }
}

/// Lets all others come to where they wait.
fn settle() {
    (0..20).for_each(|_| yield_now());
}

/// Two fibers that wait for each other's end, of which one has not started; gives what each was
/// told, that one's last. `before` runs before the started one joins.
fn two_that_join_each_other(before: fn()) -> (Option<Deadlock>, Option<Deadlock>) {
    let (give, take) = oneshot::channel::<JoinHandle<()>>();
    let (tell, told) = oneshot::channel();
    let started = FiberBuilder::new().name("started").spawn(move || {
        let unstarted = take.recv().unwrap();
        before();
        report(unstarted.join())
    });
    let started = keep(started.unwrap());
    let named = FiberBuilder::new().name("unstarted");
    let unstarted = named.spawn_when(started.join_operation(), |ended| {
        let told = match ended {
            Ok(started) => (started, None),
            Err(reason) => (None, report::<()>(Err(reason))),
        };
        tell.send(told).unwrap();
    });
    give.send(unstarted.unwrap()).unwrap();
    told.recv().unwrap()
}

fn check_both_named(deadlock: &Deadlock) {
    let text = deadlock.to_string();
    assert_eq!(deadlock.links().len(), 2, "{text}");
    for name in ["'started'", "'unstarted'"] {
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(text.matches("unstarted.rs").count(), 4, "{text}");
}

/// Whichever of the two came last.
fn check_one_is_told(told: (Option<Deadlock>, Option<Deadlock>)) {
    match told {
        (Some(deadlock), None) | (None, Some(deadlock)) => check_both_named(&deadlock),
        other => panic!("one of them closes the circle: {other:?}"),
    }
}

#[test]
fn who_joins_one_that_waits_for_it_before_it_starts_is_told() {
    on_one(|| {
        let (started, unstarted) = two_that_join_each_other(settle);
        check_both_named(&started.expect("it came last"));
        assert!(unstarted.is_none());
    });
    on_both(|| check_one_is_told(two_that_join_each_other(settle)));
}

#[test]
fn one_that_would_wait_for_itself_before_it_starts_starts_and_is_told() {
    on_one(|| {
        let (started, unstarted) = two_that_join_each_other(|| {});
        assert!(started.is_none());
        check_both_named(&unstarted.expect("it came last"));
    });
    on_both(|| check_one_is_told(two_that_join_each_other(|| {})));
}

#[test]
fn who_holds_the_lock_and_joins_one_that_waits_for_it_is_told() {
    on_both(|| {
        let mutex = keep(Mutex::new(0));
        let held = mutex.lock().unwrap();
        let wants = spawn_when(mutex.lock_operation(), is_told);
        match wants.join() {
            Ok(told) => assert!(told, "it cannot have the lock"),
            Err(reason) => drop(report::<()>(Err(reason)).expect("it is a circle")),
        }
        drop(held);
        assert!(mutex.lock().is_ok(), "what was refused has left a node");
    });
}

/// A lock, a lock, and a join: of three fibers one has not started.
#[test]
fn a_longer_circle_of_locks_and_joins_is_told_to_one_of_it() {
    on_both(|| {
        let locks: &'static [Mutex<u32>; 2] = keep([0, 1].map(Mutex::new));
        let ready = &*keep([Latch::new(), Latch::new()]);
        let wants_second = spawn(|| {
            let _first = locks[0].lock().unwrap();
            ready[0].open();
            ready[1].wait_operation("the other").perform();
            is_told(locks[1].lock())
        });
        let joins = spawn(|| {
            let _second = locks[1].lock().unwrap();
            ready[1].open();
            ready[0].wait_operation("the other").perform();
            let unstarted = spawn_when(locks[0].lock_operation(), is_told);
            match unstarted.join() {
                Ok(told) => u32::from(told),
                Err(reason) => u32::from(report::<()>(Err(reason)).is_some()),
            }
        });
        let told = u32::from(wants_second.join().unwrap()) + joins.join().unwrap();
        assert_eq!(told, 1);
    });
}

#[test]
fn one_with_another_way_out_is_in_no_circle() {
    on_both(|| {
        let mutex = keep(Mutex::new(0));
        let door = &*keep(Latch::new());
        let held = mutex.lock().unwrap();
        let opens = spawn(|| {
            sleep(MS);
            door.open();
        });
        let either = mutex.lock_operation().or(door.wait_operation("a door"));
        let choice = spawn_when(either, |chosen| matches!(chosen, Either::Second(())));
        assert!(choice.join().unwrap(), "the door was opened");
        let late = mutex.lock_operation().or(timeout(MS));
        let limited = spawn_when(late, |chosen| matches!(chosen, Either::Second(())));
        assert!(limited.join().unwrap(), "the time was over");
        drop(held);
        opens.join().unwrap();
    });
}

#[test]
fn one_that_was_cancelled_before_it_started_is_in_no_circle() {
    on_both(|| {
        let mutex = &*keep(Mutex::new(0));
        let held = mutex.lock().unwrap();
        let waiting: Vec<_> = (0..100)
            .map(|_| spawn_when(mutex.lock_operation(), is_told))
            .collect();
        settle();
        for waits in waiting {
            waits.cancel();
            assert!(matches!(waits.join(), Err(ExitReason::Cancelled(_))));
        }
        drop(held);
        // Their blocks are free, and whoever looks for a circle does not come upon them.
        let (tell, told) = oneshot::channel();
        let holds = spawn(move || {
            let _held = mutex.lock().unwrap();
            tell.send(()).unwrap();
            sleep(MS);
        });
        told.recv().unwrap();
        assert!(mutex.lock().is_ok());
        holds.join().unwrap();
    });
}

#[test]
fn one_that_got_what_it_waited_for_is_in_no_circle() {
    on_both(|| {
        let mutex = &*keep(Mutex::new(0));
        let held = mutex.lock().unwrap();
        let waits = spawn_when(mutex.lock_operation(), |locked| {
            *locked.unwrap() += 1;
            settle();
            *mutex.lock().unwrap()
        });
        settle();
        drop(held);
        assert_eq!(waits.join().unwrap(), 1);
    });
}

//! Waiting in a circle, which is an error of the one that would close it.

use alloc::{borrow::ToOwned, sync::Arc, vec::Vec};
use core::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use fiber::{
    ExitReason, FiberBuilder, JoinHandle,
    core::operation::{Deadlock, Operation, Published, WaitCell, Waits, perform},
    current, mask, scope, sleep, spawn,
    sync::{
        Barrier, Latch, LockError, Mutex, RwLock,
        channel::{broadcast, watch},
    },
    timeout, yield_now,
};

use crate::support::{on_both, on_one};

fn report<T>(error: LockError<T>) -> Deadlock {
    match error {
        LockError::Deadlock(deadlock) => deadlock,
        error => panic!("{error}"),
    }
}

/// Three fibers, each with a mutex, want the next one's; gives the reports.
fn three_in_a_circle(lock: fn(&Mutex<u32>) -> Option<Deadlock>) -> Vec<Deadlock> {
    let shared = Arc::new(([0; 3].map(Mutex::new), Barrier::new(3)));
    let fibers: Vec<JoinHandle<_>> = (0..3)
        .map(|number| {
            let shared = Arc::clone(&shared);
            let body = move || {
                let _held = shared.0[number].lock().unwrap();
                shared.1.wait();
                lock(&shared.0[(number + 1) % 3])
            };
            let named = FiberBuilder::new().name(format!("fiber {number}"));
            named.spawn(body).unwrap()
        })
        .collect();
    let ended = fibers.into_iter().map(|fiber| fiber.join().unwrap());
    ended.flatten().collect()
}

fn check_circle(reports: &[Deadlock]) {
    // The one that is told lets go of what it has, and so the others go on.
    let [deadlock] = reports else {
        panic!("one closes the circle: {reports:?}");
    };
    assert_eq!(deadlock.links().len(), 3);
    let text = deadlock.to_string();
    for number in 0..3 {
        assert!(text.contains(&format!("'fiber {number}'")), "{text}");
    }
    assert_eq!(text.matches("waits for a mutex at").count(), 3, "{text}");
    assert_eq!(text.matches("deadlocks.rs").count(), 6, "{text}");
}

#[test]
fn three_fibers_that_lock_in_a_circle_are_told_with_names_and_lines() {
    on_both(|| check_circle(&three_in_a_circle(|mutex| mutex.lock().err().map(report))));
}

#[test]
fn the_operation_tells_of_a_circle_too() {
    on_both(|| {
        let lock = |mutex: &Mutex<u32>| perform(mutex.lock_operation()).err().map(report);
        check_circle(&three_in_a_circle(lock));
    });
}

#[test]
fn locking_twice_in_a_row_is_told() {
    on_both(|| {
        let mutex = Mutex::new(());
        let held = mutex.lock().unwrap();
        let holder = mutex.holder().unwrap();
        assert!(holder.since.file().ends_with("deadlocks.rs"));
        let deadlock = report(mutex.lock().unwrap_err());
        assert_eq!(deadlock.links().len(), 1);
        assert_eq!(deadlock.links()[0].held_since, holder.since);
        // A wait with a limit ends by itself.
        assert!(mutex.lock_timeout(Duration::from_micros(50)).is_err());
        drop(held);
        assert!(mutex.holder().is_none() && mutex.lock().is_ok());
    });
}

#[test]
fn a_limit_of_time_around_a_wait_is_one_of_the_wait() {
    on_both(|| {
        let mutex = Mutex::new(());
        let _held = mutex.lock().unwrap();
        let late = timeout(Duration::from_micros(50), || drop(mutex.lock()));
        assert!(late.is_err());
        // Unless nothing can interrupt the wait.
        let limited = timeout(Duration::from_millis(50), || mask(|| mutex.lock().is_err()));
        assert!(limited.unwrap_or(true));
    });
}

/// The one that holds the lock cancels the one that waits for it, and joins it.
#[test]
fn the_body_of_a_scope_that_locks_twice_in_a_row_is_told() {
    on_both(|| {
        let mutex = Mutex::new(0);
        scope(|_| {
            let _held = mutex.lock().unwrap();
            assert!(matches!(mutex.lock(), Err(LockError::Deadlock(_))));
        });
    });
}

#[test]
fn a_limit_of_time_inside_of_a_mask_is_one_of_the_wait() {
    on_both(|| {
        let mutex = Mutex::new(0);
        let _held = mutex.lock().unwrap();
        let limit = Duration::from_millis(1);
        assert!(mask(|| timeout(limit, || mutex.lock().is_ok())).is_err());
    });
}

#[test]
fn one_that_was_cancelled_is_in_no_circle() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(()));
        let held = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let waiter = spawn(move || drop(other.lock().unwrap()));
        yield_now();
        waiter.cancel();
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        drop(held);
    });
}

/// One holds a lock and joins the next, that one joins the last, and that one wants the lock after
/// `before`. Gives what each was told, the last one's first.
fn a_lock_behind_joins(before: fn()) -> Vec<Deadlock> {
    let mutex = Arc::new(Mutex::new(()));
    let named = |name| FiberBuilder::new().name(name);
    let told = |ended: Result<Vec<Deadlock>, ExitReason>| match ended {
        Ok(told) => told,
        Err(ExitReason::Deadlock(deadlock)) => vec![deadlock],
        Err(other) => panic!("nothing else goes wrong: {other}"),
    };
    let first = named("first").spawn(move || {
        let _held = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let last = move || {
            before();
            other.lock().err().map(report).into_iter().collect()
        };
        let next = named("next").spawn(move || told(named("last").spawn(last).unwrap().join()));
        told(next.unwrap().join())
    });
    told(first.unwrap().join())
}

fn check_joins_and_lock(told: &[Deadlock]) {
    let [deadlock] = told else {
        panic!("one closes the circle: {told:?}");
    };
    let text = deadlock.to_string();
    assert_eq!(deadlock.links().len(), 3, "{text}");
    for name in ["'first'", "'next'", "'last'"] {
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(text.matches("the end of a fiber").count(), 2, "{text}");
    assert_eq!(text.matches("deadlocks.rs").count(), 6, "{text}");
}

#[test]
fn joins_that_began_before_anybody_wanted_a_lock_are_in_the_circle() {
    on_one(|| {
        let told = a_lock_behind_joins(|| (0..8).for_each(|_| yield_now()));
        check_joins_and_lock(&told);
        assert_eq!(told[0].links()[0].waits_for, "a mutex");
    });
    on_both(|| check_joins_and_lock(&a_lock_behind_joins(|| ())));
    on_both(|| check_joins_and_lock(&a_lock_behind_joins(|| sleep(Duration::from_millis(1)))));
}

/// One waits for another's end with a limit, and then without one; that one wants what it has.
#[test]
fn a_join_with_a_limit_is_in_no_circle_and_one_without_is() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(()));
        let held = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let mut wants = spawn(move || other.lock().is_err());
        assert!(wants.join_timeout(Duration::from_millis(1)).is_err());
        // Which of the two came last depends on when the other one's worker has run.
        let told = match wants.join() {
            Ok(told) => told,
            Err(reason) => matches!(reason, ExitReason::Deadlock(_)),
        };
        assert!(told, "the one that came last");
        drop(held);
    });
}

/// Waits for what `of` waits for, and does `meanwhile` when that is about to begin.
struct Begins<O, F> {
    of: O,
    meanwhile: F,
}

impl<O: Operation, F: Fn()> Begins<O, F> {
    fn of(self: Pin<&mut Self>) -> Pin<&mut O> {
        // SAFETY: pinned as this is, and nothing takes it out.
        unsafe { self.map_unchecked_mut(|this| &mut this.of) }
    }
}

// SAFETY: all but a function that is called is the other's, which keeps its promises.
unsafe impl<O: Operation, F: Fn()> Operation for Begins<O, F> {
    type Output = O::Output;

    fn name(&self) -> &'static str {
        self.of.name()
    }

    fn waits(&self) -> Option<Waits<'_>> {
        (self.meanwhile)();
        self.of.waits()
    }

    fn try_now(&mut self) -> Option<u16> {
        self.of.try_now()
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        // SAFETY: the caller's promise.
        unsafe { self.of().publish(cell, base) }
    }

    fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        self.of().look_again(cell, base)
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        self.of().retract(winner);
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> Self::Output {
        // SAFETY: the caller's promise.
        unsafe { self.of().finish(arm) }
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> Self::Output {
        self.of().refuse(deadlock)
    }
}

#[test]
fn one_that_is_cancelled_as_it_begins_to_wait_is_in_no_circle() {
    on_both(|| {
        let mutex = Arc::new(Mutex::new(()));
        let held = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let waiter = spawn(move || {
            // The other waits for this one by then, or will do so.
            let begins = Begins {
                of: other.lock_operation(),
                meanwhile: || current().unwrap().cancel(),
            };
            drop(begins.perform().unwrap());
        });
        assert!(matches!(waiter.join(), Err(ExitReason::Cancelled(_))));
        drop(held);
    });
}

/// Locks as it is dropped, and tells whether that was refused.
struct Locks {
    mutex: Arc<Mutex<()>>,
    refused: Arc<AtomicBool>,
}

impl Drop for Locks {
    fn drop(&mut self) {
        self.refused.store(self.mutex.lock().is_err(), Relaxed);
    }
}

#[test]
fn one_that_waits_as_a_cancel_unwinds_it_is_in_a_circle() {
    on_both(|| {
        let (mutex, refused) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
        let held = mutex.lock().unwrap();
        let locks = Locks {
            mutex: Arc::clone(&mutex),
            refused: Arc::clone(&refused),
        };
        let begun = Arc::new(Latch::new());
        let begins = Arc::clone(&begun);
        let waiter = spawn(move || {
            let _locks = locks;
            begins.open();
            sleep(Duration::from_secs(3600));
        });
        begun.wait();
        waiter.cancel();
        // Which of the two comes last depends on when the other one's worker runs.
        match waiter.join() {
            Err(ExitReason::Deadlock(_)) => assert!(!refused.load(Relaxed), "one was told"),
            Err(ExitReason::Cancelled(_)) => assert!(refused.load(Relaxed), "nobody was told"),
            other => panic!("neither told nor cancelled: {other:?}"),
        }
        drop(held);
    });
}

#[test]
fn writing_while_one_reads_is_told() {
    on_both(|| {
        let lock = RwLock::new(());
        let reading = lock.read().unwrap();
        let deadlock = report(lock.write().unwrap_err());
        assert!(deadlock.to_string().contains("a read-write lock"));
        drop(reading);
        let writing = lock.write().unwrap();
        report(lock.read().unwrap_err());
        drop(writing);
        assert!(lock.try_write().is_ok(), "what was refused has left a node");
    });
}

/// Two readers both want to write: each waits for the other.
#[test]
fn two_readers_that_both_go_over_to_writing_are_told() {
    on_both(|| {
        let shared = Arc::new((RwLock::new(0), Barrier::new(2)));
        let fibers = [0; 2].map(|_| {
            let shared = Arc::clone(&shared);
            spawn(move || {
                let reading = shared.0.read().unwrap();
                shared.1.wait();
                match shared.0.write() {
                    Ok(_) => unreachable!("the caller reads itself"),
                    Err(error) => drop(report(error)),
                }
                drop(reading);
            })
        });
        for fiber in fibers {
            fiber.join().unwrap();
        }
        *shared.0.try_write().unwrap() += 1;
    });
}

#[test]
fn reading_again_behind_a_writer_that_waits_is_told() {
    on_both(|| {
        let lock = Arc::new(RwLock::new(0));
        let reading = lock.read().unwrap();
        let other = Arc::clone(&lock);
        let writer = spawn(move || *other.write().unwrap() += 1);
        // Until the writer waits, one may read again.
        let deadlock = loop {
            match lock.read() {
                Ok(_) => yield_now(),
                Err(error) => break report(error),
            }
        };
        assert!(!deadlock.links().is_empty());
        drop(reading);
        writer.join().unwrap();
        assert_eq!(*lock.try_read().unwrap(), 1);
    });
}

/// A fiber that reads, and one that wants to write and gives up by itself.
fn reads_again_behind(give_up: fn(&JoinHandle<()>), write: fn(&RwLock<u32>)) {
    let lock = Arc::new(RwLock::new(0));
    let reading = lock.read().unwrap();
    let other = Arc::clone(&lock);
    let writer = spawn(move || write(&other));
    while lock.try_read().is_ok() && !writer.is_finished() {
        yield_now();
    }
    give_up(&writer);
    drop(lock.read().expect("it is no circle"));
    drop(reading);
    drop(writer.join());
}

#[test]
fn reading_again_behind_a_writer_that_will_give_up_is_no_circle() {
    on_both(|| {
        reads_again_behind(
            |_| {},
            |lock| timeout(Duration::from_millis(20), || drop(lock.write())).unwrap_or(()),
        );
    });
    on_both(|| {
        reads_again_behind(
            |writer| {
                writer.cancel();
            },
            |lock| drop(lock.write()),
        );
    });
}

/// A writer that might have given up gets the lock, and then wants what a reader behind it has.
#[test]
fn a_reader_behind_a_writer_that_did_not_give_up_is_in_a_circle_with_it() {
    on_both(|| {
        let shared = Arc::new((RwLock::new(()), Mutex::new(()), Barrier::new(2)));
        let reading = shared.0.read().unwrap();
        let other = Arc::clone(&shared);
        let writer = spawn(move || {
            let _writing = other.0.write_timeout(Duration::from_secs(3600)).unwrap();
            other.2.wait();
            other.1.lock().is_err()
        });
        while shared.0.try_read().is_ok() {
            yield_now();
        }
        let other = Arc::clone(&shared);
        let reader = spawn(move || {
            let _mutex = other.1.lock().unwrap();
            other.0.read().is_err()
        });
        while shared.1.try_lock().is_ok() {
            yield_now();
        }
        drop(reading);
        shared.2.wait();
        assert_ne!(writer.join().unwrap(), reader.join().unwrap());
    });
}

/// A reader that was let in and has not run yet waits for nobody, whatever the other readers do.
#[test]
fn readers_that_were_let_in_together_are_in_no_circle() {
    on_both(|| {
        let shared = Arc::new((RwLock::new(()), [0; 4].map(Mutex::new)));
        let writing = shared.0.write().unwrap();
        let readers: Vec<_> = (0..4)
            .map(|number| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    let _mutex = shared.1[number].lock().unwrap();
                    let reading = shared.0.read().unwrap();
                    drop(_mutex);
                    // The next one's, which it lets go once it has run.
                    let next = &shared.1[(number + 1) % 4];
                    drop(next.lock().unwrap());
                    drop(reading);
                })
            })
            .collect();
        for _ in 0..8 {
            yield_now();
        }
        drop(writing);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// A sender inside of what it does to the channel, which would wait for itself; gives the lines
/// that the report names.
fn lines_of(inside: fn()) -> Vec<&'static str> {
    let ended = spawn(inside).join();
    let Err(ExitReason::Panicked(payload)) = ended else {
        panic!("it waits for itself: {ended:?}");
    };
    let text = payload.message().expect("it is the report").to_owned();
    let files = ["deadlocks.rs", "watch.rs", "broadcast"];
    let named = files.into_iter().filter(|file| text.contains(file));
    named.collect()
}

#[test]
fn circles_inside_of_channels_are_told_with_the_lines_of_those_who_use_them() {
    on_one(|| {
        let inside: [fn(); 5] = [
            || {
                let (sender, receiver) = watch::channel(0);
                let _value = receiver.borrow();
                let _ = sender.borrow();
            },
            || {
                let (sender, _receiver) = watch::channel(0);
                sender.send_modify(|_| assert_eq!(sender.send_replace(1), 0));
            },
            || {
                let (sender, mut receiver) = watch::channel(0);
                let _value = sender.borrow();
                receiver.get();
            },
            || {
                let (sender, _receiver) = broadcast::channel(1);
                let _ = sender.send_with(|| sender.subscribe_with(|| 0).0);
            },
            || {
                let (sender, _receiver) = broadcast::channel::<usize>(1);
                let _ = sender.subscribe_with(|| sender.send_with(|| 1));
            },
        ];
        for inside in inside {
            assert_eq!(lines_of(inside), ["deadlocks.rs"]);
        }
    });
}

//! Loom models of the primitives themselves, on threads that really park.

extern crate std;

use alloc::sync::Arc;
use core::{
    panic::Location,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fiber_core::{
    env::{Instant, ThreadHooks, Unpark},
    operation::perform_until,
};
use loom::{cell::UnsafeCell, thread};

use crate::{
    Barrier, Condvar, LockOperation, Mutex, OnceLock, RwLock, Semaphore, raw_lock::Patience,
};

mod channel;

/// The shortest time there is: over when the clock is looked at again.
const MOMENT: Duration = Duration::from_nanos(1);

static HOOKS: ThreadHooks = ThreadHooks {
    slot: ptr::null,
    set_slot: |_| {},
    park: |_| thread::park(),
    unparker: || Arc::new(Thread(thread::current())),
    relax: thread::yield_now,
    now,
    is_unwinding: std::thread::panicking,
    watch_panics: |_| {},
};

fn now() -> Instant {
    static NANOS: AtomicU64 = AtomicU64::new(0);
    Instant::from_nanos(NANOS.fetch_add(1, Ordering::Relaxed))
}

struct Thread(thread::Thread);

impl Unpark for Thread {
    fn unpark(&self) {
        self.0.unpark();
    }
}

fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    HOOKS.install();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// A number that two threads must not reach at once: loom says so if they do.
struct Number(UnsafeCell<u32>);

// SAFETY: what is modelled is that the mutex around it keeps others out (I-12).
unsafe impl Send for Number {}
// SAFETY: as above; readers only read (I-12).
unsafe impl Sync for Number {}

impl Number {
    fn add(&self, n: u32) -> u32 {
        self.0.with_mut(|number| {
            // SAFETY: under the mutex, as loom checks (I-12).
            let number = unsafe { &mut *number };
            *number += n;
            *number
        })
    }

    fn get(&self) -> u32 {
        // SAFETY: under the lock, as loom checks (I-12).
        self.0.with(|number| unsafe { *number })
    }
}

fn number() -> Arc<Mutex<Number>> {
    Arc::new(Mutex::new(Number(UnsafeCell::new(0))))
}

#[test]
fn loom_a_mutex_keeps_others_out() {
    model(3, || {
        let mutex = number();
        let other = Arc::clone(&mutex);
        let thread = thread::spawn(move || {
            other.lock().unwrap().add(1);
        });
        mutex.lock().unwrap().add(1);
        thread.join().unwrap();
        assert_eq!(mutex.try_lock().unwrap().add(0), 2);
    });
}

#[test]
fn loom_a_mutex_passes_through_three_hands() {
    model(1, || {
        let mutex = number();
        let work = || {
            let mutex = Arc::clone(&mutex);
            move || {
                mutex.lock().unwrap().add(1);
            }
        };
        let threads = [thread::spawn(work()), thread::spawn(work())];
        mutex.lock().unwrap().add(1);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(mutex.try_lock().unwrap().add(0), 3);
    });
}

#[test]
fn loom_a_lock_that_is_given_up_is_not_lost() {
    model(3, || {
        let mutex = number();
        let other = Arc::clone(&mutex);
        let thread = thread::spawn(move || match other.lock_timeout(MOMENT) {
            Ok(guard) => guard.add(1),
            Err(_) => 0,
        });
        mutex.lock().unwrap().add(1);
        let _ = thread.join().unwrap();
        assert!(
            mutex.try_lock().is_ok(),
            "nobody holds it, and it is locked"
        );
    });
}

/// The one that waits is woken for a free lock, and the one that has freed it takes it again.
#[test]
fn loom_one_that_was_passed_by_gets_the_mutex() {
    model(3, || {
        let mutex = number();
        let guard = mutex.lock().unwrap();
        let other = Arc::clone(&mutex);
        let thread = thread::spawn(move || other.lock().unwrap().add(1));
        guard.add(1);
        drop(guard);
        mutex.lock().unwrap().add(1);
        thread.join().unwrap();
        assert_eq!(mutex.try_lock().unwrap().add(0), 3);
    });
}

/// The one that is woken for a free lock gives up at that moment, and the one behind it waits
/// without end.
#[test]
fn loom_a_wake_up_of_one_who_gives_up_goes_to_the_next() {
    model(2, || {
        let mutex = number();
        let guard = mutex.lock().unwrap();
        let hasty = thread::spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                let site = Location::caller();
                let lock = LockOperation::new(&mutex, site, Patience::LooksAgain);
                match perform_until(lock, Some(MOMENT)) {
                    Ok(guard) => guard.unwrap().add(1),
                    Err(_) => 0,
                }
            }
        });
        let patient = thread::spawn({
            let mutex = Arc::clone(&mutex);
            move || mutex.lock().unwrap().add(1)
        });
        guard.add(1);
        drop(guard);
        hasty.join().unwrap();
        patient.join().unwrap();
        assert!(mutex.try_lock().unwrap().add(0) >= 2);
    });
}

/// The same, where the one behind is handed the lock.
#[test]
fn loom_a_wake_up_of_one_who_gives_up_becomes_a_hand_over() {
    model(2, || {
        let mutex = number();
        let guard = mutex.lock().unwrap();
        let work = |patience| {
            let mutex = Arc::clone(&mutex);
            move || {
                let lock = LockOperation::new(&mutex, Location::caller(), patience);
                if let Ok(guard) = perform_until(lock, Some(MOMENT)) {
                    guard.unwrap().add(1);
                }
            }
        };
        let threads = [Patience::LooksAgain, Patience::TakesOver].map(|p| thread::spawn(work(p)));
        drop(guard);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(
            mutex.try_lock().is_ok(),
            "nobody holds it, and it is locked"
        );
    });
}

#[test]
fn loom_a_writer_is_alone() {
    model(3, || {
        let lock = Arc::new(RwLock::new(Number(UnsafeCell::new(0))));
        let other = Arc::clone(&lock);
        let writer = thread::spawn(move || {
            other.write().unwrap().add(1);
        });
        let seen = lock.read().unwrap().get();
        assert!(seen <= 1);
        lock.write().unwrap().add(1);
        writer.join().unwrap();
        assert_eq!(lock.try_read().unwrap().get(), 2);
    });
}

/// A writer that gives up lets the reader behind it through.
#[test]
fn loom_a_reader_does_not_wait_for_a_writer_that_has_left() {
    model(2, || {
        let lock = Arc::new(RwLock::new(()));
        let read = lock.read().unwrap();
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || drop(lock.write_timeout(MOMENT))
        });
        let reader = thread::spawn({
            let lock = Arc::clone(&lock);
            move || drop(lock.read().unwrap())
        });
        reader.join().unwrap();
        drop(read);
        writer.join().unwrap();
        assert!(lock.try_write().is_ok());
    });
}

#[test]
fn loom_a_value_is_made_once_and_seen_by_all() {
    model(3, || {
        let made = Arc::new((OnceLock::new(), UnsafeCell::new(0)));
        let get = |made: &(OnceLock<u32>, UnsafeCell<u32>)| {
            *made.0.get_or_init(|| {
                made.1.with_mut(|count| {
                    // SAFETY: whoever makes the value is alone, as loom checks (I-12).
                    unsafe { *count += 1 };
                    // SAFETY: as above (I-12).
                    unsafe { *count }
                })
            })
        };
        struct Shared(Arc<(OnceLock<u32>, UnsafeCell<u32>)>);
        // SAFETY: what is modelled is that the once keeps others out (I-12).
        unsafe impl Send for Shared {}
        let other = Shared(Arc::clone(&made));
        let thread = thread::spawn(move || {
            let other = other;
            get(&other.0)
        });
        assert_eq!(get(&made), 1);
        assert_eq!(thread.join().unwrap(), 1);
    });
}

/// One waits at the barrier and gives up, perhaps as the other one comes.
#[test]
fn loom_two_pass_a_barrier_or_nobody_does() {
    model(3, || {
        let barrier = Arc::new(Barrier::new(2));
        let other = Arc::clone(&barrier);
        let thread = thread::spawn(move || other.wait_timeout(MOMENT));
        let mine = barrier.wait_timeout(MOMENT);
        match (mine, thread.join().unwrap()) {
            (Ok(mine), Ok(theirs)) => assert_ne!(mine.is_leader(), theirs.is_leader()),
            (Err(_), Err(_)) => {}
            (mine, theirs) => panic!("only one has passed: {mine:?} {theirs:?}"),
        }
        assert!(barrier.try_wait().is_none(), "a node was left");
    });
}

#[test]
fn loom_three_pass_a_barrier_once() {
    model(1, || {
        let barrier = Arc::new(Barrier::new(3));
        let threads = [0; 2].map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || barrier.wait().is_leader())
        });
        let mut leaders = usize::from(barrier.wait().is_leader());
        for thread in threads {
            leaders += usize::from(thread.join().unwrap());
        }
        assert_eq!(leaders, 1);
    });
}

#[test]
fn loom_a_change_under_the_mutex_is_not_missed() {
    model(2, || {
        let shared = Arc::new((number(), Condvar::new()));
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            other.0.lock().unwrap().add(1);
            other.1.notify_one();
        });
        let guard = shared.0.lock().unwrap();
        let guard = shared.1.wait_while(guard, |number| number.add(0) == 0);
        drop(guard);
        thread.join().unwrap();
    });
}

#[test]
fn loom_permits_reach_those_who_wait() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let other = Arc::clone(&semaphore);
        let thread = thread::spawn(move || drop(other.acquire()));
        drop(semaphore.acquire());
        thread.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn loom_permits_of_one_who_gives_up_are_not_lost() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let other = Arc::clone(&semaphore);
        let thread = thread::spawn(move || other.acquire_timeout(MOMENT).is_ok());
        semaphore.add_permits(1);
        let _ = thread.join().unwrap();
        assert!(semaphore.try_acquire().is_some());
    });
}

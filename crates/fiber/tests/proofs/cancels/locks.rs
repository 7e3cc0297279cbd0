//! Locks: none is left held, no permit is lost, and no notification is swallowed.

use alloc::{collections::VecDeque, sync::Arc};

use fiber::{
    checkpoint,
    core::operation::{Latch, perform, perform_until},
    mask, scope, sleep, spawn,
    sync::{Condvar, LockTimeoutError, Mutex, Semaphore},
    timeout, yield_now,
};

use super::{
    Cast, cancel_everywhere,
    plays::{Flag, MOMENT, Section, dawdle},
};
use crate::support::EVER;

fn lock_and_leave(mutex: &Mutex<Section>, patient: bool) {
    for turn in 0..5 {
        let guard = if patient {
            Some(mutex.lock().unwrap())
        } else {
            match mutex.lock_timeout(MOMENT / 2) {
                Ok(guard) => Some(guard),
                Err(LockTimeoutError::Elapsed) => None,
                Err(error) => panic!("{error}"),
            }
        };
        if let Some(section) = &guard {
            let _inside = section.enter(1);
            dawdle(turn);
        }
        drop(guard);
        dawdle(turn + 1);
    }
}

fn a_mutex(cast: &mut Cast, patient: bool) {
    let mutex = Arc::new(Mutex::new(Section::new(1)));
    let own = Arc::clone(&mutex);
    cast.victim(move || lock_and_leave(&own, patient));
    for patient in [true, false, true] {
        let own = Arc::clone(&mutex);
        cast.other(move || lock_and_leave(&own, patient));
    }
    cast.check(move || {
        drop(mutex.try_lock().expect("free, and not poisoned"));
    });
}

#[test]
fn a_cancel_at_any_suspension_leaves_no_mutex_held() {
    cancel_everywhere("lock", |cast| a_mutex(cast, true));
    cancel_everywhere("lock_timeout", |cast| a_mutex(cast, false));
}

fn borrow_permits(semaphore: &Semaphore, section: &Section, patient: bool) {
    for (turn, permits) in [1, 3, 2, 3, 1].into_iter().enumerate() {
        let taken = if patient {
            Some(semaphore.acquire_many(permits))
        } else {
            semaphore.acquire_many_timeout(permits, MOMENT / 2).ok()
        };
        if taken.is_some() {
            let _inside = section.enter(permits);
            dawdle(turn);
        }
        drop(taken);
        dawdle(turn + 1);
    }
}

fn a_semaphore(cast: &mut Cast, patient: bool) {
    let semaphore = Arc::new(Semaphore::new(3));
    let section = Section::new(3);
    let (own, room) = (Arc::clone(&semaphore), section.clone());
    cast.victim(move || borrow_permits(&own, &room, patient));
    for patient in [true, false, true] {
        let (own, room) = (Arc::clone(&semaphore), section.clone());
        cast.other(move || borrow_permits(&own, &room, patient));
    }
    cast.check(move || {
        assert_eq!(semaphore.available_permits(), 3);
        assert!(semaphore.try_acquire_many(3).is_some(), "a node was left");
    });
}

/// The victim wants more than there will be while the one behind it waits.
fn a_large_request(cast: &mut Cast) {
    let semaphore = Arc::new(Semaphore::new(3));
    let (served, own) = (Arc::new(Latch::new()), Arc::clone(&semaphore));
    let behind = Arc::clone(&served);
    cast.other(move || {
        let _two = own.acquire_many(2);
        perform(behind.wait_operation("the one behind"));
    });
    let own = Arc::clone(&semaphore);
    cast.victim(move || {
        sleep(MOMENT);
        drop(own.acquire_many_timeout(3, MOMENT * 4));
    });
    let own = Arc::clone(&semaphore);
    cast.other(move || {
        sleep(MOMENT * 3);
        drop(own.acquire());
        served.open();
    });
    cast.check(move || assert_eq!(semaphore.available_permits(), 3));
}

#[test]
fn a_cancel_at_any_suspension_loses_no_permit() {
    cancel_everywhere("a large request", a_large_request);
    cancel_everywhere("acquire", |cast| a_semaphore(cast, true));
    cancel_everywhere("acquire_timeout", |cast| a_semaphore(cast, false));
}

/// Things that are brought one by one, each with one notification.
#[derive(Default)]
struct Store {
    shelf: Mutex<(VecDeque<usize>, usize)>,
    brought: Condvar,
}

const THINGS: usize = 7;

impl Store {
    fn consume(&self, patient: bool) {
        for turn in 0.. {
            let mut shelf = self.shelf.lock().unwrap();
            while shelf.0.is_empty() && shelf.1 < THINGS {
                shelf = if patient {
                    self.brought.wait(shelf).unwrap()
                } else {
                    self.brought.wait_timeout(shelf, MOMENT / 2).unwrap().0
                };
            }
            if shelf.0.pop_front().is_some() {
                shelf.1 += 1;
            }
            // Not a cancellation point: what it has taken it counts.
            mask(|| dawdle(turn));
            if shelf.1 == THINGS {
                self.brought.notify_all();
                return;
            }
            drop(shelf);
            dawdle(turn + 1);
        }
    }

    fn produce(&self) {
        for thing in 0..THINGS {
            sleep(MOMENT);
            let mut shelf = self.shelf.lock().unwrap();
            shelf.0.push_back(thing);
            self.brought.notify_one();
            // Who was notified must wait for the mutex.
            dawdle(thing);
            drop(shelf);
        }
    }
}

fn a_condvar(cast: &mut Cast, patient: bool) {
    let store = Arc::new(Store::default());
    let own = Arc::clone(&store);
    cast.victim(move || own.consume(patient));
    let own = Arc::clone(&store);
    cast.other(move || own.consume(true));
    let own = Arc::clone(&store);
    cast.other(move || own.produce());
    cast.check(move || {
        let shelf = store.shelf.try_lock().expect("free, and not poisoned");
        assert_eq!((shelf.0.len(), shelf.1), (0, THINGS));
    });
}

#[test]
fn a_cancel_at_any_suspension_swallows_no_notification() {
    cancel_everywhere("wait", |cast| a_condvar(cast, true));
    cancel_everywhere("wait_timeout", |cast| a_condvar(cast, false));
}

fn a_latch(cast: &mut Cast) {
    let latch = Arc::new(Latch::new());
    let own = Arc::clone(&latch);
    cast.victim(move || {
        let _ = perform_until(own.wait_operation("a latch"), Some(MOMENT));
        yield_now();
        perform(own.wait_operation("a latch"));
    });
    for _ in 0..2 {
        let own = Arc::clone(&latch);
        cast.other(move || perform(own.wait_operation("a latch")));
    }
    let own = Arc::clone(&latch);
    cast.other(move || {
        sleep(MOMENT * 3);
        own.open();
    });
    cast.check(move || perform(latch.wait_operation("a latch")));
}

#[test]
fn a_cancel_at_any_suspension_leaves_a_latch_as_it_is() {
    cancel_everywhere("a latch", a_latch);
}

fn a_join(cast: &mut Cast) {
    let ended = Flag::default();
    let (own, started) = (ended.clone(), Flag::default());
    let begun = started.clone();
    cast.victim(move || {
        yield_now();
        let child = spawn(move || {
            begun.set();
            sleep(MOMENT * 2);
            checkpoint();
            own.set();
        });
        sleep(MOMENT);
        child.join().unwrap();
    });
    cast.check(move || {
        sleep(EVER);
        assert_eq!(started.is_set(), ended.is_set(), "it goes on, detached");
    });
}

fn a_scope(cast: &mut Cast) {
    let inside = Section::new(2);
    let room = inside.clone();
    cast.victim(move || {
        let _ = timeout(MOMENT * 8, || {
            scope(|scope| {
                for turn in 1..3 {
                    let room = &room;
                    drop(scope.spawn(move || {
                        let _inside = room.enter(1);
                        sleep(MOMENT * turn);
                    }));
                    yield_now();
                }
                sleep(MOMENT);
            });
        });
    });
    cast.check(move || drop(inside.enter(2)));
}

#[test]
fn a_cancel_at_any_suspension_leaves_no_child_half_joined() {
    cancel_everywhere("join", a_join);
    cancel_everywhere("scope", a_scope);
}

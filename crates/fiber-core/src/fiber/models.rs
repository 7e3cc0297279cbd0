//! Loom models of parking and of a worker's inbox.

use alloc::vec::Vec;
use core::panic::Location;

use loom::{sync::Arc, thread};

use super::{Attributes, Fiber, JoinHandle, RemoteQueue, Runnable, Spawn, wake::WakeWord};
use crate::primitive::{AtomicBool, AtomicUsize, Ordering};

/// One fiber's word, what it waits for, and its home's queue, as a number.
struct Parking {
    word: WakeWord,
    /// Relaxed: whoever sees it sees it through the word.
    ready: [AtomicBool; 2],
    queued: AtomicUsize,
}

impl Parking {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: WakeWord::new(),
            ready: [AtomicBool::new(false), AtomicBool::new(false)],
            queued: AtomicUsize::new(0),
        })
    }

    fn wake(&self, waker: usize) {
        self.ready[waker].store(true, Ordering::Relaxed);
        if self.word.notify() {
            let before = self.queued.fetch_add(1, Ordering::AcqRel);
            assert_eq!(before, 0, "queued twice for one park");
        }
    }

    fn park_until(&self, done: impl Fn() -> bool) {
        while !done() {
            if self.word.announce_park() {
                while self.queued.swap(0, Ordering::AcqRel) == 0 {
                    thread::yield_now();
                }
                self.word.resumed();
            }
        }
    }
}

#[test]
fn loom_a_wake_is_never_lost_and_queues_a_parked_fiber_once() {
    loom::model(|| {
        let parking = Parking::new();
        let wakers = [0, 1].map(|waker| {
            let parking = Arc::clone(&parking);
            thread::spawn(move || parking.wake(waker))
        });
        parking.park_until(|| {
            parking
                .ready
                .iter()
                .all(|ready| ready.load(Ordering::Relaxed))
        });
        for waker in wakers {
            waker.join().unwrap();
        }
        // A late wake is a notification or none, never a place in a queue.
        assert_eq!(parking.queued.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn loom_a_fiber_that_parks_again_is_woken_again() {
    loom::model(|| {
        let parking = Parking::new();
        let waker = {
            let parking = Arc::clone(&parking);
            thread::spawn(move || {
                parking.wake(0);
                parking.wake(1);
            })
        };
        for ready in &parking.ready {
            parking.park_until(|| ready.load(Ordering::Relaxed));
        }
        waker.join().unwrap();
        assert_eq!(parking.queued.load(Ordering::Relaxed), 0);
    });
}

fn fiber() -> (Runnable, JoinHandle<()>) {
    // SAFETY: the closure borrows nothing and may be sent (I-11).
    unsafe { Spawn::fiber(|| (), Attributes::new(Location::caller())) }
}

#[test]
fn loom_an_inbox_gives_each_fiber_once_and_in_the_order_of_its_pusher() {
    loom::model(|| {
        let queue = Arc::new(RemoteQueue::new());
        let (one, first) = fiber();
        let (two, second) = fiber();
        let (three, third) = fiber();
        let pushers = [alloc::vec![one, two], alloc::vec![three]].map(|fibers| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                for fiber in fibers {
                    queue.push(fiber);
                }
            })
        });
        let mut seen: Vec<Fiber> = Vec::new();
        let mut take = || {
            let mut taken = queue.take();
            while let Some(fiber) = taken.pop() {
                seen.push(fiber.fiber().clone());
            }
        };
        take();
        for pusher in pushers {
            pusher.join().unwrap();
        }
        take();
        assert!(queue.is_empty());
        assert_eq!(seen.len(), 3);
        let place = |handle: &JoinHandle<()>| seen.iter().position(|fiber| fiber == handle.fiber());
        assert!(place(&first) < place(&second));
        assert!(place(&third).is_some());
    });
}

/// A worker says that it sleeps and then looks at its inbox; a waker pushes and then looks whether
/// the worker sleeps, by whether the inbox was empty.
#[test]
fn loom_a_push_into_an_empty_inbox_is_seen_or_told() {
    loom::model(|| {
        let queue = Arc::new(RemoteQueue::new());
        let told = Arc::new(AtomicBool::new(false));
        let fibers = [fiber(), fiber()];
        let pushers = fibers.map(|(fiber, handle)| {
            let (queue, told) = (Arc::clone(&queue), Arc::clone(&told));
            thread::spawn(move || {
                if queue.push(fiber) {
                    told.store(true, Ordering::SeqCst);
                }
                drop(handle);
            })
        });
        let seen = queue.take().len();
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert!(
            seen == 2 || told.load(Ordering::SeqCst),
            "a fiber is queued and nobody was told"
        );
        assert_eq!(seen + queue.take().len(), 2);
    });
}

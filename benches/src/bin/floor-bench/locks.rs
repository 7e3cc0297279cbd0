//! Locks: std's on threads, and a flag with a queue on coroutines.

use alloc::{collections::VecDeque, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    hint::black_box,
};
use std::{sync::Mutex, thread};

use benches::shares;

use crate::queue::{Me, Task};

const SOUND: &str = "nobody panics with the lock";
const THREADS: u64 = 2;
const COROUTINES: u64 = 8;

/// One compare-and-swap and one store, which any lock between threads needs.
pub(crate) fn uncontended(ops: u64) {
    let count = Mutex::new(0_u64);
    for _ in 0..ops {
        *black_box(&count).lock().expect(SOUND) += 1;
    }
    assert_eq!(count.into_inner().expect(SOUND), ops);
}

/// Two threads instead of eight tasks on two.
pub(crate) fn contended(ops: u64) {
    let count = Mutex::new(0_u64);
    thread::scope(|scope| {
        for share in shares(ops, THREADS) {
            let count = &count;
            scope.spawn(move || {
                for _ in 0..share {
                    *count.lock().expect(SOUND) += 1;
                }
            });
        }
    });
    assert_eq!(count.into_inner().expect(SOUND), ops);
}

#[derive(Default)]
struct Lock {
    is_held: Cell<bool>,
    waiting: RefCell<VecDeque<Rc<Task>>>,
}

impl Lock {
    fn lock(&self, me: &Me<'_>) {
        if self.is_held.replace(true) {
            self.waiting.borrow_mut().push_back(me.task());
            // Whoever unlocks hands it over.
            me.park();
        }
    }

    fn unlock(&self, me: &Me<'_>) {
        match self.waiting.borrow_mut().pop_front() {
            Some(next) => me.queue.wake(next),
            None => self.is_held.set(false),
        }
    }
}

pub(crate) fn handed_over(me: &Me<'_>, ops: u64) {
    let lock = Rc::new(Lock::default());
    let adder = |share| {
        let lock = Rc::clone(&lock);
        me.queue.spawn(move |me| {
            for _ in 0..share {
                lock.lock(me);
                me.yield_now();
                lock.unlock(me);
            }
        })
    };
    let coroutines: Vec<_> = shares(ops, COROUTINES).map(adder).collect();
    for coroutine in &coroutines {
        me.join(coroutine);
    }
}

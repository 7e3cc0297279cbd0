//! Coroutines that yield, that do nothing, that sleep; trees of them; and one mutex.

use alloc::sync::Arc;

use benches::{
    Measured, Meter,
    names::BATCH,
    pieces, shares,
    work::{PIECES_AT_ONCE, branches, sleeps, tree_sum, tree_tasks, uneven_shares, work},
};
use may::{
    coroutine::{sleep, yield_now},
    go,
    sync::Mutex,
};

use crate::join_all;

const SOUND: &str = "nobody panics with the lock";
const COROUTINES: u64 = 8;

pub(crate) fn yields<const COROUTINES: u64>(ops: u64) {
    let yielder = |share| {
        go!(move || {
            for _ in 0..share {
                yield_now();
            }
        })
    };
    let coroutines: Vec<_> = shares(ops, COROUTINES).map(yielder).collect();
    join_all(coroutines);
}

pub(crate) fn one_by_one(ops: u64) {
    for _ in 0..ops {
        go!(|| ()).join().expect("it does nothing");
    }
}

pub(crate) fn batches(ops: u64) {
    let mut coroutines = Vec::new();
    for batch in pieces(ops, BATCH) {
        coroutines.extend((0..batch).map(|_| go!(|| ())));
        join_all(coroutines.drain(..));
    }
}

pub(crate) fn tree(leaves: u64) -> Measured {
    let meter = Meter::start();
    assert_eq!(sum(0, leaves), tree_sum(leaves));
    meter.stop(tree_tasks(leaves))
}

/// The leaves' numbers, added up by a coroutine for each branch.
fn sum(first: u64, leaves: u64) -> u64 {
    if leaves <= 1 {
        return first * leaves;
    }
    let mut coroutines = Vec::with_capacity(10);
    let branch = |(first, leaves)| go!(move || sum(first, leaves));
    coroutines.extend(branches(first, leaves).map(branch));
    let sums = coroutines.into_iter().map(|coroutine| coroutine.join());
    sums.map(|sum| sum.expect("it only adds")).sum()
}

pub(crate) fn uneven(ops: u64) {
    let worker = |pieces| {
        go!(move || {
            for piece in 0..pieces {
                work();
                if piece % PIECES_AT_ONCE == 0 {
                    yield_now();
                }
            }
        })
    };
    let coroutines: Vec<_> = uneven_shares(ops).into_iter().map(worker).collect();
    join_all(coroutines);
}

pub(crate) fn sleepers(ops: u64) {
    let sleepers = sleeps(ops).map(|time| go!(move || sleep(time)));
    join_all(sleepers.collect::<Vec<_>>());
}

pub(crate) fn uncontended(ops: u64) {
    let count = Mutex::new(0_u64);
    for _ in 0..ops {
        *count.lock().expect(SOUND) += 1;
    }
    assert_eq!(*count.lock().expect(SOUND), ops);
}

pub(crate) fn contended(ops: u64) {
    shared(ops, || ());
}

pub(crate) fn handed_over(ops: u64) {
    shared(ops, yield_now);
}

fn shared(ops: u64, meanwhile: fn()) {
    let count = Arc::new(Mutex::new(0_u64));
    let adder = |share| {
        let count = Arc::clone(&count);
        go!(move || {
            for _ in 0..share {
                let mut count = count.lock().expect(SOUND);
                *count += 1;
                meanwhile();
            }
        })
    };
    let coroutines: Vec<_> = shares(ops, COROUTINES).map(adder).collect();
    join_all(coroutines);
    assert_eq!(*count.lock().expect(SOUND), ops);
}

//! Fibers that yield, fibers that do nothing, and trees of them.

use benches::{
    Measured, Meter,
    names::BATCH,
    pieces, shares, timed,
    work::{PIECES_AT_ONCE, branches, tree_sum, tree_tasks, uneven_shares, work},
};
use fiber::{Runtime, spawn, yield_now};

use crate::join_all;

pub(crate) fn yields<const FIBERS: u64>(ops: u64) {
    let yielder = |share| {
        spawn(move || {
            for _ in 0..share {
                yield_now();
            }
        })
    };
    let fibers: Vec<_> = shares(ops, FIBERS).map(yielder).collect();
    join_all(fibers);
}

pub(crate) fn one_by_one(ops: u64) {
    for _ in 0..ops {
        spawn(|| ()).join().expect("it does nothing");
    }
}

pub(crate) fn batches(ops: u64) {
    let mut fibers = Vec::new();
    for batch in pieces(ops, BATCH) {
        fibers.extend((0..batch).map(|_| spawn(|| ())));
        join_all(fibers.drain(..));
    }
}

pub(crate) fn tree(leaves: u64) -> Measured {
    let meter = Meter::start();
    assert_eq!(sum(0, leaves), tree_sum(leaves));
    meter.stop(tree_tasks(leaves))
}

/// The leaves' numbers, added up by a fiber for each branch.
fn sum(first: u64, leaves: u64) -> u64 {
    if leaves <= 1 {
        return first * leaves;
    }
    let mut fibers = Vec::with_capacity(10);
    fibers.extend(branches(first, leaves).map(|(first, leaves)| spawn(move || sum(first, leaves))));
    let sums = fibers.into_iter().map(|fiber| fiber.join());
    sums.map(|sum| sum.expect("it only adds")).sum()
}

/// Says also how unevenly the workers were busy, if there are several.
pub(crate) fn uneven(ops: u64) -> Measured {
    let measured = timed!(ops => work_off(ops));
    let stats = Runtime::current().expect("this is a fiber").stats();
    match stats.imbalance().filter(|_| stats.workers.len() > 1) {
        Some(imbalance) => measured.with("imbalance", imbalance),
        None => measured,
    }
}

fn work_off(ops: u64) {
    let worker = |pieces| {
        spawn(move || {
            for piece in 0..pieces {
                work();
                if piece % PIECES_AT_ONCE == 0 {
                    yield_now();
                }
            }
        })
    };
    let fibers: Vec<_> = uneven_shares(ops).into_iter().map(worker).collect();
    join_all(fibers);
}

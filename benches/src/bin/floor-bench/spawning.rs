//! Coroutines that yield, that do nothing, and trees of them.

use alloc::rc::Rc;
use core::cell::Cell;

use benches::{
    Measured, Meter,
    names::BATCH,
    pieces, shares,
    work::{branches, tree_sum, tree_tasks, work},
};

use crate::queue::{Me, Queue};

pub(crate) fn yields<const TASKS: u64>(me: &Me<'_>, ops: u64) {
    let yielder = |share| {
        me.queue.spawn(move |me| {
            for _ in 0..share {
                me.yield_now();
            }
        })
    };
    let tasks: Vec<_> = shares(ops, TASKS).map(yielder).collect();
    for task in &tasks {
        me.join(task);
    }
}

pub(crate) fn one_by_one(me: &Me<'_>, ops: u64) {
    for _ in 0..ops {
        let task = me.queue.spawn(|_| ());
        me.join(&task);
    }
}

pub(crate) fn batches(me: &Me<'_>, ops: u64) {
    let mut tasks = Vec::new();
    for batch in pieces(ops, BATCH) {
        tasks.extend((0..batch).map(|_| me.queue.spawn(|_| ())));
        for task in tasks.drain(..) {
            me.join(&task);
        }
    }
}

pub(crate) fn tree(leaves: u64) -> Measured {
    let queue = Rc::new(Queue::newest_first());
    let total = Rc::new(Cell::new(0));
    let meter = Meter::start();
    let into = Rc::clone(&total);
    queue.spawn(move |me| into.set(sum(me, 0, leaves)));
    queue.run();
    let measured = meter.stop(tree_tasks(leaves));
    assert_eq!(total.get(), tree_sum(leaves));
    measured
}

/// The leaves' numbers, added up by a coroutine for each branch.
fn sum(me: &Me<'_>, first: u64, leaves: u64) -> u64 {
    if leaves <= 1 {
        return first * leaves;
    }
    let total = Rc::new(Cell::new(0));
    let mut tasks = Vec::with_capacity(10);
    tasks.extend(branches(first, leaves).map(|(first, leaves)| {
        let total = Rc::clone(&total);
        me.queue.spawn(move |me| {
            let part = sum(me, first, leaves);
            total.set(total.get() + part);
        })
    }));
    for task in &tasks {
        me.join(task);
    }
    total.get()
}

/// The work alone.
pub(crate) fn uneven(ops: u64) {
    for _ in 0..ops {
        work();
    }
}

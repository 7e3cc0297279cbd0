//! Fibers that yield, and fibers that do nothing.

use benches::{names::BATCH, pieces, shares};
use fiber::{spawn, yield_now};

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

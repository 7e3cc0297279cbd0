//! One mutex, alone and in company.

use alloc::sync::Arc;

use benches::shares;
use fiber::{spawn, sync::Mutex, yield_now};

use crate::join_all;

const SOUND: &str = "nobody panics with the lock";
const FIBERS: u64 = 8;

pub(crate) fn uncontended(ops: u64) {
    let count = Mutex::new(0_u64);
    for _ in 0..ops {
        *count.lock().expect(SOUND) += 1;
    }
    assert_eq!(count.into_inner().expect(SOUND), ops);
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
        spawn(move || {
            for _ in 0..share {
                let mut count = count.lock().expect(SOUND);
                *count += 1;
                meanwhile();
            }
        })
    };
    let fibers: Vec<_> = shares(ops, FIBERS).map(adder).collect();
    join_all(fibers);
    assert_eq!(*count.lock().expect(SOUND), ops);
}

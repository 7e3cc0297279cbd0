//! Where a process's lists of ids begin, one for each worker.

use alloc::boxed::Box;
use core::array;

use super::NO_KEY;
use crate::primitive::AtomicU32;

/// A number for each worker, in place if they are few: there is one of these for each process.
pub(super) enum Heads {
    Few([AtomicU32; Self::FEW]),
    Many(Box<[AtomicU32]>),
}

impl Heads {
    const FEW: usize = 4;

    pub(super) fn new(workers: usize) -> Self {
        match workers {
            0..=Self::FEW => Self::Few(array::from_fn(|_| AtomicU32::new(NO_KEY))),
            _ => Self::Many((0..workers).map(|_| AtomicU32::new(NO_KEY)).collect()),
        }
    }

    #[inline]
    pub(super) fn at(&self, worker: usize) -> &AtomicU32 {
        match self {
            Self::Few(heads) => &heads[worker],
            Self::Many(heads) => &heads[worker],
        }
    }
}

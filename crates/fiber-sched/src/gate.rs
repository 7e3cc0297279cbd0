//! No fiber runs before every worker can: the workers wait here until all ports are open.

use crate::primitive::{AtomicBool, AtomicUsize, Ordering};

/// Where the workers of one runtime meet.
#[derive(Debug)]
pub(crate) struct Gate {
    workers: usize,
    arrived: AtomicUsize,
    failed: AtomicBool,
}

impl Gate {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            arrived: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// The calling worker is there, with its port or without. True for the last one, which wakes
    /// the others.
    pub(crate) fn arrive(&self, with_port: bool) -> bool {
        if !with_port {
            self.failed.store(true, Ordering::SeqCst);
        }
        self.arrived.fetch_add(1, Ordering::SeqCst) + 1 == self.workers
    }

    /// Whether all are there.
    pub(crate) fn is_complete(&self) -> bool {
        self.arrived.load(Ordering::SeqCst) == self.workers
    }

    /// Whether all are there, each with its port.
    pub(crate) fn is_open(&self) -> bool {
        self.is_complete() && !self.failed.load(Ordering::SeqCst)
    }
}

//! How the network's ports are woken, right or wrong as asked.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use super::fault::Fault;
use crate::env::Unpark;

pub(super) struct MemoryUnpark {
    set: AtomicBool,
    gone: AtomicBool,
    sleeper: Arc<dyn Unpark>,
    fault: Fault,
}

impl MemoryUnpark {
    pub(super) fn new(sleeper: Arc<dyn Unpark>, fault: Fault) -> Self {
        Self {
            set: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            sleeper,
            fault,
        }
    }

    /// Whether somebody has called since the last time.
    pub(super) fn take(&self) -> bool {
        self.set.swap(false, Ordering::AcqRel)
    }

    pub(super) fn outlive(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(super) fn sleeper(&self) -> &Arc<dyn Unpark> {
        &self.sleeper
    }
}

impl Unpark for MemoryUnpark {
    fn unpark(&self) {
        let gone = self.gone.load(Ordering::Acquire);
        assert!(
            !gone || self.fault != Fault::UnparkerPanicsLater,
            "the port is gone"
        );
        if self.fault != Fault::UnparkIsLost {
            self.set.store(true, Ordering::Release);
            self.sleeper.unpark();
        }
    }
}

//! Telling which members have ended, in that order.

use alloc::sync::Arc;

use fiber_core::fiber::ExitWatcher;

use crate::inbox::Inbox;

/// Enters one member's key when it ends.
#[derive(Debug)]
pub(super) struct Watch {
    /// Room for all members was made when they were spawned.
    ended: Arc<Inbox<usize>>,
    key: usize,
}

impl Watch {
    pub(super) fn new(ended: &Arc<Inbox<usize>>, key: usize) -> Arc<Self> {
        Arc::new(Self {
            ended: Arc::clone(ended),
            key,
        })
    }
}

impl ExitWatcher for Watch {
    fn ended(&self) {
        self.ended.push(self.key);
    }
}

//! Where slots are handed over to the shard that frees them.

use alloc::sync::Arc;

use super::entry::Entry;
use crate::{
    env::Unpark,
    id::Id,
    primitive::{AtomicU32, Ordering},
    process::NO_KEY,
};

/// Slots that others have handed over to be freed: a stack linked through the slots themselves,
/// so that handing over neither allocates nor fails.
pub(super) struct ShardInbox {
    pub(super) head: AtomicU32,
    /// Those that nobody waits for: they are freed whenever their worker comes to it.
    pub(super) later: AtomicU32,
    unparker: Arc<dyn Unpark>,
    /// The process that stands for the runtime of the shard.
    pub(super) runtime: Option<Id>,
}

impl ShardInbox {
    pub(super) fn new(unparker: Arc<dyn Unpark>) -> Self {
        Self {
            head: AtomicU32::new(NO_KEY),
            later: AtomicU32::new(NO_KEY),
            unparker,
            runtime: None,
        }
    }

    pub(super) fn push(&self, entry: &Entry, key: u32) {
        let is_awaited = entry.is_awaited();
        let list = if is_awaited { &self.head } else { &self.later };
        let mut head = list.load(Ordering::Relaxed);
        loop {
            // Taken beforehand: once the slot is in the list its shard may free it and end.
            let rings = is_awaited && head == NO_KEY;
            let unparker = rings.then(|| Arc::clone(&self.unparker));
            entry.reap_next.store(head, Ordering::Relaxed);
            match list.compare_exchange_weak(head, key, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    if let Some(unparker) = unparker {
                        unparker.unpark();
                    }
                    return;
                }
                Err(seen) => head = seen,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let lists = [&self.head, &self.later];
        lists.map(|list| list.load(Ordering::Acquire)) == [NO_KEY; 2]
    }
}

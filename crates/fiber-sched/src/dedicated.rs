//! Who has a dedicated worker.

use alloc::sync::Arc;
use core::fmt;

use fiber_core::{
    env::WorkerId,
    fiber::{AtEnd, ExitReason, ExitWatcher},
    spin::SpinLock,
};

use crate::{error::SpawnError, lane::Lane, primitive::Ordering, shared::Shared};

/// A fiber's right to a dedicated worker, given back when it is known what came of the fiber: it
/// has run, never will, or was abandoned, and rests. One that was abandoned and still runs keeps
/// it.
pub(crate) struct Claim {
    /// Its worker, until it is given back.
    lane: SpinLock<Option<Arc<Lane>>>,
    /// Who else is told of the fiber's end.
    watcher: Option<Arc<dyn ExitWatcher>>,
}

impl Claim {
    /// The right to one that nobody has.
    pub(crate) fn of_one(
        shared: &Shared,
        watcher: Option<Arc<dyn ExitWatcher>>,
    ) -> Result<(WorkerId, Self), SpawnError> {
        let sharing = shared.sharing().len();
        for (index, lane) in shared.lanes.iter().enumerate().skip(sharing) {
            if !lane.taken.swap(true, Ordering::AcqRel) {
                let index = u16::try_from(index).expect("workers are numbered by u16");
                let lane = SpinLock::new(Some(Arc::clone(lane)));
                return Ok((WorkerId(index), Self { lane, watcher }));
            }
        }
        Err(SpawnError::NoDedicatedWorker {
            dedicated: shared.lanes.len() - sharing,
        })
    }

    fn give_back(&self) {
        if let Some(lane) = self.lane.lock().take() {
            lane.taken.store(false, Ordering::Release);
        }
    }
}

impl Drop for Claim {
    /// Its fiber was perhaps never made.
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

impl ExitWatcher for Claim {
    fn result(self: Arc<Self>, at_end: AtEnd, wrong: Option<&ExitReason>) {
        self.give_back();
        if let Some(watcher) = &self.watcher {
            Arc::clone(watcher).result(at_end, wrong);
        }
    }

    fn ended(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.ended();
        }
    }
}

//! Entering ids, and what comes of using a stale one.

use super::{Arc, Context, Id};
use crate::{
    error::{Stale, StaleReason},
    process::{Record, share},
    registry::Entered,
};

impl Context {
    /// Enters what `id` names on behalf of whoever runs here.
    ///
    /// # Errors
    /// When it is refused; the process that has offered it may have to end for that.
    pub(crate) fn enter_id(&self, id: Id, worker: Option<u16>) -> Result<Entered<'_>, Stale> {
        let entered = self.id_space().enter(id, worker);
        entered.map_err(|stale| self.refused(stale))
    }

    /// The one place that is told of every use of an id that was refused. A use that meets a close
    /// which is still under way is no fault of anybody's.
    #[cold]
    pub(crate) fn refused(&self, stale: Stale) -> Stale {
        let described = || self.id_space().describe(stale.id);
        let is_race = stale.reason == StaleReason::Closed && described().is_ok();
        if !is_race && let Some(process) = self.acting_process() {
            self.schedule().refused(&process, &stale);
        }
        stale
    }

    fn acting_process(&self) -> Option<Arc<Record>> {
        // SAFETY: it is that of a fiber which runs here, or acts without a stack (I-11).
        self.whose().map(|whose| unsafe { share(whose) })
    }
}

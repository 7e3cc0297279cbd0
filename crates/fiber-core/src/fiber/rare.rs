//! What few fibers have: beside the header, for which the others need not pay.

use alloc::{boxed::Box, sync::Arc};

use super::{layout::Layout, watch::ExitWatcher};

/// See above.
pub(super) struct Rare {
    pub(super) name: Option<Box<str>>,
    pub(super) watcher: Option<Arc<dyn ExitWatcher>>,
}

impl Rare {
    /// Nothing, for most.
    #[inline]
    pub(super) fn of(
        name: Option<Box<str>>,
        watcher: Option<Arc<dyn ExitWatcher>>,
    ) -> Option<Box<Self>> {
        if name.is_none() && watcher.is_none() {
            return None;
        }
        Some(Box::new(Self { name, watcher }))
    }
}

impl Layout {
    pub(super) const NAME: usize = core::mem::offset_of!(Rare, name);
}

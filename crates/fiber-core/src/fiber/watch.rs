//! Being told of fibers' ends without waiting for each of them.

use core::fmt;

use super::exit::ExitReason;

/// Is told when a fiber has ended, see [`Attributes::watcher`](super::Attributes::watcher).
pub trait ExitWatcher: Send + Sync + fmt::Debug {
    /// What comes of it, and whether it has run: nothing is wrong with it, or this. Called before
    /// [`ExitWatcher::ended`], and on the fiber's own stack if it has run; it must not wait.
    fn result(&self, _has_run: bool, _wrong: Option<&ExitReason>) {}

    /// It has ended, in whatever way: joining it does not wait any more. Called once, by the
    /// fiber's worker or by whoever drops it unstarted, perhaps outside of any fiber: it must not
    /// wait.
    fn ended(&self);
}

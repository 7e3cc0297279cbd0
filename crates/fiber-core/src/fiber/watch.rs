//! Being told of fibers' ends without waiting for each of them.

use core::fmt;

/// Is told when a fiber has ended, see [`Attributes::watcher`](super::Attributes::watcher).
pub trait ExitWatcher: Send + Sync + fmt::Debug {
    /// It has ended, in whatever way: joining it does not wait any more. Called once, by the
    /// fiber's worker or by whoever drops it unstarted, perhaps outside of any fiber: it must not
    /// wait.
    fn ended(&self);
}

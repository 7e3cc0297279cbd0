//! Being told of fibers' ends without waiting for each of them.

use alloc::sync::Arc;
use core::fmt;

use super::exit::ExitReason;

/// What may still happen on a fiber of which it is known what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who watches tells them apart")]
pub enum AtEnd {
    /// It never ran. What it has is dropped, which is the user's code.
    NeverRan,
    /// It has run, and destructors of the user's may still run on its stack.
    Drops,
    /// It has run, and nothing of the user's does any more.
    Over,
}

/// Is told when a fiber has ended, see [`Attributes::watcher`](super::Attributes::watcher).
pub trait ExitWatcher: Send + Sync + fmt::Debug {
    /// What comes of it: nothing is wrong with it, or this. Called before [`ExitWatcher::ended`],
    /// and on the fiber's own stack if it has run; it must not wait.
    fn result(self: Arc<Self>, _at_end: AtEnd, _wrong: Option<&ExitReason>) {}

    /// It has ended, in whatever way: joining it does not wait any more. Called once, by the
    /// fiber's worker or by whoever drops it unstarted, perhaps outside of any fiber: it must not
    /// wait.
    fn ended(&self);
}

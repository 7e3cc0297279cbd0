//! What a process tells of itself to whoever has made it.

use alloc::sync::Arc;
use core::any::Any;

use super::Record;
use crate::fiber::{AtEnd, ExitReason};

/// What a process is beyond its fibers and ids, and what is told of those. Nothing here may wait:
/// the caller may be a worker outside of fibers, or any thread.
pub trait Life: Any + Send + Sync {
    /// Its main function has come to this end: nothing is wrong with it, or this. Called as
    /// [`ExitWatcher::result`](crate::fiber::ExitWatcher::result) of its fiber.
    fn main_ended(&self, process: &Arc<Record>, at_end: AtEnd, wrong: Option<&ExitReason>);

    /// It has no fiber left, and will have none. Called once.
    fn emptied(&self, process: &Arc<Record>);

    /// It has no id left, and the host has closed what they named. Called only after
    /// [`Record::release`], and again if somebody has given it one since.
    fn released(&self, process: &Arc<Record>);
}

/// Nobody is told.
impl Life for () {
    fn main_ended(&self, _process: &Arc<Record>, _at_end: AtEnd, _wrong: Option<&ExitReason>) {}

    fn emptied(&self, _process: &Arc<Record>) {}

    fn released(&self, _process: &Arc<Record>) {}
}

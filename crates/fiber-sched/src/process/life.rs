//! What a process is beyond its fibers and ids: its place in the tree, and how it ended.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

use fiber_core::{operation::Latch, process::Record, spin::SpinLock};

use super::{
    Process,
    end::{End, Exit},
    link::Links,
    supervisor::Commands,
};
use crate::{primitive::AtomicBool, shared::Shared};

/// What becomes of a process that uses an id which is refused: one that is stale, or that it never
/// was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnStale {
    /// The use gives the error.
    #[default]
    Error,
    /// The use gives the error, and the process is killed. It is a bug of the program that is
    /// stopped before it does harm, as a memory access of old is elsewhere. A use that meets a
    /// close which is still under way is no such bug, and a handle that is dropped is no use.
    Kill,
}

/// The scheduler's part of a process.
pub(crate) struct Life {
    pub(super) shared: Arc<Shared>,
    /// `None` for a child of the runtime's first process.
    pub(super) parent: Option<Process>,
    pub(super) children: Children,
    /// How long it may take to end when it was cancelled, before it is killed; and then again,
    /// before it is abandoned.
    pub(super) grace: Duration,
    pub(super) on_stale: OnStale,
    /// How its main function has ended, or what it has said about its end before.
    pub(super) end: SpinLock<Option<Box<End>>>,
    /// Whether somebody sees to its death.
    pub(super) is_ending: AtomicBool,
    pub(super) ended: Latch,
    pub(super) exit: SpinLock<Option<Arc<Exit>>>,
    pub(super) links: Links,
    /// Whether its main function sees to the end of its children when it is cancelled.
    pub(super) stops_children: bool,
    /// What it is asked, if it is a supervisor.
    pub(super) commands: SpinLock<Option<Arc<Commands>>>,
    /// The name under which it is found.
    pub(super) registered: SpinLock<Option<Arc<str>>>,
}

impl Life {
    pub(super) fn of(record: &Record) -> &Self {
        record
            .life()
            .downcast_ref()
            .expect("processes are made here, with this")
    }
}

/// The processes that one has made and that have not ended, oldest first. Bound: the processes of
/// the runtime.
#[derive(Debug, Default)]
pub(crate) struct Children(SpinLock<Vec<Process>>);

impl Children {
    pub(crate) fn all(&self) -> Vec<Process> {
        self.0.lock().clone()
    }

    pub(super) fn add(&self, child: &Process) {
        self.0.lock().push(child.clone());
    }

    pub(super) fn remove(&self, child: &Process) {
        let removed = {
            let mut children = self.0.lock();
            let index = children.iter().position(|other| other == child);
            index.map(|index| children.remove(index))
        };
        drop(removed);
    }
}

//! What a process is beyond its fibers and ids: its place in the tree, and how it ended.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::{any::Any, time::Duration};

use fiber_core::{operation::Latch, process::Record, spin::SpinLock};

use super::{
    Process,
    death::Attendance,
    end::{End, Exit},
    link::Links,
    supervisor::Commands,
};
use crate::{
    primitive::{AtomicBool, AtomicU64, Ordering},
    shared::Shared,
};

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

/// The scheduler's part of a process. There is one for each connection of a server: what few have
/// is in boxes.
pub(crate) struct Life {
    pub(super) shared: Arc<Shared>,
    /// `None` for a child of the runtime's first process.
    pub(super) parent: Option<Process>,
    /// Its number among the children of that.
    number: AtomicU64,
    pub(super) children: Children,
    /// How long it may take to end when it was cancelled, before it is killed.
    pub(super) grace: Duration,
    /// How its main function has ended, or what it has said about its end before.
    pub(super) end: SpinLock<Option<Box<End>>>,
    /// Who sees to its death.
    pub(super) attendance: SpinLock<Attendance>,
    pub(super) ended: Latch,
    pub(super) exit: SpinLock<Option<Arc<Exit>>>,
    pub(super) links: Links,
    rare: SpinLock<Option<Box<Rare>>>,
    pub(super) on_stale: OnStale,
    /// Whether its main function sees to the end of its children when it is cancelled.
    pub(super) stops_children: bool,
    /// Whether its main function has returned, and nothing was said about its end before.
    pub(super) has_returned: AtomicBool,
    /// Whether somebody has begun to tell of its end.
    pub(super) is_told: AtomicBool,
}

/// What most processes have not.
#[derive(Default)]
pub(super) struct Rare {
    /// What it is asked, if it is a supervisor.
    pub(super) commands: Option<Arc<Commands>>,
    /// The name under which it is found.
    pub(super) registered: Option<Arc<str>>,
}

impl Life {
    /// That of a new process, with nothing configured.
    pub(super) fn new(shared: Arc<Shared>, parent: Option<Process>) -> Self {
        Self {
            shared,
            parent,
            number: AtomicU64::new(0),
            children: Children::default(),
            grace: Duration::ZERO,
            end: SpinLock::new(None),
            attendance: SpinLock::default(),
            ended: Latch::new(),
            exit: SpinLock::new(None),
            links: Links::default(),
            rare: SpinLock::new(None),
            on_stale: OnStale::Error,
            stops_children: false,
            has_returned: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        }
    }

    pub(super) fn of(record: &Record) -> &Self {
        let life: &dyn Any = record.life();
        life.downcast_ref()
            .expect("processes are made here, with this")
    }

    /// Changes what it has of what most have not.
    pub(super) fn with_rare<T>(&self, body: impl FnOnce(&mut Rare) -> T) -> T {
        body(self.rare.lock().get_or_insert_default())
    }

    /// Reads what it has of what most have not, if it has any.
    pub(super) fn rare<T>(&self, body: impl FnOnce(&mut Rare) -> Option<T>) -> Option<T> {
        self.rare.lock().as_deref_mut().and_then(body)
    }
}

impl Drop for Life {
    /// No recursion: the last of a long line of processes may be dropped on a small stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut record) = next.take().and_then(|it| Arc::into_inner(it.into_record())) {
            let life: &mut dyn Any = record.life_mut();
            let life = life.downcast_mut::<Self>();
            next = life.and_then(|life| life.parent.take());
        }
    }
}

/// The processes that one has made and that have not ended, oldest first. Bound: the processes of
/// the runtime.
#[derive(Debug, Default)]
pub(crate) struct Children(SpinLock<Option<Box<Numbered>>>);

/// Children by the order in which they came.
#[derive(Debug, Default)]
struct Numbered {
    last: u64,
    children: BTreeMap<u64, Process>,
}

impl Children {
    pub(crate) fn all(&self) -> Vec<Process> {
        let numbered = self.0.lock();
        let children = numbered.as_deref().map(|it| it.children.values().cloned());
        children.into_iter().flatten().collect()
    }

    /// The one that came last.
    pub(super) fn youngest(&self) -> Option<Process> {
        let numbered = self.0.lock();
        let (_, youngest) = numbered.as_deref()?.children.last_key_value()?;
        Some(youngest.clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        let numbered = self.0.lock();
        numbered.as_deref().is_none_or(|it| it.children.is_empty())
    }

    pub(super) fn add(&self, child: &Process) {
        let mut numbered = self.0.lock();
        let numbered = numbered.get_or_insert_default();
        numbered.last += 1;
        child.life().number.store(numbered.last, Ordering::Relaxed);
        numbered.children.insert(numbered.last, child.clone());
    }

    pub(super) fn remove(&self, child: &Process) {
        let number = child.life().number.load(Ordering::Relaxed);
        let removed = {
            let mut numbered = self.0.lock();
            numbered
                .as_deref_mut()
                .and_then(|it| it.children.remove(&number))
        };
        drop(removed);
    }
}

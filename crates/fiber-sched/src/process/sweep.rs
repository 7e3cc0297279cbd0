//! Having every worker heed what has become of a process: its fibers and ids are listed at the
//! workers that have named them.
//!
//! ```text
//! guardian  put the sweep into each lane, wake the worker ─▶ wait for the latch
//! worker    between turns: so many ids of the list; when it is through, count down
//! ```

use alloc::{sync::Arc, vec::Vec};
use core::mem;

use fiber_core::{
    Id, Namespace, context::Context, operation::Latch, process::Record, spin::SpinLock,
};

use super::end::ExitReport;
use crate::{
    lane::Lane,
    primitive::{AtomicBool, AtomicUsize, Ordering},
    shared::Shared,
};

/// How many ids a worker looks at in one turn: a process of a thousand is closed in one.
const IDS_A_TURN: usize = 4096;

/// What a sweep is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Fibers, which are to heed the stage of their process.
    Fibers,
    /// What else there is, which is to be closed.
    Rest,
}

impl Of {
    fn includes(self, id: Id) -> bool {
        (self == Self::Fibers) == (id.namespace() == Namespace::FIBER)
    }
}

/// One pass over all workers. It has no reference to the process, which may keep it.
pub(super) struct Sweep {
    of: Of,
    /// Workers that are not through.
    left: AtomicUsize,
    pub(super) done: Latch,
    pub(super) report: SpinLock<ExitReport>,
}

impl Sweep {
    /// Has all workers heed the stage of `record` that have named something of it. Others are not
    /// waited for: what they name from now on finds the stage.
    pub(super) fn start(shared: &Shared, record: &Arc<Record>, of: Of) -> Arc<Self> {
        let sweep = Arc::new(Self {
            of,
            left: AtomicUsize::new(shared.lanes.len()),
            done: Latch::new(),
            report: SpinLock::default(),
        });
        for (worker, lane) in shared.lanes.iter().enumerate() {
            let has_any = match of {
                Of::Fibers => record.has_ids_at(worker),
                // A slot of a fiber that has ended may still be listed.
                Of::Rest => record.has_ids_at(worker) && record.has_counted_at(worker),
            };
            match has_any {
                true => lane.sweep(&sweep, record),
                false => sweep.is_through(),
            }
        }
        sweep
    }

    /// A sweep of fibers closes nothing, even if it comes so late that the process has ended: what
    /// is closed is counted by the other.
    fn chosen(&self, mut ids: Vec<Id>) -> Vec<Id> {
        ids.retain(|id| self.of.includes(*id));
        ids
    }

    fn is_through(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.open();
        }
    }
}

/// A sweep at one worker.
struct Part {
    sweep: Arc<Sweep>,
    record: Arc<Record>,
    /// What is left to look at; `None` before it has begun.
    ids: Option<Vec<Id>>,
}

/// The sweeps that one worker has to do. Bound: a few for each process that is ending.
pub(crate) struct Sweeps {
    open: AtomicBool,
    waiting: AtomicBool,
    list: SpinLock<Vec<Part>>,
}

impl Sweeps {
    pub(crate) fn new() -> Self {
        Self {
            open: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            list: SpinLock::new(Vec::new()),
        }
    }

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// From here on the worker sweeps.
    pub(crate) fn open(&self) {
        let _list = self.list.lock();
        self.open.store(true, Ordering::Relaxed);
    }

    /// The worker sweeps no more: what it has is closed with it.
    pub(crate) fn close(&self) {
        let list = {
            let mut list = self.list.lock();
            self.open.store(false, Ordering::Relaxed);
            self.waiting.store(false, Ordering::SeqCst);
            mem::take(&mut *list)
        };
        for part in list {
            part.sweep.is_through();
        }
    }

    fn push(&self, sweep: &Arc<Sweep>, record: &Arc<Record>) -> bool {
        let mut list = self.list.lock();
        let open = self.open.load(Ordering::Relaxed);
        if open {
            list.push(Part {
                sweep: Arc::clone(sweep),
                record: Arc::clone(record),
                ids: None,
            });
            self.waiting.store(true, Ordering::SeqCst);
        }
        open
    }

    fn take(&self) -> Vec<Part> {
        let mut list = self.list.lock();
        self.waiting.store(false, Ordering::SeqCst);
        mem::take(&mut *list)
    }

    fn put_back(&self, part: Part) {
        let mut list = self.list.lock();
        list.push(part);
        self.waiting.store(true, Ordering::SeqCst);
    }
}

impl Lane {
    fn sweep(&self, sweep: &Arc<Sweep>, record: &Arc<Record>) {
        if self.sweeps.push(sweep, record) {
            self.notify();
        } else {
            sweep.is_through();
        }
    }

    /// Does what the calling worker has to sweep, or as much of it as one turn has room for.
    #[cold]
    pub(crate) fn do_sweeps(&self, context: &Context) {
        let mut room = IDS_A_TURN;
        for mut part in self.sweeps.take() {
            let record = &part.record;
            let left = part.ids.take();
            let mut ids = left.unwrap_or_else(|| part.sweep.chosen(context.ids_of(record)));
            let rest = ids.split_off(ids.len().min(room));
            room -= ids.len();
            part.count_fibers(&ids);
            let mut closed = ExitReport::default();
            let count = |id: Id| closed.count(id.namespace());
            context.sweep(record, ids.into_iter(), count);
            part.sweep.report.lock().add_closed(&closed);
            if rest.is_empty() {
                part.sweep.is_through();
            } else {
                part.ids = Some(rest);
                self.sweeps.put_back(part);
            }
        }
    }
}

impl Part {
    /// Before they are asked to unwind: the guardian may look as soon as they have ended.
    fn count_fibers(&self, ids: &[Id]) {
        if self.sweep.of == Of::Fibers {
            self.sweep.report.lock().fibers_unwound += ids.len();
        }
    }
}

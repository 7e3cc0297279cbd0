//! Writes down who called what, and when, while it happens.
//!
//! A call that a cancel has ended is no part of the history: it has taken no effect, so the others
//! must be explained without it. What it has done all the same, if anything, is told by its caller.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use super::checker::{Call, History, Model};

/// The common record, as one fiber writes it.
pub(crate) struct Log<M: Model> {
    fiber: usize,
    record: Arc<Record<M>>,
}

struct Record<M: Model> {
    clock: AtomicU64,
    entries: Mutex<Vec<Entry<M>>>,
}

struct Entry<M: Model> {
    fiber: usize,
    op: M::Op,
    began: u64,
    end: Option<End<M>>,
}

/// How a call has ended.
struct End<M: Model> {
    at: u64,
    steps: Steps<M>,
    /// Rather than unwound.
    returned: bool,
}

/// In the order in which they take effect.
pub(crate) type Steps<M> = Vec<(<M as Model>::Op, <M as Model>::Ret)>;

/// A call that is going on; ended by unwinding it has made the steps that it has.
struct Going<'log, M: Model> {
    log: &'log Log<M>,
    index: usize,
    steps: Steps<M>,
    returned: bool,
}

impl<M: Model> Log<M> {
    pub(crate) fn new() -> Self {
        let record = Record {
            clock: AtomicU64::new(0),
            entries: Mutex::new(Vec::new()),
        };
        Self {
            fiber: 0,
            record: Arc::new(record),
        }
    }

    /// The same record, for the fiber of this number.
    pub(crate) fn of(&self, fiber: usize) -> Self {
        Self {
            fiber,
            record: Arc::clone(&self.record),
        }
    }

    /// Calls `body`, which is `op`, takes effect in one step, and if cancelled in none.
    pub(crate) fn call(&self, op: M::Op, body: impl FnOnce() -> M::Ret) {
        let step = op.clone();
        self.call_in_steps(op, Vec::new(), || vec![(step, body())]);
    }

    /// Calls `body`, which takes effect in the steps that it gives; `if_cancelled`, in those.
    pub(crate) fn call_in_steps(
        &self,
        op: M::Op,
        if_cancelled: Steps<M>,
        body: impl FnOnce() -> Steps<M>,
    ) {
        let mut going = Going {
            log: self,
            index: self.begin(op),
            steps: if_cancelled,
            returned: false,
        };
        going.steps = body();
        going.returned = true;
    }

    fn begin(&self, op: M::Op) -> usize {
        let mut entries = self.record.entries.lock().unwrap();
        entries.push(Entry {
            fiber: self.fiber,
            op,
            began: self.record.tick(),
            end: None,
        });
        entries.len() - 1
    }

    /// Notes that nothing happens any more; the time of it.
    pub(crate) fn quiet(&self) -> u64 {
        self.record.tick()
    }

    /// The history, once everybody has ended.
    pub(crate) fn history(&self, quiet_at: u64) -> History<M> {
        let entries = self.record.entries.lock().unwrap();
        let sleeps = |entry: &Entry<M>| entry.began < quiet_at && quiet_at < entry.end().at;
        let asleep = entries.iter().filter(|entry| sleeps(entry));
        History {
            quiet_at,
            asleep: asleep
                .map(|entry| (entry.fiber, entry.op.clone()))
                .collect(),
            calls: entries
                .iter()
                .flat_map(|entry| entry.calls(&entries, sleeps(entry)))
                .collect(),
        }
    }
}

impl<M: Model> Record<M> {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

impl<M: Model> Entry<M> {
    fn end(&self) -> &End<M> {
        self.end.as_ref().expect("everybody has ended")
    }

    fn calls(&self, all: &[Self], slept: bool) -> Vec<Call<M>> {
        let End {
            at,
            steps,
            returned,
        } = self.end();
        let overlaps = |other: &&Self| {
            other.fiber != self.fiber && other.began < *at && self.began < other.end().at
        };
        let beside: Vec<M::Op> = all
            .iter()
            .filter(overlaps)
            .map(|other| other.op.clone())
            .collect();
        let last = steps.len().saturating_sub(1);
        let call = |(index, (op, ret)): (usize, &(M::Op, M::Ret))| Call {
            fiber: self.fiber,
            op: op.clone(),
            ret: ret.clone(),
            began: self.began,
            ended: *at,
            beside: beside.clone(),
            was_asleep: slept && *returned && index == last,
        };
        steps.iter().enumerate().map(call).collect()
    }
}

impl<M: Model> Drop for Going<'_, M> {
    fn drop(&mut self) {
        let mut entries = self.log.record.entries.lock().unwrap();
        let steps = core::mem::take(&mut self.steps);
        entries[self.index].end = Some(End {
            at: self.log.record.tick(),
            steps,
            returned: self.returned,
        });
    }
}

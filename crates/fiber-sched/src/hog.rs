//! The report about a fiber that keeps its worker to itself.

use alloc::{string::String, vec::Vec};
use core::{fmt, panic::Location, time::Duration};

use fiber_core::{
    Id,
    context::Neighbour,
    env::{Frame, Sample, Trace, WorkerId},
    stack::Owner,
};

/// What a fiber does that others cannot run beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HogKind {
    /// It runs, without a suspension point.
    Busy {
        /// Processor time that it has used since it was resumed, or a little less.
        cpu: Duration,
    },
    /// It keeps the worker's thread asleep in the kernel: in a system call that blocks, or waiting
    /// for a lock of another kind than the runtime's.
    Asleep {
        /// For how long, or a little more.
        time: Duration,
    },
}

/// A fiber that keeps its worker to itself, and whom it keeps waiting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HogReport {
    /// What it does.
    pub kind: HogKind,
    /// On which worker.
    pub worker: WorkerId,
    /// Which fiber; `None` if its thread did not answer, or it has no id.
    pub fiber: Option<Id>,
    /// Its name, cut to 48 bytes.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: Option<&'static Location<'static>>,
    /// Where it is, innermost first, as far as frame pointers lead.
    pub frames: Vec<Frame>,
    /// Some of the fibers that have started on this worker and cannot run meanwhile.
    pub waiting: Vec<WaitingFiber>,
    /// How many there are.
    pub waiting_total: usize,
}

/// A fiber that waits, and cannot run because another one has its worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitingFiber {
    /// Which one.
    pub fiber: Option<Id>,
    /// Its name, cut to 48 bytes.
    pub name: Option<String>,
    /// What it waits for, or has waited for.
    pub waiting_for: &'static str,
}

impl HogReport {
    pub(crate) fn new(
        kind: HogKind,
        worker: WorkerId,
        sample: Option<Sample>,
        trace: Option<&dyn Trace>,
        live: usize,
    ) -> Self {
        let mut report = Self {
            kind,
            worker,
            fiber: None,
            name: None,
            spawned_at: None,
            frames: Vec::new(),
            waiting: Vec::new(),
            waiting_total: live.saturating_sub(1),
        };
        let Some(sample) = sample else { return report };
        if let Some(owner) = &sample.glance.fiber {
            report.fiber = owner.fiber;
            report.name = name_of(owner);
            report.spawned_at = Some(owner.spawned_at);
        }
        let neighbours = sample.glance.neighbours.into_iter().flatten();
        report.waiting = neighbours.map(WaitingFiber::from).collect();
        report.waiting_total = sample.glance.neighbours_total;
        if let Some(trace) = trace {
            report.frames = frames_of(trace, &sample.addresses);
        }
        report
    }
}

impl From<Neighbour> for WaitingFiber {
    fn from(neighbour: Neighbour) -> Self {
        Self {
            fiber: neighbour.fiber.fiber,
            name: name_of(&neighbour.fiber),
            waiting_for: neighbour.waiting_for,
        }
    }
}

/// The functions at these addresses. Code without frame pointers has other things where they would
/// be: what leads out of all code is left out, with all behind it.
fn frames_of(trace: &dyn Trace, addresses: &[usize]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for &address in addresses {
        let here = trace.frames_at(address);
        if here.is_empty() && !frames.is_empty() {
            break;
        }
        frames.extend(here);
    }
    trace.forget();
    frames
}

fn name_of(owner: &Owner) -> Option<String> {
    match owner.name() {
        "" => None,
        name => Some(name.into()),
    }
}

fn write_fiber(f: &mut fmt::Formatter<'_>, name: Option<&String>, id: Option<Id>) -> fmt::Result {
    match (name, id) {
        (Some(name), Some(id)) => write!(f, "'{name}' ({id})"),
        (Some(name), None) => write!(f, "'{name}'"),
        (None, Some(id)) => write!(f, "{id}"),
        (None, None) => f.write_str("(unknown)"),
    }
}

impl fmt::Display for HogReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fiber ")?;
        write_fiber(f, self.name.as_ref(), self.fiber)?;
        let worker = self.worker.0;
        match self.kind {
            HogKind::Busy { cpu } => write!(
                f,
                " has used {} ms of worker {worker} without letting others run; put a \
                 `checkpoint()` into its loop, or use `blocking`",
                cpu.as_millis()
            )?,
            HogKind::Asleep { time } => write!(
                f,
                " keeps worker {worker} asleep in the kernel for {} ms; use `blocking`, or locks \
                 of the runtime where a guard lives across a wait",
                time.as_millis()
            )?,
        }
        if let Some(site) = self.spawned_at {
            write!(f, "; spawned at {site}")?;
        }
        write!(
            f,
            "; {} other fibers wait for the worker",
            self.waiting_total
        )?;
        for fiber in &self.waiting {
            f.write_str("\n  waiting: ")?;
            write_fiber(f, fiber.name.as_ref(), fiber.fiber)?;
            write!(f, " for {}", fiber.waiting_for)?;
        }
        for frame in &self.frames {
            write!(f, "\n  at {frame}")?;
        }
        Ok(())
    }
}

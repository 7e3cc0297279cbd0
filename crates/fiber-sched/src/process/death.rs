//! How a process dies (I-5), driven by a fiber of the runtime's first process that nothing of the
//! dying one can hold up.
//!
//! ```text
//! cancelled ──▶ its fibers unwind, its children die ──▶ ids closed in one batch ──▶ told
//!     │ grace over: killed                  ▲
//!     └───────▶ grace over: abandoned ──────┘
//! ```
//!
//! The guardian needs a stack. If there is none it tries again: what dies gives stacks back.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

use fiber_core::{
    context::Context,
    env::StackClass,
    fiber::Reason,
    operation::{Either, Operation, perform, timeout},
    park::shield,
    process::Stage,
};

use super::{
    Process,
    end::{End, Exit, ExitReport},
    link::tell_links,
    name::unregister,
    sweep::Sweep,
};
use crate::{
    primitive::Ordering,
    runtime::Runtime,
    shared::{Phase, Shared},
    spawn::Builder as FiberBuilder,
    turn::RUN_OVER,
};

/// Why what a process has left is cancelled.
const MAIN_ENDED: Reason = Reason::new("the main function of its process has ended");
/// Why the children of a process are cancelled.
const PARENT_ENDED: Reason = Reason::new("the process that has made it has ended");
/// After how long somebody looks again for a stack.
const NO_STACK: Duration = Duration::from_millis(10);

impl Process {
    /// Raises the stage and sees to it that the process ends. Legal from any thread.
    pub(super) fn begin_to_end(&self, stage: Stage, reason: &Reason) {
        if self.record().raise(stage, reason) {
            self.goes_on_to_end(stage, reason);
        }
    }

    /// The stage was raised, by the caller: the process is made to heed it.
    pub(super) fn goes_on_to_end(&self, stage: Stage, reason: &Reason) {
        end_children(self.heed(stage), stage, reason);
    }

    /// [`Process::goes_on_to_end`] without its children; gives those that it takes with it.
    fn heed(&self, stage: Stage) -> Vec<Self> {
        let life = self.life();
        let begun = life.is_ending.swap(true, Ordering::AcqRel);
        // Now, and not when the guardian comes to it.
        let sweep = Sweep::start(&life.shared, self.record());
        if !begun {
            Guardian(Some((self.clone(), sweep))).launch(None);
        }
        if stage > Stage::Cancelled || !life.stops_children {
            life.children.all()
        } else {
            Vec::new()
        }
    }

    /// Its main function has ended like this, or will never run.
    pub(super) fn main_ended(&self, end: End) {
        self.life().end.lock().get_or_insert_with(|| Box::new(end));
        self.begin_to_end(Stage::Cancelled, &MAIN_ENDED);
    }
}

/// Ends the children of a process that ends for this reason.
fn end_children(mut children: Vec<Process>, stage: Stage, reason: &Reason) {
    let reason = match stage {
        Stage::Cancelled if *reason == MAIN_ENDED => &PARENT_ENDED,
        _ => reason,
    };
    // No recursion: a long line of processes may end on a small stack.
    while let Some(child) = children.pop() {
        if child.record().raise(stage, reason) {
            children.extend(child.heed(stage));
        }
    }
}

/// Sees to a process's death, which has begun with a sweep. If it is dropped before it has, another
/// one does.
struct Guardian(Option<(Process, Arc<Sweep>)>);

impl Guardian {
    fn launch(self, after: Option<Duration>) {
        let Some((process, _)) = &self.0 else { return };
        let runtime = Runtime::of(Arc::clone(&process.life().shared));
        let builder = FiberBuilder::new()
            .name("guardian")
            .stack(StackClass::K64)
            .of_runtime();
        let here = core::panic::Location::caller();
        let spawned = match after {
            None => builder.spawn_at(&runtime, move || self.work(), here),
            Some(span) => builder.spawn_when(timeout(span), move |()| self.work()),
        };
        // The end of the run tells of those whose guardian could not be spawned.
        drop(spawned);
    }

    fn work(mut self) {
        if let Some((process, first)) = self.0.take() {
            // Whoever finds it among the fibers cannot kill it either.
            shield(|| see_to(&process, &first));
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let Some((process, first)) = self.0.take() else {
            return;
        };
        let in_runtime = Context::with(|context| context.is_some());
        if in_runtime && process.life().shared.phase() < Phase::Stopped {
            Self(Some((process, first))).launch(Some(NO_STACK));
        }
    }
}

/// Waits for everything within the grace only: a worker that does not come to its next turn, for
/// whatever a fiber does there, holds up nobody's death for ever.
fn see_to(process: &Process, first: &Sweep) {
    let (record, life) = (process.record(), process.life());
    let mut report = ExitReport::default();
    for stage in [Stage::Killed, Stage::Abandoned] {
        if record.stage() >= stage {
            continue;
        }
        let ended = record.emptied_operation().timeout_in(life.grace);
        if ended {
            break;
        }
        tracing::warn!(
            target: "fiber::sched", %process, fibers = record.fibers(), ?stage,
            "a process does not end within its grace"
        );
        process.begin_to_end(stage, &record.reason());
    }
    if record.stage() == Stage::Abandoned {
        // What comes to a suspension point rests there; what does not cannot be ended.
        record.emptied_operation().timeout_in(life.grace);
    }
    report.fibers_unwound = first.report.lock().fibers_unwound;
    report.fibers_abandoned = record.abandoned();
    report.fibers_running = record.fibers();
    // Those that its main function was to end, and has not.
    end_children(life.children.all(), Stage::Cancelled, &record.reason());
    for child in life.children.all() {
        perform(
            child
                .life()
                .ended
                .wait_operation("the end of a child process"),
        );
    }
    record.release();
    let close = Sweep::start(&life.shared, record);
    close.done.wait_operation("a sweep").timeout_in(life.grace);
    let closed = *close.report.lock();
    report.streams_closed = closed.streams_closed;
    report.listeners_closed = closed.listeners_closed;
    report.others_closed = closed.others_closed;
    if !record.released_operation().timeout_in(life.grace) {
        report.ids_left = record.ids();
        tracing::warn!(
            target: "fiber::sched", %process, ids = report.ids_left,
            "the host does not give back what a process that has ended had asked of it"
        );
    }
    finish(process, report);
}

/// The last steps: its id goes stale, and those who wait are told.
pub(super) fn finish(process: &Process, report: ExitReport) {
    let (record, life) = (process.record(), process.life());
    let reason = record.reason();
    let end = life.end.lock().take();
    let end = match (record.stage(), end) {
        (_, Some(end)) => *end,
        _ if report.fibers_abandoned > 0 => End::Killed(reason),
        _ => End::Cancelled(reason),
    };
    let exit = Arc::new(Exit {
        process: process.id(),
        name: record.name().map(Into::into),
        end,
        report,
    });
    *life.exit.lock() = Some(Arc::clone(&exit));
    // It may be closed already, at a broken end.
    let _ = life.shared.env.id_space().close(process.id());
    process.siblings().remove(process);
    drop(unregister(process));
    tell_links(process, &exit);
    life.ended.open();
}

/// The main fiber of the run has ended: these are cancelled, and waited for. False if there were
/// none, or if they never end, since all are asleep.
pub(crate) fn end_all(shared: &Shared) -> bool {
    let children = shared.processes.all();
    for child in &children {
        child.cancel(RUN_OVER);
    }
    let ended = children.iter().all(|child| {
        let given_up = shared.given_up.wait_operation("the end of a process");
        matches!(
            perform(child.end_operation().or(given_up)),
            Either::First(_)
        )
    });
    ended && !children.is_empty()
}

/// The run is over: what has not ended by itself has now.
pub(crate) fn finish_all(children: Vec<Process>) {
    for process in children {
        finish_all(process.life().children.all());
        process.record().raise(Stage::Ended, &RUN_OVER);
        finish(&process, ExitReport::default());
    }
}

/// Waiting for a while.
trait TimeoutIn: Operation {
    /// Whether it has committed within `span`.
    fn timeout_in(self, span: Duration) -> bool
    where
        Self: Sized,
    {
        self.perform_timeout(span).is_ok()
    }
}

impl<O: Operation> TimeoutIn for O {}

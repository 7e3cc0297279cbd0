//! How a process dies (I-5).
//!
//! ```text
//! cancelled ──▶ its fibers unwind, its children die ──▶ ids closed in one batch ──▶ told
//!     │ grace over: killed                  ▲
//!     └───────▶ grace over: abandoned ──────┘
//! ```
//!
//! Most have nothing left by then. Such a death is seen to *in place*: whoever ends the last fiber
//! closes what is left at that worker and tells, or the worker does, when the host has closed it.
//! Whatever there is to wait for beyond that is waited for by a *guardian*, a fiber of the
//! runtime's first process that nothing of the dying one can hold up.
//!
//! | attendance | who goes on | set by |
//! |---|---|---|
//! | `Nobody` | it runs, or its main function has ended with nothing left to unwind | |
//! | `InPlace` | whoever has set it | the end of the last fiber, if nobody attends |
//! | `Closing` | the worker that is told of the last closing | the same, then |
//! | `Guardian` | that | whoever makes it end; in place, if there is more to wait for |
//!
//! The guardian needs a stack. If there is none it tries again: what dies gives stacks back.

use alloc::{boxed::Box, string::ToString, sync::Arc, vec::Vec};
use core::{mem, time::Duration};

use fiber_core::{
    Id,
    context::Context,
    env::{Env, StackClass},
    fiber::{AtEnd, ExitReason, Reason},
    operation::{Either, Latch, LatchOperation, Operation, perform, timeout},
    park::shield,
    process::{Life as _, Record, Stage},
    spin::SpinLock,
};

use super::{
    Process,
    end::{End, Exit, ExitReport},
    life::Life,
    link::tell_links,
    name::unregister,
    sweep::{Of, Sweep},
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
/// How long one that was killed has to unwind, and the host to give back what it was lent, at the
/// most: a grace may be without end, as that of a supervisor is.
const KILLED_MAX: Duration = Duration::from_secs(5);
/// After how long somebody looks again for a stack.
const NO_STACK: Duration = Duration::from_millis(10);
/// How many ids are closed in place at the most.
const IN_PLACE_MAX: usize = 64;

/// Who sees to a death.
#[derive(Default)]
pub(super) enum Attendance {
    #[default]
    Nobody,
    InPlace,
    /// With what it has closed, if it was anything.
    Closing(Option<Box<ExitReport>>),
    Guardian(Arc<Death>),
}

/// What a guardian waits for, and knows.
#[derive(Default)]
pub(super) struct Death {
    emptied: Latch,
    /// It is not to be waited for any longer than for one that is killed.
    killed: Latch,
    released: Latch,
    /// The first sweep, if there was one.
    first: SpinLock<Option<Arc<Sweep>>>,
    /// What was closed in place, before it was seen that there is more to wait for.
    closed: ExitReport,
}

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
        // Now, and not when the guardian comes to it.
        let sweep = Sweep::start(&life.shared, self.record(), Of::Fibers);
        self.attend(Some(sweep));
        if stage >= Stage::Abandoned {
            // Its worker has perhaps not come to sweep for as long as one of them runs: that one
            // goes no further than to its next call that may suspend.
            let lanes = life.shared.lanes.iter().enumerate();
            let kept = lanes.filter(|(worker, _)| self.record().has_ids_at(*worker));
            kept.for_each(|(_, lane)| lane.end_slice());
        }
        if stage >= Stage::Killed {
            let guardian = match &*life.attendance.lock() {
                Attendance::Guardian(death) => Some(Arc::clone(death)),
                _ => None,
            };
            // Without the lock: whoever is woken may look at it.
            if let Some(death) = guardian {
                death.killed.open();
            }
        }
        if stage > Stage::Cancelled || !life.stops_children {
            life.children.all()
        } else {
            Vec::new()
        }
    }

    /// It ends, and that has begun with this sweep: a guardian sees to it, unless somebody does.
    pub(super) fn attend(&self, first: Option<Arc<Sweep>>) {
        let mut death = Arc::new(Death::default());
        *death.first.lock() = first;
        {
            let mut attendance = self.life().attendance.lock();
            match &*attendance {
                Attendance::Nobody => *attendance = Attendance::Guardian(Arc::clone(&death)),
                Attendance::Guardian(other) => {
                    let first = death.first.lock().take();
                    death = Arc::clone(other);
                    let mut known = death.first.lock();
                    if known.is_none() {
                        *known = first;
                    }
                    return;
                }
                Attendance::InPlace | Attendance::Closing(_) => return,
            }
        }
        self.guard(death);
    }

    fn guard(&self, death: Arc<Death>) {
        let (record, shared) = (self.record(), &self.life().shared);
        if record.has_closing() {
            // Their workers perhaps sleep, since nobody was waiting for what they have closed: see
            // `Context::turn`. Who has raised the stage and does not see them asleep is seen.
            let lanes = shared.lanes.iter().enumerate();
            let closing = lanes.filter(|(worker, _)| record.has_counted_at(*worker));
            closing.for_each(|(_, lane)| lane.notify());
        }
        Guardian(Some((self.clone(), death))).launch(None);
    }

    /// Its last fiber has ended, and nobody attends.
    fn end_in_place(&self) {
        let (record, life) = (self.record(), self.life());
        let mut closed = ExitReport::default();
        if life.children.is_empty() {
            if record.release() {
                // Nothing was counted, so no worker has anything to close: what is named from now
                // on finds that it has ended.
                return tell(self, closed);
            }
            if self.close_here(&mut closed) {
                let report = (closed != ExitReport::default()).then(|| Box::new(closed));
                *life.attendance.lock() = Attendance::Closing(report);
                if record.release() {
                    // Nobody else may have been told of it as `Closing`.
                    life.released(record);
                }
                return;
            }
        }
        let death = Arc::new(Death {
            closed,
            ..Death::default()
        });
        death.emptied.open();
        *life.attendance.lock() = Attendance::Guardian(Arc::clone(&death));
        self.guard(death);
    }

    /// Closes what it has, if all of that is the calling worker's, and counts it. Says whether
    /// nobody is inside: then the host has it in that worker's next turn, and there is nothing else
    /// to be waited for.
    fn close_here(&self, closed: &mut ExitReport) -> bool {
        let (record, shared) = (self.record(), &self.life().shared);
        let closes = Context::with(|context| {
            let Some(context) = context.filter(|context| shared.runs(context)) else {
                return false;
            };
            let here = context.worker().index();
            let count = |id: Id| closed.count(id.namespace());
            record.is_counted_only_at(here, shared.lanes.len())
                && context.close_ids_of(record, IN_PLACE_MAX, count)
        });
        closes && record.ids() == 0
    }
}

impl fiber_core::process::Life for Life {
    fn main_ended(&self, record: &Arc<Record>, at_end: AtEnd, wrong: Option<&ExitReason>) {
        let asked = record.stage() > Stage::Running;
        let raised = record.raise(Stage::Cancelled, &MAIN_ENDED);
        let end = match wrong {
            Some(reason) if at_end == AtEnd::NeverRan && !asked => {
                End::NotStarted(reason.to_string().into())
            }
            wrong => End::of(wrong),
        };
        {
            let mut said = self.end.lock();
            match end {
                _ if said.is_some() => {}
                End::Returned if raised => self.has_returned.store(true, Ordering::Relaxed),
                end => *said = Some(Box::new(end)),
            }
        }
        // Else whoever has raised it sees to its end. Nobody is to be asked to unwind where the
        // calling fiber is the only one, and has nothing to unwind: its own end does the rest.
        let is_last = at_end == AtEnd::Over && record.is_alone() && self.children.is_empty();
        if raised && !is_last {
            Process::from_record(Arc::clone(record)).goes_on_to_end(Stage::Cancelled, &MAIN_ENDED);
        }
    }

    fn emptied(&self, record: &Arc<Record>) {
        if record.id().is_none() {
            // There was no id for it: it was never made, and nobody knows of it.
            return;
        }
        let guardian = {
            let mut attendance = self.attendance.lock();
            match &*attendance {
                Attendance::Guardian(death) => Some(Arc::clone(death)),
                _ => {
                    *attendance = Attendance::InPlace;
                    None
                }
            }
        };
        match guardian {
            Some(death) => drop(death.emptied.open()),
            None => Process::from_record(Arc::clone(record)).end_in_place(),
        }
    }

    fn released(&self, record: &Arc<Record>) {
        let before = {
            let mut attendance = self.attendance.lock();
            match &*attendance {
                Attendance::Guardian(death) => Attendance::Guardian(Arc::clone(death)),
                _ => mem::replace(&mut *attendance, Attendance::InPlace),
            }
        };
        match before {
            Attendance::Guardian(death) => drop(death.released.open()),
            Attendance::Closing(report) => {
                let report = report.map(|report| *report).unwrap_or_default();
                tell(&Process::from_record(Arc::clone(record)), report);
            }
            // Whoever is at it looks for itself.
            Attendance::Nobody | Attendance::InPlace => {}
        }
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

/// Sees to a process's death. If it is dropped before it has, another one does.
struct Guardian(Option<(Process, Arc<Death>)>);

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
        if let Some((process, death)) = self.0.take() {
            // Whoever finds it among the fibers cannot kill it either.
            shield(|| see_to(&process, &death));
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let Some((process, death)) = self.0.take() else {
            return;
        };
        let in_runtime = Context::with(|context| context.is_some());
        if in_runtime && process.life().shared.phase() < Phase::Stopped {
            Self(Some((process, death))).launch(Some(NO_STACK));
        }
    }
}

/// Waits for everything within the grace only: another worker that does not come to its next turn,
/// for whatever a fiber does there, holds up nobody's death for ever.
fn see_to(process: &Process, death: &Death) {
    let (record, life) = (process.record(), process.life());
    let mut report = death.closed;
    let (env, grace) = (&*life.shared.env, life.grace.min(KILLED_MAX));
    if record.stage() < Stage::Killed {
        let killed = death.killed.wait_operation("a kill");
        if !death.emptied_operation().or(killed).timeout_in(life.grace) {
            insist(process, Stage::Killed);
        }
    }
    if !death.emptied_in(grace, env) {
        insist(process, Stage::Abandoned);
        // What comes to a suspension point rests there; what does not cannot be ended.
        death.emptied_in(grace, env);
    }
    if let Some(first) = &*death.first.lock() {
        report.fibers_unwound = first.report.lock().fibers_unwound;
    }
    // In this order: one that comes to rest meanwhile is not left out.
    report.fibers_running = record.fibers();
    report.fibers_abandoned = record.abandoned();
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
    // With nothing counted there is nothing to close.
    if !record.release() {
        let close = Sweep::start(&life.shared, record, Of::Rest);
        close.done.wait_operation("a sweep").timeout_in(grace);
        let released = death.released.wait_operation("the end of a process's ids");
        let released = released.timeout_in(grace);
        // A worker may have come to its part late.
        report.add_closed(&close.report.lock());
        if !released {
            report.ids_left = record.ids_left();
            tracing::warn!(
                target: "fiber::sched", %process, ids = report.ids_left,
                "the host does not give back what a process that has ended had asked of it"
            );
        }
    }
    tell(process, report);
}

impl Death {
    fn emptied_operation(&self) -> LatchOperation<'_> {
        self.emptied.wait_operation("the end of a process's fibers")
    }

    /// Whether all of its fibers have ended within `span`; once more if that is over long since
    /// when this worker comes to see it: it has let nobody run meanwhile.
    fn emptied_in(&self, span: Duration, env: &dyn Env) -> bool {
        let over = env.now() + span;
        self.emptied_operation().timeout_in(span)
            || env.now() > over + span / 4 && self.emptied_operation().timeout_in(span)
    }
}

/// It does not end within its grace.
fn insist(process: &Process, stage: Stage) {
    let record = process.record();
    tracing::warn!(
        target: "fiber::sched", %process, fibers = record.fibers(), ?stage,
        "a process does not end within its grace"
    );
    process.begin_to_end(stage, &record.reason());
}

/// The last steps: its id goes stale, and those who wait are told.
fn tell(process: &Process, report: ExitReport) {
    let (record, life) = (process.record(), process.life());
    if life.is_told.swap(true, Ordering::AcqRel) {
        // The run was over first.
        return;
    }
    let said = life.end.lock().take();
    let end = match said {
        _ if life.has_returned.load(Ordering::Relaxed) => End::Returned,
        Some(end) => *end,
        None if report.fibers_abandoned + report.fibers_running > 0 => End::Killed(record.reason()),
        None => End::Cancelled(record.reason()),
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
pub(crate) fn finish_all(mut processes: Vec<Process>) {
    // No recursion, as in `end_children`; whoever was made by another one ends before it.
    let mut next = 0;
    while let Some(process) = processes.get(next) {
        processes.extend(process.life().children.all());
        next += 1;
    }
    for process in processes.into_iter().rev() {
        process.record().raise(Stage::Ended, &RUN_OVER);
        tell(&process, ExitReport::default());
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

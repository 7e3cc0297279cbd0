//! How processes end, and what their death has cleaned up.

use alloc::{boxed::Box, string::ToString, sync::Arc};
use core::fmt;

use fiber_core::{
    Id, Namespace,
    fiber::{ExitReason, Reason},
};

/// Why a process has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// Its main function has returned.
    #[error("returned")]
    Returned,
    /// Its main function has panicked; this is the message.
    #[error("panicked: {0}")]
    Panicked(Arc<str>),
    /// It has said itself that it failed, see [`fail`](super::fail()).
    #[error("failed: {0}")]
    Failed(Arc<str>),
    /// It was cancelled.
    #[error("cancelled: {0}")]
    Cancelled(Reason),
    /// It was killed.
    #[error("killed: {0}")]
    Killed(Reason),
    /// One that it was linked to has ended like this, perhaps through others in between.
    #[error("was linked to {0}")]
    Linked(Arc<Exit>),
    /// Its main function never ran, for want of a stack.
    #[error("not started: {0}")]
    NotStarted(Arc<str>),
    /// There was no such process any more, and how it has ended is forgotten.
    #[error("it had ended before")]
    Unknown,
}

impl End {
    /// Whether this is how a process is meant to end: it has returned, or was cancelled for
    /// [`SHUTDOWN`](super::SHUTDOWN), or linked to one that was.
    pub fn is_normal(&self) -> bool {
        match self {
            Self::Returned => true,
            Self::Cancelled(reason) => reason.message() == super::SHUTDOWN.message(),
            Self::Linked(exit) => exit.end.is_normal(),
            _ => false,
        }
    }

    /// How a process ends with whose main fiber this was wrong.
    pub(super) fn of(wrong: Option<&ExitReason>) -> Self {
        match wrong {
            None => Self::Returned,
            Some(ExitReason::Cancelled(reason)) => Self::Cancelled(reason.clone()),
            Some(ExitReason::Killed(reason) | ExitReason::Abandoned(reason)) => {
                Self::Killed(reason.clone())
            }
            Some(ExitReason::Panicked(payload)) => Self::Panicked(payload.to_string().into()),
            Some(reason) => Self::NotStarted(reason.to_string().into()),
        }
    }
}

/// What is told of a process that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Which one.
    pub process: Id,
    /// Its name.
    pub name: Option<Box<str>>,
    /// Why.
    pub end: End,
    /// What its death has cleaned up.
    pub report: ExitReport,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "process '{name}' ({}) {}", self.process, self.end)?,
            None => write!(f, "{} {}", self.process, self.end)?,
        }
        if self.report.is_clean() {
            return Ok(());
        }
        write!(f, " ({})", self.report)
    }
}

/// What the death of a process has cleaned up: what its main function had left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExitReport {
    /// Fibers that were asked to unwind, the main one included if it still ran.
    pub fibers_unwound: usize,
    /// Fibers that did not end when they were killed: they never run again, and their stacks are
    /// leaked.
    pub fibers_abandoned: usize,
    /// Fibers that ran on without coming to a suspension point: they are abandoned as soon as they
    /// do.
    pub fibers_running: usize,
    /// Connections that were closed.
    pub streams_closed: usize,
    /// Listeners that were closed.
    pub listeners_closed: usize,
    /// Other ids that were closed.
    pub others_closed: usize,
    /// Ids whose requests the host had not given back when the process was reported as ended: their
    /// memory stays until it does.
    pub ids_left: usize,
}

impl ExitReport {
    /// Whether everything is gone.
    pub fn is_clean(&self) -> bool {
        self.fibers_abandoned == 0 && self.fibers_running == 0 && self.ids_left == 0
    }

    pub(super) fn add_closed(&mut self, other: &Self) {
        self.streams_closed += other.streams_closed;
        self.listeners_closed += other.listeners_closed;
        self.others_closed += other.others_closed;
    }

    pub(super) fn count(&mut self, namespace: Namespace) {
        match namespace {
            Namespace::FIBER | Namespace::PROCESS => {}
            Namespace::STREAM => self.streams_closed += 1,
            Namespace::LISTENER => self.listeners_closed += 1,
            _ => self.others_closed += 1,
        }
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} fibers unwound, {} abandoned, {} still running; {} connections, {} listeners and \
             {} others closed, {} ids still in use",
            self.fibers_unwound,
            self.fibers_abandoned,
            self.fibers_running,
            self.streams_closed,
            self.listeners_closed,
            self.others_closed,
            self.ids_left
        )
    }
}

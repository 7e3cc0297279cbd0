//! What is said when nothing can ever run again.

use alloc::{string::String, vec::Vec};
use core::{fmt, panic::Location};

use fiber_core::{Id, context::FiberReport};

/// Every fiber is parked, and nothing is left that could wake one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AllAsleep {
    /// The fibers, by worker.
    pub fibers: Vec<ParkedFiber>,
}

/// One fiber that waits for ever.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParkedFiber {
    /// Its id.
    pub id: Option<Id>,
    /// Its name.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for.
    pub waiting_for: &'static str,
}

impl From<FiberReport<'_>> for ParkedFiber {
    fn from(report: FiberReport<'_>) -> Self {
        Self {
            id: report.id,
            name: report.name.map(String::from),
            spawned_at: report.spawned_at,
            waiting_for: report.waiting_for,
        }
    }
}

impl fmt::Display for AllAsleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "all {} fibers are asleep and nothing can wake them:",
            self.fibers.len()
        )?;
        for fiber in &self.fibers {
            write!(f, "\n  {fiber}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ParkedFiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "'{name}' ")?;
        }
        if let Some(id) = self.id {
            write!(f, "({id}) ")?;
        }
        write!(
            f,
            "waits for {}; spawned at {}",
            self.waiting_for, self.spawned_at
        )
    }
}

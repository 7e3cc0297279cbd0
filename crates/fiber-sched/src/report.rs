//! What is said when nothing can ever run again.

use alloc::{string::String, vec::Vec};
use core::{fmt, panic::Location};

use fiber_core::{Id, context::FiberReport, operation::Holder, registry::IdSpace};

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
    /// Where it waits, if what it waits for notes that.
    pub at: Option<&'static Location<'static>>,
    /// Who has what it waits for, as far as that is known.
    pub held_by: Vec<Holder>,
    /// Whether nobody is left who could end its wait: whoever held what it waits for has ended
    /// without giving it back, as when a guard is forgotten.
    pub is_orphaned: bool,
}

impl ParkedFiber {
    /// What is known of a fiber of the world with these ids.
    pub(crate) fn new(report: FiberReport<'_>, ids: &IdSpace) -> Self {
        let mut held_by = Vec::new();
        if let Some(waits) = report.waits {
            waits.resource.holders(&mut |holder| held_by.push(holder));
        }
        let has_ended = |holder: &Holder| holder.fiber.is_some_and(|fiber| !ids.is_live(fiber));
        Self {
            at: report.waits.map(|waits| waits.site),
            is_orphaned: !held_by.is_empty() && held_by.iter().all(has_ended),
            held_by,
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
        write!(f, "waits for {}", self.waiting_for)?;
        if let Some(at) = self.at {
            write!(f, " at {at}")?;
        }
        for holder in &self.held_by {
            write!(f, ", held by {holder}")?;
        }
        if self.is_orphaned {
            f.write_str(", which has ended without giving it back")?;
        }
        write!(f, "; spawned at {}", self.spawned_at)
    }
}

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
    /// How many handles there are by which its wait could be ended, where they are counted: those
    /// of the other side of a channel, or for one that is parked, its own. Who has them is not
    /// known: it may be the fiber itself.
    pub peers: Option<usize>,
    /// Whether nobody is left who could end its wait, but by a cancel: whoever held what it waits
    /// for has ended without giving it back, as when a guard is forgotten; or it is parked, and
    /// there is no handle to unpark it by. Of channels it never is: when one side is gone the other
    /// side is told.
    pub is_orphaned: bool,
}

/// What is known of how a fiber's wait could end.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    pub(crate) at: Option<&'static Location<'static>>,
    pub(crate) held_by: Vec<Holder>,
    pub(crate) peers: Option<usize>,
    pub(crate) is_orphaned: bool,
}

impl Outlook {
    /// That of a fiber of the world with these ids.
    pub(crate) fn new(report: &FiberReport<'_>, ids: &IdSpace) -> Self {
        let Some(waits) = report.waits.filter(|_| report.is_parked) else {
            return Self::default();
        };
        let mut held_by = Vec::new();
        waits.resource.holders(&mut |holder| held_by.push(holder));
        let peers = waits.resource.peers();
        let has_ended = |holder: &Holder| holder.fiber.is_some_and(|fiber| !ids.is_live(fiber));
        let are_gone = !held_by.is_empty() && held_by.iter().all(has_ended);
        Self {
            at: Some(waits.site),
            is_orphaned: !report.is_limited && (are_gone || peers == Some(0)),
            held_by,
            peers,
        }
    }
}

impl ParkedFiber {
    /// What is known of a fiber of the world with these ids.
    pub(crate) fn new(report: FiberReport<'_>, ids: &IdSpace) -> Self {
        let outlook = Outlook::new(&report, ids);
        Self {
            at: outlook.at,
            held_by: outlook.held_by,
            peers: outlook.peers,
            is_orphaned: outlook.is_orphaned,
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
        match self.peers {
            Some(1) => f.write_str(", which one handle could end")?,
            Some(peers @ 2..) => write!(f, ", which any of {peers} handles could end")?,
            Some(0) | None => {}
        }
        if self.is_orphaned {
            f.write_str(match self.peers {
                Some(_) => ", which nobody can end: no handle is left",
                None => ", which has ended without giving it back",
            })?;
        }
        write!(f, "; spawned at {}", self.spawned_at)
    }
}

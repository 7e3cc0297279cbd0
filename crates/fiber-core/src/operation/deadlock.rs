//! Waiting in a circle: found when the last edge closes, told to the one that closes it.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{error::Error, fmt, panic::Location};

use crate::id::Id;

/// The caller would wait for itself, through these fibers: each waits for something that the next
/// one holds, and the last one for something that the caller holds.
#[derive(Clone, Debug)]
pub struct Deadlock {
    links: Box<[Link]>,
}

/// One fiber of a circle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Link {
    /// The fiber that waits; `None` if it has no id.
    pub fiber: Option<Id>,
    /// Its name.
    pub name: Option<String>,
    /// What it waits for: "a mutex".
    pub waits_for: &'static str,
    /// Where it waits.
    pub at: &'static Location<'static>,
    /// Where the next fiber of the circle has taken that.
    pub held_since: &'static Location<'static>,
}

impl Deadlock {
    pub(crate) fn new(links: Vec<Link>) -> Self {
        Self {
            links: links.into_boxed_slice(),
        }
    }

    /// The fibers, the caller first.
    pub fn links(&self) -> &[Link] {
        &self.links
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock: these fibers would wait for each other for ever:")?;
        for (index, link) in self.links.iter().enumerate() {
            let next = &self.links[(index + 1) % self.links.len()];
            write!(
                f,
                "\n  {} waits for {} at {}",
                Who(link),
                link.waits_for,
                link.at
            )?;
            write!(f, ", which {} has since {}", Who(next), link.held_since)?;
        }
        Ok(())
    }
}

impl Error for Deadlock {}

/// A fiber of a circle, by name or by id.
struct Who<'link>(&'link Link);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.name, self.0.fiber) {
            (Some(name), Some(fiber)) => write!(f, "'{name}' ({fiber})"),
            (Some(name), None) => write!(f, "'{name}'"),
            (None, Some(fiber)) => write!(f, "{fiber}"),
            (None, None) => f.write_str("a fiber"),
        }
    }
}

//! Who has died with something in hand, why, and where that was taken.

use alloc::{borrow::ToOwned, boxed::Box};
use core::{fmt, panic::Location};

use super::holder::{Holder, Resource};
use crate::{
    context::Context,
    fiber::{Header, Reason},
    id::Id,
    registry::IdSpace,
};

/// A fiber or a thread that did not come to a good end while it held something, or will come to
/// none.
///
/// Std's locks know only that there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dead {
    /// The fiber; `None` if it was a plain thread, or a fiber without an id.
    pub fiber: Option<Id>,
    /// The fiber's name.
    pub name: Option<Box<str>>,
    /// The fiber's process; `None` on a plain thread.
    pub process: Option<Id>,
    /// What became of it.
    pub fate: Fate,
    /// Where in the program it had taken what it held.
    pub taken_at: &'static Location<'static>,
}

/// What became of one who held something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It panicked.
    Panicked,
    /// It was killed, for this reason.
    Killed(Reason),
    /// It did not end when it was killed for this reason, and never runs again: what it held is not
    /// given back.
    Abandoned(Reason),
}

impl Dead {
    /// The caller, which unwinds and had taken something there.
    #[cold]
    pub fn of_caller(taken_at: &'static Location<'static>) -> Self {
        let fiber = Context::with_current(|context, fiber| Self {
            fiber: fiber.id(),
            name: fiber.name().map(ToOwned::to_owned).map(Into::into),
            process: match fiber.process() {
                Some(process) => process.id(),
                None => context.runtime(),
            },
            fate: Fate::of(fiber),
            taken_at,
        });
        fiber.unwrap_or(Self {
            fiber: None,
            name: None,
            process: None,
            fate: Fate::Panicked,
            taken_at,
        })
    }

    /// One of those who keep a performer from `resource`, if it was abandoned: waiting for it may
    /// never end. For one who has not got it at once, on a path that is slow anyway.
    pub fn in_the_way_of(resource: &dyn Resource) -> Option<Box<Self>> {
        Context::with(|context| {
            let space = match context {
                Some(context) => context.id_space(),
                None => IdSpace::of_process(),
            };
            if space.has_lost() {
                Self::lost(space, resource)
            } else {
                None
            }
        })
    }

    #[cold]
    fn lost(space: &IdSpace, resource: &dyn Resource) -> Option<Box<Self>> {
        let mut lost = None;
        resource.obstacles(&mut |holder| {
            if lost.is_none() && holder.fiber.is_some_and(|fiber| space.is_lost(fiber)) {
                lost = Some(holder);
            }
        });
        let holder: Holder = lost?;
        let (fiber, process) = space.lost_fiber(holder.fiber?)?;
        let header = fiber.header();
        Some(Box::new(Self {
            fiber: fiber.id(),
            name: header.name().map(ToOwned::to_owned).map(Into::into),
            process,
            fate: Fate::Abandoned(header.cancel_reason().unwrap_or_default()),
            taken_at: holder.since,
        }))
    }
}

impl Fate {
    /// Of one that unwinds.
    fn of(fiber: &Header) -> Self {
        match fiber.interrupted().get() {
            0 => Self::Panicked,
            _ => Self::Killed(fiber.cancel_reason().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.fiber) {
            (Some(name), Some(fiber)) => write!(f, "fiber '{name}' ({fiber})")?,
            (Some(name), None) => write!(f, "fiber '{name}'")?,
            (None, Some(fiber)) => write!(f, "fiber {fiber}")?,
            (None, None) => f.write_str("a plain thread")?,
        }
        if let Some(process) = self.process {
            write!(f, " of {process}")?;
        }
        write!(
            f,
            ", which had taken it at {}, {}",
            self.taken_at, self.fate
        )
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked => f.write_str("panicked"),
            Self::Killed(reason) => write!(f, "was killed: {reason}"),
            Self::Abandoned(reason) => write!(f, "was abandoned: {reason}"),
        }
    }
}

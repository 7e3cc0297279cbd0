//! What has panicked in a scope.

use alloc::{boxed::Box, vec::Vec};
use core::{fmt, panic::Location};

use fiber_core::{
    fiber::{Fiber, PanicPayload},
    stop::{Caught, throw},
};

use super::Parts;

/// What a scope panics with when its children or its handlers have panicked: all of those panics,
/// in the order in which they came.
#[derive(Debug)]
pub struct MultiPanic {
    panics: Vec<ScopePanic>,
    /// The body's own, which came after some of the others or before them.
    body: Option<PanicPayload>,
}

impl MultiPanic {
    /// How many there were, the body's included.
    pub fn count(&self) -> usize {
        self.panics.len() + usize::from(self.body.is_some())
    }

    /// Those of children and handlers.
    pub fn panics(&self) -> &[ScopePanic] {
        &self.panics
    }

    /// Those of children and handlers, to do something with what they carried.
    pub fn into_panics(self) -> Vec<ScopePanic> {
        self.panics
    }

    /// What the body has panicked with, if it did.
    pub fn body_message(&self) -> Option<&str> {
        let body = self.body.as_ref()?;
        Some(body.message().unwrap_or("not text"))
    }

    /// The body's own panic, if it did.
    pub fn body(&self) -> Option<&PanicPayload> {
        self.body.as_ref()
    }
}

impl fmt::Display for MultiPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panics in a scope", self.count())?;
        if let Some(body) = &self.body {
            write!(f, "; its body: {body}")?;
        }
        for panic in &self.panics {
            write!(f, "; {panic}")?;
        }
        Ok(())
    }
}

impl core::error::Error for MultiPanic {}

/// One panic of a scope's child or handler.
#[derive(Debug)]
pub struct ScopePanic {
    pub(super) origin: Origin,
    pub(super) payload: PanicPayload,
}

/// Who has panicked.
#[derive(Debug)]
pub(super) enum Origin {
    Child(Fiber),
    Handler(&'static Location<'static>),
}

impl ScopePanic {
    /// The fiber that has panicked; `None` when it was a handler.
    pub fn fiber(&self) -> Option<&Fiber> {
        match &self.origin {
            Origin::Child(fiber) => Some(fiber),
            Origin::Handler(_) => None,
        }
    }

    /// The fiber's name.
    pub fn name(&self) -> Option<&str> {
        self.fiber().and_then(Fiber::name)
    }

    /// Where the fiber was spawned, or the handler was registered.
    pub fn location(&self) -> &'static Location<'static> {
        match &self.origin {
            Origin::Child(fiber) => fiber.spawned_at(),
            Origin::Handler(location) => location,
        }
    }

    /// The message, if the payload is text as `panic!` makes it.
    pub fn message(&self) -> Option<&str> {
        self.payload.message()
    }

    /// What the panic carried, and where it began.
    pub fn payload(&self) -> &PanicPayload {
        &self.payload
    }

    /// What the panic carried, to keep.
    pub fn into_payload(self) -> PanicPayload {
        self.payload
    }
}

impl fmt::Display for ScopePanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Child(fiber) => write!(f, "{fiber}: {}", self.payload),
            Origin::Handler(location) => {
                write!(f, "the handler of {location}: {}", self.payload)
            }
        }
    }
}

impl Parts<'_> {
    /// Panics if anybody did of whose panic nobody was told, the body's alone aside; otherwise
    /// gives back how that has ended.
    pub(super) fn throw_panics<T>(&self, ended: Result<T, Caught>) -> Result<T, Caught> {
        let panics = self.children.lock().take_panics();
        if panics.is_empty() {
            return ended;
        }
        let body = match ended {
            Err(Caught::Panicked(payload)) => Some(payload),
            _ => None,
        };
        throw(Box::new(MultiPanic { panics, body }));
    }
}

//! How fibers end, and what unwinds them.

use alloc::boxed::Box;
use core::ptr;

use super::{header::Header, panics::PanicPayload, reason::Reason};
use crate::{
    context::Context,
    env::{Payload, StackError, Unwind},
    operation::Deadlock,
};

/// Why a fiber did not return a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExitReason {
    /// Its body panicked.
    #[error("the fiber panicked: {0}")]
    Panicked(PanicPayload),
    /// It was cancelled before it had finished.
    #[error("the fiber was cancelled: {0}")]
    Cancelled(Reason),
    /// It was killed, or its process was.
    #[error("the fiber was killed: {0}")]
    Killed(Reason),
    /// It did not end although it was killed, and never runs again: what it has is leaked.
    #[error("the fiber was abandoned, since it did not end when it was killed: {0}")]
    Abandoned(Reason),
    /// It could not be started.
    #[error("the fiber was not started: {0}")]
    NoStack(StackError),
    /// It waits, perhaps through others, for the caller, who would wait for ever.
    #[error(transparent)]
    Deadlock(Deadlock),
    /// Its result was taken before, through the same handle.
    #[error("the fiber's result was taken before: it is given once")]
    Taken,
}

/// Why a fiber should leave what it is waiting in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The whole fiber was cancelled, or killed.
    Cancel,
    /// It is to run nothing any more, not even by unwinding.
    Abandon,
    /// A `timeout` around the current code has expired; the number names it.
    Expired(usize),
}

/// The private payload that unwinds a fiber: nobody else can make one or mistake it for a panic.
/// It stays in its box, by whose address its fiber knows it.
pub(crate) struct Unwinding {
    pub(crate) interrupt: Interrupt,
    /// The address of the fiber that it unwinds.
    fiber: usize,
}

impl Interrupt {
    /// Unwinds `fiber`, which is the caller.
    pub(crate) fn throw(self, fiber: &Header, unwind: &dyn Unwind) -> ! {
        if self == Self::Abandon {
            fiber.come_to_rest();
        }
        let unwinding = Box::new(Unwinding {
            interrupt: self,
            fiber: ptr::from_ref(fiber).addr(),
        });
        unwinding.throw(unwind)
    }
}

impl Unwinding {
    /// Unwinds the calling fiber, for the first time or further.
    pub(crate) fn throw(self: Box<Self>, unwind: &dyn Unwind) -> ! {
        self.begins();
        unwind.throw(self)
    }

    /// From here on this is what unwinds the fiber.
    pub(crate) fn begins(&self) {
        self.on_its_fiber(|fiber| fiber.interrupted().set(self.addr()));
    }

    /// It was caught: what unwinds the fiber next may well be a panic. The fiber may have been
    /// unwound anew meanwhile, by another of these.
    pub(crate) fn ends(&self) {
        self.on_its_fiber(|fiber| {
            if fiber.interrupted().get() == self.addr() {
                fiber.interrupted().set(0);
            }
        });
    }

    fn on_its_fiber(&self, body: impl FnOnce(&Header)) {
        Context::with_current(|_, fiber| {
            if ptr::from_ref(fiber).addr() == self.fiber {
                body(fiber);
            }
        });
    }

    fn addr(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl Drop for Unwinding {
    /// It was caught and not thrown on, by us or by the user.
    fn drop(&mut self) {
        self.ends();
    }
}

impl ExitReason {
    /// What the end of a body of `fiber` means: it was cancelled, or the user's code panicked.
    // Out of the way of bodies, whose frames lie behind the caller's all their life.
    #[cold]
    #[inline(never)]
    pub(crate) fn of(payload: Payload, fiber: &Header) -> Self {
        match payload.downcast::<Unwinding>() {
            Ok(_) => Self::interrupted(fiber),
            Err(payload) => Self::Panicked(PanicPayload::new(payload, fiber.notes())),
        }
    }

    fn interrupted(fiber: &Header) -> Self {
        let reason = fiber.cancel_reason().unwrap_or_default();
        match fiber.is_killed() {
            true => Self::Killed(reason),
            false => Self::Cancelled(reason),
        }
    }

    /// How a fiber ends that never runs.
    pub(crate) fn unstarted(fiber: &Header) -> Self {
        const OVER: Reason = Reason::new("the run is over and it had not started");
        match fiber.is_cancelled() {
            true => Self::interrupted(fiber),
            false => Self::Cancelled(OVER),
        }
    }
}

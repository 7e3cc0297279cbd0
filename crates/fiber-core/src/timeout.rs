//! A limit of time around any code of a fiber.

use core::{cell::Cell, pin::pin, ptr, time::Duration};

use crate::{
    cancel::{Caught, catch},
    context::Context,
    env::Instant,
    fiber::{Header, Interrupt},
    primitive::{AtomicBool, Ordering},
    timer::{Armed, TimerNode},
};

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
#[non_exhaustive]
pub struct Elapsed;

impl Elapsed {
    /// The error of a wait that has taken too long.
    #[expect(clippy::new_without_default, reason = "an error is no default")]
    pub const fn new() -> Self {
        Self
    }
}

/// One part of a fiber's work that may have to end before the fiber does, in its frame; the parts
/// that a fiber has open form a list.
pub(crate) struct TimeoutScope {
    outer: *const Self,
    /// How many parts are around it: by that a mask tells those apart that it was opened in.
    around: u32,
    timer: TimerNode,
    /// What ends it instead of time; null if nothing does.
    stop: *const AtomicBool,
}

impl TimeoutScope {
    /// A part of `fiber`'s work that begins now.
    pub(crate) fn new(fiber: &Header, stop: Option<&AtomicBool>) -> Self {
        Self {
            outer: fiber.scopes().get(),
            around: Self::count(fiber.scopes().get()),
            timer: TimerNode::new(),
            stop: stop.map_or(ptr::null(), ptr::from_ref),
        }
    }

    /// How many parts a fiber has open, of which this is the innermost.
    pub(crate) fn count(innermost: *const Self) -> u32 {
        // SAFETY: it lies in a frame of the fiber that asks, and leaves the list before that frame
        // is left (I-12).
        unsafe { innermost.as_ref() }.map_or(0, |scope| scope.around + 1)
    }

    fn has_expired(&self) -> bool {
        // SAFETY: what stops a part outlives it, borrowed by the call that has opened it (I-12).
        let stop = unsafe { self.stop.as_ref() };
        self.timer.has_fired() || stop.is_some_and(|stop| stop.load(Ordering::Acquire))
    }

    /// Takes the timers of all parts out of the wheel: their fiber never runs again. At its worker.
    pub(crate) fn disarm_all(innermost: *const Self, context: &Context) {
        let mut at = innermost;
        // SAFETY: they lie in frames of the fiber, which stay (I-3).
        while let Some(scope) = unsafe { at.as_ref() } {
            scope.timer.disarm(context);
            at = scope.outer;
        }
    }

    /// Whether there is a limit of time that `mask` does not protect from.
    pub(crate) fn is_limited(innermost: *const Self, mask: u32) -> bool {
        let mut at = innermost;
        // SAFETY: they lie in frames of the fiber that asks, and leave the list before their frame
        // is left (I-12).
        while let Some(scope) = unsafe { at.as_ref() } {
            if scope.around + 1 < mask {
                return false;
            }
            if scope.timer.deadline() < Instant::NEVER {
                return true;
            }
            at = scope.outer;
        }
        false
    }

    /// The name (address) of the outermost part from `innermost` on that is to end, of those that
    /// `mask` does not protect: a fiber's, see [`Header::mask`].
    pub(crate) fn outermost_expired(innermost: *const Self, mask: u32) -> Option<usize> {
        let mut expired = None;
        let mut at = innermost;
        // SAFETY: they lie in frames of the fiber that asks, and leave the list before their frame
        // is left (I-12).
        while let Some(scope) = unsafe { at.as_ref() } {
            if scope.around + 1 >= mask && scope.has_expired() {
                expired = Some(ptr::from_ref(scope).addr());
            }
            at = scope.outer;
        }
        expired
    }
}

/// Runs `body` on the calling fiber, and unwinds it at its next park or checkpoint once `span` has
/// passed. Success beats the timeout: a body that returns has returned.
///
/// The body's destructors run. Masked parts of it are not interrupted; a mask around the whole does
/// not stop the clock. Timeouts nest.
///
/// # Suspends
/// Where `body` does.
///
/// # Errors
/// [`Elapsed`] when the body was unwound.
///
/// # Panics
/// Outside of a fiber: a plain thread cannot be unwound from outside.
///
/// In a function whose errors are std's, the time that is over becomes one of those:
///
/// ```
/// use std::{io, time::Duration};
///
/// fn answer(ask: impl FnOnce() -> io::Result<u32>) -> io::Result<u32> {
///     let late = |_| io::Error::from(io::ErrorKind::TimedOut);
///     fiber_core::timeout::timeout(Duration::from_secs(1), ask).map_err(late)?
/// }
/// ```
pub fn timeout<T>(span: Duration, body: impl FnOnce() -> T) -> Result<T, Elapsed> {
    Context::with_fiber("timeout", |context, fiber| {
        let scope = pin!(TimeoutScope::new(fiber, None));
        let scope = scope.into_ref();
        let name = ptr::from_ref(scope.get_ref());
        // SAFETY: the node is pinned with the scope that it is a part of (I-12).
        let timer = unsafe { scope.map_unchecked(|scope| &scope.timer) };
        let deadline = context.now() + span;
        let _entered = Entered::new(fiber.scopes(), name);
        let _armed = Armed::new(timer, context, fiber, deadline);
        run(context, name.addr(), body)
    })
}

fn run<T>(context: &Context, name: usize, body: impl FnOnce() -> T) -> Result<T, Elapsed> {
    catch(context.env(), body).map_err(|caught| match caught {
        Caught::Interrupt(unwinding) if unwinding.interrupt == Interrupt::Expired(name) => Elapsed,
        Caught::Interrupt(unwinding) => unwinding.throw(context.env()),
        Caught::Panic(payload) => context.env().throw(payload),
    })
}

/// A scope that is in its fiber's list; out of it when this is dropped.
pub(crate) struct Entered<'fiber> {
    scopes: &'fiber Cell<*const TimeoutScope>,
    outer: *const TimeoutScope,
}

impl<'fiber> Entered<'fiber> {
    pub(crate) fn new(
        scopes: &'fiber Cell<*const TimeoutScope>,
        scope: *const TimeoutScope,
    ) -> Self {
        Self {
            outer: scopes.replace(scope),
            scopes,
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.scopes.set(self.outer);
    }
}

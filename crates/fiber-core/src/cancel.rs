//! How a fiber meets a cancel: hears of it, catches it, waits for it.
//!
//! A cancel is a level, not an edge: from the moment it is asked for, every unmasked suspension
//! point of the fiber unwinds it. Nothing that catches the unwinding ends it, so a fiber that was
//! cancelled comes to its end, at the pace of its suspension points:
//!
//! | in the fiber | what a cancel does |
//! |---|---|
//! | plain code | unwinds it at the next point |
//! | [`mask`] | waits until the outermost is left, and for the next point then |
//! | [`unmask`] | ends the region, which gives `Err` |
//! | [`catch_unwind`] | unwinds through ours; after `std`'s comes back at the next point |
//! | [`cancelled_operation`] | commits it, as one arm among others |
//!
//! [`mask`]: crate::park::mask

use alloc::boxed::Box;
use core::pin::Pin;

use crate::{
    context::Context,
    env::{Payload, Unwind},
    fiber::{ExitReason, Header, PanicPayload, Reason, Unwinding},
    operation::{Operation, Published, WaitCell},
    park::Masked,
};

/// What a fiber is told that was asked to unwind by a `timeout` around it.
const LATE: Reason = Reason::new("the time of a `timeout` around it is over");

/// The region was left because its fiber was cancelled, or because the time of a `timeout` around
/// it is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled: {reason}")]
#[non_exhaustive]
pub struct Cancelled {
    /// Why.
    pub reason: Reason,
}

/// Why the calling fiber was cancelled, masked or not; `None` if it was not, and on plain threads.
pub fn cancel_reason() -> Option<Reason> {
    Context::with_current(|_, fiber| fiber.cancel_reason()).flatten()
}

/// Runs `body` unmasked, however many masks are open, and gives `Err` when a cancel unwinds it: for
/// loops that end in good order. Entering it is a cancellation point.
///
/// Around the region nothing has changed: the fiber stays cancelled, and its next unmasked
/// suspension point unwinds it. On plain threads it only runs `body`.
///
/// # Suspends
/// Where `body` does.
///
/// # Errors
/// [`Cancelled`], when the body was unwound or did not begin. A body that returns has returned.
///
/// ```
/// use fiber_core::{cancel::unmask, park::mask};
///
/// fn serve(next: impl Fn() -> Option<u32>, answer: impl Fn(u32), say_goodbye: impl Fn()) {
///     mask(|| {
///         // Only waiting for the next request may be cut short, never the answer.
///         while let Ok(Some(request)) = unmask(&next) {
///             answer(request);
///         }
///         say_goodbye();
///     });
/// }
/// ```
pub fn unmask<T>(body: impl FnOnce() -> T) -> Result<T, Cancelled> {
    let mut body = Some(body);
    let mut run = || body.take().expect("the body is called once")();
    let on_fiber = Context::with_current(|context, fiber| {
        if fiber.interrupt().is_some() {
            return Err(cancelled(fiber));
        }
        let _unmasked = Masked::open(fiber);
        match catch(context.env(), &mut run) {
            Ok(value) => Ok(value),
            Err(Caught::Interrupt(unwinding)) => {
                drop(unwinding);
                Err(cancelled(fiber))
            }
            Err(Caught::Panic(payload)) => context.env().throw(payload),
        }
    });
    on_fiber.unwrap_or_else(|| Ok(run()))
}

fn cancelled(fiber: &Header) -> Cancelled {
    let reason = fiber.cancel_reason().unwrap_or(LATE);
    Cancelled { reason }
}

/// Runs `body` and gives the panic that ended it. As `std::panic::catch_unwind`, but what unwinds a
/// fiber because it was cancelled, or because a `timeout` is over, passes through. Entering it is a
/// cancellation point.
///
/// # Suspends
/// Where `body` does.
///
/// # Cancellation
/// A cancelled fiber unwinds here.
///
/// # Errors
/// What the panic carried.
///
/// # Panics
/// Outside of a fiber, where `std`'s does the same.
pub fn catch_unwind<T>(body: impl FnOnce() -> T) -> Result<T, PanicPayload> {
    Context::with_fiber("catch_unwind", |context, fiber| {
        context.deliver_cancel(fiber);
        catch(context.env(), body).map_err(|caught| match caught {
            Caught::Panic(payload) => PanicPayload::new(payload, fiber.notes()),
            Caught::Interrupt(unwinding) => unwinding.throw(context.env()),
        })
    })
}

/// Runs `body` as if it were the calling fiber's own: whatever unwinds it is the reason that a
/// joiner would be given. For those who hand the result on by themselves, and let nothing run but
/// that afterwards.
///
/// # Errors
/// Why it gave no value.
///
/// # Panics
/// Outside of a fiber.
pub fn catch_exit<T>(body: impl FnOnce() -> T) -> Result<T, ExitReason> {
    Context::with_fiber("catch_exit", |context, fiber| {
        catch(context.env(), body).map_err(|caught| match caught {
            Caught::Panic(payload) => ExitReason::of(payload, fiber),
            Caught::Interrupt(unwinding) => ExitReason::of(unwinding, fiber),
        })
    })
}

/// What has ended a body.
pub(crate) enum Caught {
    Interrupt(Box<Unwinding>),
    Panic(Payload),
}

/// Runs `body`, and tells what unwinds a fiber from the user's panics.
pub(crate) fn catch<T>(unwind: &dyn Unwind, body: impl FnOnce() -> T) -> Result<T, Caught> {
    let (mut body, mut value) = (Some(body), None);
    let caught = unwind.catch(&mut || {
        let body = body.take().expect("the body is called once");
        value = Some(body());
    });
    match caught {
        Ok(()) => Ok(value.expect("the body returned")),
        Err(payload) => Err(match payload.downcast::<Unwinding>() {
            Ok(unwinding) => {
                unwinding.ends();
                Caught::Interrupt(unwinding)
            }
            Err(payload) => Caught::Panic(payload),
        }),
    }
}

/// The operation that commits when the fiber that performs it was asked to unwind, with the reason:
/// an arm for loops that end in good order. Plain threads are never asked.
///
/// Perform it in a [`mask`](crate::park::mask): otherwise a cancel that comes while it is published
/// may as well unwind the fiber, and does so at the next point in any case.
pub const fn cancelled_operation() -> CancelledOperation {
    CancelledOperation { _private: () }
}

/// See [`cancelled_operation`].
///
/// It needs no wait node: a cancel wakes its fiber, which looks again.
#[derive(Debug)]
pub struct CancelledOperation {
    _private: (),
}

impl CancelledOperation {
    fn look(cell: &WaitCell, base: u16) -> Published {
        if crate::park::is_cancelled() {
            return Published::own(cell, base);
        }
        Published::Waiting
    }
}

// SAFETY: it links nothing (I-12). Who cancels sets a flag and then wakes the fiber, whose next
// look finds the flag (I-2); nothing moves when the arm commits.
unsafe impl Operation for CancelledOperation {
    type Output = Reason;

    fn name(&self) -> &'static str {
        "a cancel"
    }

    fn try_now(&mut self) -> Option<u16> {
        crate::park::is_cancelled().then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        Self::look(cell, base)
    }

    fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        Self::look(cell, base)
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {}

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Reason {
        cancel_reason().unwrap_or(LATE)
    }
}

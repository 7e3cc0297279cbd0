//! Ending a part of a fiber's work from outside, and catching how a part has ended.

use core::{pin::pin, ptr};

use crate::{
    cancel,
    context::Context,
    env::Payload,
    fiber::{Fiber, Header, Interrupt, PanicPayload, Unwinding},
    park::current,
    primitive::{AtomicBool, Ordering},
    timeout::{Entered, TimeoutScope},
};

/// Ends a part of one fiber's work: what runs inside of [`catch`].
#[derive(Debug)]
pub struct Stop {
    fiber: Fiber,
    stopped: AtomicBool,
}

impl Stop {
    /// For a part of the calling fiber's work.
    ///
    /// # Panics
    /// Outside of a fiber: a plain thread cannot be unwound from outside.
    pub fn new() -> Self {
        Self {
            fiber: current().expect("only a fiber's work can be stopped: spawn one"),
            stopped: AtomicBool::new(false),
        }
    }

    /// Asks the part to unwind, at its next suspension point and at every one after that. Never
    /// waits; legal twice, before the part begins and after it has ended, from any thread.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.fiber.header().wake();
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// How a part of a fiber's work has ended without a value.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever catches decides on each of them"
)]
pub enum Caught {
    /// Its [`Stop`] has unwound it.
    Stopped,
    /// Something around it is to end: the fiber, or a `timeout`. It has to go on unwinding.
    Interrupted(Payload),
    /// It panicked.
    Panicked(PanicPayload),
}

impl Caught {
    /// What was caught around a part that `own` interrupts.
    fn of(caught: cancel::Caught, own: Option<Interrupt>, fiber: &Header) -> Self {
        match caught {
            cancel::Caught::Interrupt(unwinding) if Some(unwinding.interrupt) == own => {
                Self::Stopped
            }
            cancel::Caught::Interrupt(unwinding) => Self::Interrupted(unwinding),
            cancel::Caught::Panic(payload) => {
                Self::Panicked(PanicPayload::new(payload, fiber.notes()))
            }
        }
    }

    /// Goes on unwinding.
    ///
    /// # Panics
    /// Always. When it was [`Caught::Stopped`] with a panic that says so.
    pub fn throw_on(self) -> ! {
        match self {
            Self::Interrupted(payload) => throw(payload),
            Self::Panicked(payload) => throw(payload.into_inner()),
            Self::Stopped => panic!("a part that was stopped unwinds no further"),
        }
    }
}

/// Unwinds the calling fiber with `payload`, without the message that a panic prints.
///
/// # Panics
/// Always.
pub fn throw(payload: Payload) -> ! {
    if let Some(unwinding) = payload.downcast_ref::<Unwinding>() {
        unwinding.begins();
    }
    let env = Context::with(|context| context.map(Context::shared_env));
    env.expect("only fibers throw").throw(payload)
}

/// Runs `body` on the calling fiber and catches what unwinds out of it. If there is a `stop`, it
/// unwinds the body once it was used; a body that returns has returned.
///
/// # Errors
/// How `body` ended, if it has not returned.
///
/// # Panics
/// Outside of a fiber.
pub fn catch<T>(stop: Option<&Stop>, body: impl FnOnce() -> T) -> Result<T, Caught> {
    Context::with_fiber("catch", |context, fiber| {
        let Some(stop) = stop else {
            return cancel::catch(context.env(), body)
                .map_err(|caught| Caught::of(caught, None, fiber));
        };
        debug_assert!(fiber.handle() == stop.fiber, "it stops another fiber");
        let scope = pin!(TimeoutScope::new(fiber, Some(&stop.stopped)));
        let name = ptr::from_ref(scope.as_ref().get_ref());
        let _entered = Entered::new(fiber.scopes(), name);
        let name = Some(Interrupt::Expired(name.addr()));
        cancel::catch(context.env(), body).map_err(|caught| Caught::of(caught, name, fiber))
    })
}

//! A larger stack for part of a fiber.
//!
//! ```text
//! worker's stack      fiber's stack         big stack
//! ──────────────      ─────────────         ─────────
//! resume ───────────▶ on_big_stack ───────▶ body
//!    ▲                                        │ park: straight back to the worker
//!    └────────────────────────────────────────┘
//! resume ───────────────────────────────────▶ …goes on
//!                     …result, or the ◀─────  returned, or unwound
//!                     unwinding goes on
//! ```
//!
//! It stays the same fiber: a switch saves the stack pointer that it finds, on whichever stack
//! that is, and the next resume goes there.

use core::ptr;

use crate::{
    context::Context,
    env::{Payload, StackClass, StackError},
    fiber::Header,
    stack::OwnedStack,
};

/// Runs `body` on a stack of class `class`, and then goes on where it was called: for the one call
/// that needs more room than the fiber's own stack has, such as a parser's recursion. Calls nest.
///
/// The body is still the calling fiber: it may park, spawn and be cancelled, and its time may run
/// out. A panic goes through to the caller. An overflow of the larger stack is reported as one of
/// this fiber.
///
/// Outside of a fiber it just calls `body`: a plain thread has a stack of its own.
///
/// # Suspends
/// Where `body` does.
///
/// # Cancellation
/// Where `body` can be cancelled.
///
/// # Errors
/// When there is no stack; `body` has not been called then, and is dropped.
///
/// # Panics
/// When `body` does.
pub fn on_big_stack<T>(class: StackClass, body: impl FnOnce() -> T) -> Result<T, StackError> {
    let mut body = Some(body);
    let on_fiber = Context::with_current(|context, fiber| {
        let body = body.take().expect("the body is taken once");
        run(context, fiber, class, body)
    });
    match on_fiber {
        Some(result) => result,
        None => Ok(body.take().expect("no fiber has taken it")()),
    }
}

fn run<T>(
    context: &Context,
    fiber: &Header,
    class: StackClass,
    body: impl FnOnce() -> T,
) -> Result<T, StackError> {
    let admitted = fiber
        .process()
        .map_or(Ok(()), |it| it.take_stack(class.bytes()));
    admitted.map_err(StackError::Process)?;
    let taken = context.take_stack(class);
    let memory = taken.inspect_err(|_| give_back(fiber, class))?;
    let stack = OwnedStack::new(memory, fiber.into());
    let (mut body, mut value) = (Some(body), None);
    let mut caught: Result<(), Payload> = Ok(());
    // Nothing unwinds out of this call: the frame that switches stacks could not be crossed (I-9).
    // Where the fiber is abandoned inside of it, this frame stays too, and with it the stack (I-3).
    // SAFETY: the stack is there until the call has returned, or for ever (I-3).
    let frames = unsafe { stack.frames() };
    corosensei::on_stack(frames, || {
        caught = context.env().catch(&mut || {
            let body = body.take().expect("the body is called once");
            value = Some(body());
        });
    });
    // SAFETY: the call above has returned, so its last frame is left, and whoever has lent a
    // buffer on it has waited for the request's end before that (I-3).
    unsafe { context.give_stack(stack.into_memory()) };
    give_back(fiber, class);
    match caught {
        Ok(()) => Ok(value.expect("the body returned")),
        // The payload was never dropped: a cancel is still known as one to whoever asks.
        Err(payload) => context.env().throw(payload),
    }
}

/// The fiber's process has that much less of stacks.
fn give_back(fiber: &Header, class: StackClass) {
    if let Some(process) = fiber.process() {
        process.give_stack(class.bytes());
    }
}

/// Enough of a stack to print a backtrace: a stack of 64 KiB will do, one of 16 will not.
const ROOM: usize = 64 << 10;

/// Runs `body`, which may read what the program knows of its own code, where there is room for
/// that: on a larger stack if the calling fiber's has little left. Where none is to be had, and
/// outside of fibers, on the caller's own.
pub(crate) fn with_room(body: impl FnOnce()) {
    let mut body = Some(body);
    Context::with_current(|context, fiber| {
        let here = ptr::from_ref(&body).addr();
        let left = here.wrapping_sub(fiber.stack_limit());
        // What lies outside of the fiber's own stack is in a larger one, of which nothing is known.
        if (ROOM..fiber.stack_class().bytes()).contains(&left) {
            return;
        }
        let run_body = || body.take().expect("it is called once")();
        // Without a stack it has not been called, and is called below.
        let _ = run(context, fiber, StackClass::K256, run_body);
    });
    if let Some(body) = body {
        body();
    }
}

//! How a panic ends, and how a cancelled fiber unwinds: `no_std` code can do neither by itself.

use alloc::boxed::Box;
use core::any::Any;

/// What a panic carries.
pub type Payload = Box<dyn Any + Send>;

/// Unwinding, as the host's language runtime does it.
pub trait Unwind {
    /// Runs `body` and catches what unwinds out of it.
    ///
    /// Called at the base of every fiber (I-9), on that fiber's stack, so it must not keep state
    /// per thread across the call: other fibers run inside of it.
    ///
    /// # Errors
    /// The payload of the panic that ended `body`.
    fn catch(&self, body: &mut dyn FnMut()) -> Result<(), Payload>;

    /// Unwinds the calling fiber's stack with `payload`, without the message that a panic prints.
    fn throw(&self, payload: Payload) -> !;

    /// Whether the calling thread is unwinding right now.
    fn is_unwinding(&self) -> bool;

    /// Whether this program can unwind at all; `false` when built with `panic = "abort"`, where
    /// [`Unwind::throw`] is never called and a cancelled fiber sees a flag instead.
    fn can_unwind(&self) -> bool;
}

//! How a panic ends, and how a cancelled fiber unwinds: `no_std` code can do neither by itself.

use alloc::boxed::Box;
use core::{any::Any, fmt, panic::Location};

/// What a panic carries.
pub type Payload = Box<dyn Any + Send>;

/// A stack as it was: what it is made of is found out when it is printed.
pub type Backtrace = Box<dyn fmt::Display + Send + Sync>;

/// A panic that is about to unwind, as a host's panic hook has it.
#[expect(missing_debug_implementations, reason = "parts of trait objects")]
#[expect(clippy::exhaustive_structs, reason = "hosts build it")]
pub struct Panicking<'a> {
    /// What it carries; text lies where it will lie when the panic is caught.
    pub payload: &'a dyn Any,
    /// Where it began.
    pub location: Option<&'a Location<'a>>,
    /// Takes the stack, if the environment asks for backtraces.
    pub backtrace: &'a dyn Fn() -> Option<Backtrace>,
}

/// Is told of a panic; and calls what else the host's panic hook has to do, which prints the panic
/// as a rule.
pub type PanicWatch = Box<dyn Fn(&Panicking<'_>, &mut dyn FnMut()) + Send + Sync>;

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

    /// Runs `body`, in which the calling thread does not look as if it unwound: it lets others use
    /// the thread. Afterwards the thread looks as before, also when `body` unwinds.
    ///
    /// Called while the thread unwinds, on the stack of whoever does, which may be never resumed
    /// inside of `body`. Nothing is kept per thread across it, as in [`Unwind::catch`].
    ///
    /// A host may fail to, and one whose [`Caps::aside`] is `false` always does: then `body` finds
    /// [`Unwind::is_unwinding`] true. Fibers that wait in destructors while they unwind work in any
    /// case, but the others of their worker look as if they unwound, too, and hear of some cancels
    /// only when that is over.
    ///
    /// [`Caps::aside`]: super::Caps::aside
    fn set_aside(&self, body: &mut dyn FnMut()) {
        body();
    }

    /// Whether this program can unwind at all; `false` when built with `panic = "abort"`, where
    /// [`Unwind::throw`] is never called and a cancelled fiber sees a flag instead.
    fn can_unwind(&self) -> bool;
}

/// Runs `body`, with what unwinds around it set aside: for who runs others on the calling thread.
pub fn aside<T>(unwind: &dyn Unwind, body: impl FnOnce() -> T) -> T {
    if !unwind.is_unwinding() {
        return body();
    }
    let (mut body, mut value) = (Some(body), None);
    unwind.set_aside(&mut || value = body.take().map(|body| body()));
    value.expect("a host runs it once")
}

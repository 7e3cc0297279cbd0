//! Why somebody unwinds: by a panic, a cancel or a kill.

use crate::{context::Context, env::hooks};

/// Why the caller is unwinding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "locks decide on each of them")]
pub enum UnwindReason {
    /// It panicked: what it was changing may be half done.
    Panic,
    /// A fiber was cancelled, or the time of a `timeout` around it is over: it left at a point at
    /// which it could expect that.
    Interrupt,
    /// A fiber was killed: it left at a point at which it perhaps was not ready for it.
    Kill,
}

/// Why the calling fiber or thread is unwinding; `None` if it is not, and on threads of a program
/// that has not made a host yet, which cannot know.
#[inline]
pub fn unwinding() -> Option<UnwindReason> {
    let hooks = hooks()?;
    (hooks.is_unwinding)().then(unwind_reason)
}

#[cold]
fn unwind_reason() -> UnwindReason {
    let reason = Context::with_current(|_, fiber| match fiber.interrupted().get() {
        0 => UnwindReason::Panic,
        _ if fiber.is_killed() => UnwindReason::Kill,
        _ => UnwindReason::Interrupt,
    });
    reason.unwrap_or(UnwindReason::Panic)
}

//! The runtime's clocks, as its fibers read them.

use crate::{
    context::Context,
    env::{Instant, WallTime},
};

/// The monotonic clock of the calling fiber's runtime.
///
/// # Panics
/// Outside of a runtime: which clock is meant is the runtime's to say.
pub fn now() -> Instant {
    Context::with(|context| clock(context).now())
}

/// The time of day, as the calling fiber's runtime has it.
///
/// # Panics
/// As [`now`].
pub fn wall() -> WallTime {
    Context::with(|context| clock(context).env().wall())
}

fn clock(context: Option<&Context>) -> &Context {
    context.expect("time is the runtime's: ask on a fiber, inside of `Runtime::run`")
}

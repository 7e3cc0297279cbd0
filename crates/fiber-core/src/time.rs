//! The runtime's clocks, as its fibers read them.

use crate::{
    context::Context,
    env::{Instant, WallTime, hooks},
};

/// The monotonic clock of the calling fiber's runtime; on a plain thread that of the host.
///
/// # Panics
/// On a plain thread before a host was made.
pub fn now() -> Instant {
    Context::with(|context| context.map(Context::now))
        .or_else(|| hooks().map(|hooks| (hooks.now)()))
        .expect("there is a clock once a host was made, such as by `Linux::new`")
}

/// The time of day, as the calling fiber's runtime has it.
///
/// # Panics
/// Outside of a runtime: whose clock is meant is the runtime's to say.
pub fn wall() -> WallTime {
    Context::with(|context| {
        let context = context.expect("the time of day is the runtime's: ask inside of `run`");
        context.env().wall()
    })
}

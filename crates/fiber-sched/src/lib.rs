//! The scheduler: workers that run fibers in turns, on an injected world.
//!
//! Read in this order: `runtime` (what a run is), `worker` (a turn), `shared` (what workers
//! exchange), `wheel` (time), `quiet` (knowing that all is over), then [`spawn`] and [`scope`].
#![no_std]

extern crate alloc;

mod error;
mod primitive;
mod quiet;
mod report;
mod runtime;
mod scope;
mod shared;
mod spawn;
mod wheel;
mod worker;

pub use crate::{
    error::RunError,
    report::{AllAsleep, ParkedFiber},
    runtime::{Builder, Drain, Runtime, is_running},
    scope::{Scope, ScopedJoinHandle, scope},
    spawn::{Builder as FiberBuilder, NoRuntime, spawn, spawn_local},
};
pub use fiber_core::{
    fiber::{ExitReason, Fiber, JoinHandle, PanicPayload},
    park::{
        charge, checkpoint, current, is_cancelled, mask, no_suspend, park, park_timeout, sleep,
        sleep_until, yield_now,
    },
    time,
    timeout::{Elapsed, timeout},
};

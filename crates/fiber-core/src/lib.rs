//! Fibers, operations, ids and the injected world.
//!
//! The core knows no operating system (I-1). It reaches the world through [`env::Env`] and is
//! driven by a scheduler through [`Context`]. Read in this order:
//!
//! 1. [`mod@env`]: what a host does for us; [`request`]: what it is asked, as data; [`signal`].
//! 2. [`id`] and [`registry`]: the only names of resources; [`process`]: whose they are.
//! 3. [`fiber`] and [`park`]: blocking code with a stack of its own, and the one way to block;
//!    [`cancel`]: leaving it; [`local`]: values that belong to a fiber; [`big_stack`]: more room
//!    for a part of it.
//! 4. [`operation`]: everything that one can block on, as values.
//! 5. [`time`], [`timer`], [`timeout`], [`stop`], [`io`], [`mod@blocking`]: time, limits, input and
//!    output, and calls that block a thread, on top of parking.
//! 6. [`context`]: one worker, as its fibers see it and as a scheduler drives it.
#![no_std]

extern crate alloc;

pub mod before_io;
pub mod big_stack;
mod block_on;
pub mod blocking;
pub mod cancel;
pub mod context;
pub mod dice;
pub mod env;
pub mod error;
pub mod fiber;
pub mod id;
mod inflight;
pub mod io;
#[cfg(any(test, feature = "laws"))]
pub mod laws;
pub mod local;
pub mod operation;
pub mod park;
mod primitive;
pub mod process;
pub mod registry;
pub mod request;
#[cfg(any(test, feature = "script"))]
pub mod script;
pub mod signal;
pub mod spin;
pub mod stack;
pub mod stop;
pub mod time;
pub mod timeout;
pub mod timer;

pub use crate::{
    block_on::block_on,
    context::Context,
    error::{IoError, IoErrorKind, Stale, StaleReason},
    id::{Id, Namespace},
};

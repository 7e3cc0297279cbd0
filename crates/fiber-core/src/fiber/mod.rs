//! Fibers: plain blocking code with a stack of its own.
//!
//! ```text
//!            launch             first run: a stack is attached, the home worker fixed (I-11)
//! [unstarted] ───▶ [ready] ───────▶ [running] ──park──▶ [parked] ──wake──▶ [ready] …
//!      │ cancelled                      │ body returned, panicked or unwound
//!      └───────────▶ [finished] ◀───────┘  stack reclaimed, id freed, joiners woken
//! ```
//!
//! One heap block a fiber lives from spawn to the last handle: its header, and behind it the
//! closure, later the result. While a fiber is unstarted it has no stack and may be moved between
//! workers; once started it never changes its OS thread (I-11).

mod attributes;
mod bands;
mod block;
mod exit;
mod handle;
mod handles;
mod header;
mod join;
mod layout;
mod memory;
#[cfg(test)]
#[cfg(loom)]
mod models;
mod panics;
mod queue;
mod rare;
mod reason;
mod runnable;
mod started;
mod wake;
mod watch;
mod when;

pub use self::{
    attributes::Attributes,
    bands::{Bands, Priority},
    block::Spawn,
    exit::ExitReason,
    handle::Fiber,
    join::{JoinHandle, JoinOperation},
    panics::{PanicLocation, PanicPayload},
    queue::{FiberQueue, Position, RemoteQueue},
    reason::Reason,
    runnable::Runnable,
    wake::Inbox,
    watch::{AtEnd, ExitWatcher},
};
pub(crate) use self::{
    exit::{Interrupt, Unwinding},
    header::{Header, SHIELD},
    layout::Layout,
    memory::FreeBlocks,
    panics::watch as watch_panic,
    started::{Links, Started},
    wake::Home,
};

//! The io_uring port: one ring for each worker, made and used on the worker's own thread.
//!
//! ```text
//!  staged ──take──▶ flights ──push──▶ submission queue ──enter──▶ kernel
//!                      │  └─ no room ─▶ backlog ──refill──▲           │
//!                      │                                              ▼
//!  out ◀──finish── flight of the token ◀──reap── completion queue ────┘
//! ```
//!
//! A turn makes one system call for everything staged, none when there is nothing to say. Task
//! work is deferred to that call (`DEFER_TASKRUN`), so what completes does so there and then, in
//! order, and a cancel that is submitted first wins: it loses no byte.

mod entry;
mod flight;
mod kernel;
mod port;
mod probe;
mod setup;

pub(crate) use self::{
    port::RingPort,
    probe::probe,
    setup::{Refusal, RingSetup},
};

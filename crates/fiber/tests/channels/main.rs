//! Channels on Linux and in simulated worlds: between fibers of one, two and four workers.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod cancels;
mod choices;
mod kinds;
mod programs;
#[expect(dead_code, reason = "the scheduler's tests use the rest of it")]
#[path = "../scheduler/support.rs"]
mod support;
mod table;
mod waits;

//! What scopes, `join!`, `race!` and `JoinSet` promise, on Linux and in simulated worlds.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod cascade;
mod failing;
mod handlers;
mod interrupts;
mod ladder;
mod sets;
#[path = "../scheduler/support.rs"]
#[expect(dead_code, reason = "it is the scheduler tests', too")]
mod support;
mod together;
mod world;

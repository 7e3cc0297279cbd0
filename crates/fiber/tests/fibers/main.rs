//! What fibers promise: how they are joined, cancelled and told of, and what belongs to them.
//!
//! Each test that can runs on both hosts, with one, two and four workers, and under many drawn
//! schedules.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod cancels;
mod catches;
mod detached;
mod futures;
mod joins;
mod locals;
mod masks;
mod no_suspend;
mod panics;
mod stacks;
#[expect(dead_code, reason = "the tests of the scheduler use more of it")]
#[path = "../scheduler/support.rs"]
mod support;
mod unwinding;

//! What locks must do, on Linux and in simulated worlds.
//!
//! Each test runs on both hosts, with one, two and four workers, and under many drawn schedules.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod cancels;
mod deadlocks;
mod excludes;
mod once;
mod support;
mod unstarted;

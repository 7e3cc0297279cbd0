//! What a scheduler must do, on Linux and in simulated worlds.
//!
//! Each test that can runs on both hosts, with one, two and four workers, and under many drawn
//! schedules. Ratios and times are not asserted here: benchmarks show them.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod endings;
mod fairness;
mod lifecycle;
mod placement;
mod random;
mod runtimes;
mod support;
mod waking;

//! What must hold whatever drops, panics, cancels and host faults do: nothing is lost, nothing is
//! dropped twice, and every run ends.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

extern crate alloc;

mod drops;
mod endings;
mod faulty;
mod support;

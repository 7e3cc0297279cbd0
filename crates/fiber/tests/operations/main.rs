//! What operations must do, on Linux and in simulated worlds: the laws of Concurrent ML, and what
//! its implementations are checked for.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod choices;
mod guards;
mod meetings;
mod moments;
mod nacks;
mod reports;
mod runtimes;
#[path = "../scheduler/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the scheduler")]
mod support;
mod when;

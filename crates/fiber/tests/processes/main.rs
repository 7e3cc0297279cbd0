//! What lightweight processes promise: that they own what they have, and leave nothing when they
//! end, in whatever way.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod abandoned;
mod calls;
mod deaths;
mod endings;
mod held;
mod ids;
mod in_place;
mod limits;
mod links;
mod masses;
mod misuse;
mod monitors;
mod names;
mod ran_on;
mod runs;
mod statistics;
mod supervisors;
#[path = "../scheduler/support.rs"]
#[expect(dead_code, reason = "it is the scheduler tests', too")]
mod support;
mod world;

//! Connections in every world: what std's own tests of TCP ask for, and what fibers add to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

extern crate alloc;

mod connections;
mod endings;
mod ids;
mod limits;
mod sharing;
mod support;
mod transfers;
mod without_std;

//! What is claimed about everything that blocks, tried from all sides in simulated worlds.
//!
//! - `linear`: each call takes effect at one moment between its begin and its end. Recorded
//!   histories are checked against a sequential model.
//! - `sequences`: each does what its model does, waiting included. Random sequences, shrunk.
//! - `kills`: a kill hurts nobody else. Each fiber and each process of some programs is killed at
//!   each moment.
//! - `cancels`: a cancel loses nothing, wherever it hits. One victim is cancelled at each of its
//!   suspensions.
//!
//! The suite runs a few hundred worlds of each; the variable `PROOF_SEEDS` asks for another
//! number, and `cargo xtask prove operations` for ten thousand.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod cancels;
mod kills;
mod kinds;
mod linear;
mod sequences;
mod support;

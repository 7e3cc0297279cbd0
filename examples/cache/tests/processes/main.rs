//! The server's processes in simulated worlds: whoever of them ends, the others are served.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

extern crate alloc;

mod cascade;
#[path = "../../../../crates/fiber/tests/proofs/kills/everywhere.rs"]
#[expect(dead_code, reason = "it is the runtime's proofs', too")]
mod everywhere;
mod kills;
mod limits;
#[path = "../../../../crates/fiber/tests/proofs/support.rs"]
#[expect(dead_code, reason = "it is the runtime's proofs', too")]
mod support;
mod world;

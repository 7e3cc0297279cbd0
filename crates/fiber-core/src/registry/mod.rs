//! The table of everything that has an id.
//!
//! ```text
//! IdSpace (one a world)                 Shard (one a worker)
//! ┌ directory ┐    ┌ chunk of 256  ┐    owns chunks; opens, lists by owner, frees
//! │ key >> 19 │──▶ │ entry, 64 B   │ ◀─ any worker: `enter` by one CAS on the entry's word
//! └───────────┘    └───────────────┘ ◀─ any thread: `close`; the closer and the last one out
//!                                       hand the entry to its shard, which alone frees it
//! ```
//!
//! An entry's slot is reused with the next generation; when generations run out the slot is
//! retired for good (I-4).

mod entry;
mod inbox;
mod named;
mod shard;
mod space;

pub(crate) use self::{entry::Closing, named::Named};
pub use self::{
    named::Object,
    shard::{Full, Kept, Received, Shard},
    space::{Entered, IdSpace},
};

#[cfg(test)]
#[cfg(not(loom))]
mod fuzz;
#[cfg(test)]
#[cfg(loom)]
mod models;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

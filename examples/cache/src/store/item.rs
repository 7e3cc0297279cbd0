//! One stored item, the key it is found by, and what it costs.
//!
//! ```text
//! Item ─ block ─▶ ┌─────────┬──────────────┐
//!                 │   key   │    value     │    one allocation, exactly as long as both
//!                 └─────────┴──────────────┘
//! ```

use core::hint;

use super::memory::allocated;
use crate::protocol::KEY_BYTES_MAX;
use crate::time::{Expiry, Seconds};

/// A key with its hash, which is computed once for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) hash: u64,
}

impl Key<'_> {
    /// The part of the hash that an item keeps.
    pub(super) const fn tag(&self) -> u32 {
        let [a, b, c, d, ..] = self.hash.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// A key, its value and what belongs to it.
#[derive(Debug)]
pub(crate) struct Item {
    block: Box<[u8]>,
    /// A number that no other state of this item has had, unless a client chose it.
    pub(crate) unique: u64,
    pub(crate) expiry: Expiry,
    /// When a client last asked for it, or wrote it.
    pub(crate) accessed: Seconds,
    /// The client's own; kept and given back.
    pub(crate) flags: u32,
    pub(super) tag: u32,
    /// Its neighbours in the order of use, by their places.
    pub(super) newer: u32,
    pub(super) older: u32,
    /// How many flushes its shard had seen when it was stored.
    pub(super) epoch: u32,
    key_bytes: u8,
    marks: u8,
}

const _: () = assert!(size_of::<Item>() == 64, "an item's bookkeeping is one line");
const _: () = assert!(KEY_BYTES_MAX <= 255, "a key's length fits in a byte");

/// What an item can be marked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A client has asked for it since it was stored.
    Fetched = 1,
    /// Its value is out of date, and may be served as such.
    Stale = 2,
    /// Some client has been told to renew it.
    TokenSent = 4,
    /// Its key came in base64, and leaves in base64.
    BinaryKey = 8,
}

impl Item {
    /// An item whose block is `key` and then the value.
    pub(super) fn new(key: Key<'_>, block: Box<[u8]>, now: Seconds) -> Self {
        debug_assert!(block.starts_with(key.bytes), "the key is in front");
        Self {
            block,
            unique: 0,
            expiry: Expiry::NEVER,
            accessed: now,
            flags: 0,
            tag: key.tag(),
            newer: 0,
            older: 0,
            epoch: 0,
            key_bytes: u8::try_from(key.bytes.len()).expect("keys are checked: 250 at most"),
            marks: 0,
        }
    }

    /// Reads a byte of each line of the cache that a short block lies on; the processor goes on by
    /// itself in a long one.
    pub(super) fn fetch(&self) {
        const LINE_BYTES: usize = 64;
        hint::black_box(self.block.get(LINE_BYTES).copied());
        hint::black_box(self.block.last().copied());
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.block[..usize::from(self.key_bytes)]
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.block[usize::from(self.key_bytes)..]
    }

    pub(super) fn value_mut(&mut self) -> &mut [u8] {
        &mut self.block[usize::from(self.key_bytes)..]
    }

    /// Gives the item a value of another length.
    pub(super) fn set_block(&mut self, block: Box<[u8]>) {
        debug_assert!(block.starts_with(self.key()), "the key stays");
        self.block = block;
    }

    pub(crate) const fn is(&self, mark: Mark) -> bool {
        self.marks & mark as u8 != 0
    }

    pub(crate) const fn mark(&mut self, mark: Mark) {
        self.marks |= mark as u8;
    }

    pub(crate) const fn unmark(&mut self, mark: Mark) {
        self.marks &= !(mark as u8);
    }

    /// What the item's block counts against the memory limit.
    pub(super) const fn cost(&self) -> usize {
        allocated(self.block.len())
    }

    /// What an item takes in all, as a debugging client sees it.
    pub(crate) const fn size(&self) -> usize {
        self.cost() + size_of::<Self>()
    }

    /// Length of the key and the value.
    pub(super) const fn payload(&self) -> usize {
        self.block.len()
    }
}

/// Puts the parts of a block together, in an allocation of exactly their length.
pub(super) fn block(parts: &[&[u8]]) -> Box<[u8]> {
    parts.concat().into_boxed_slice()
}

/// A value on its way into the store.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// Still in the connection's buffer: it is copied, over the old value if that is as long.
    Borrowed(&'a [u8]),
    /// Received into an allocation of its own, behind the key; the item keeps the allocation.
    Owned { block: Box<[u8]>, key_bytes: usize },
}

impl Value<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned { block, key_bytes } => &block[*key_bytes..],
        }
    }

    /// Takes the value out as the block of an item with this key, leaving an empty one.
    pub(super) fn take_block(&mut self, key: &[u8]) -> Box<[u8]> {
        match core::mem::replace(self, Value::Borrowed(&[])) {
            Value::Borrowed(bytes) => block(&[key, bytes]),
            Value::Owned { block, .. } => block,
        }
    }
}

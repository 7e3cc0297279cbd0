//! One stored item, the key it is found by, and what it costs.

use crate::time::Expiry;

/// A key with its hash, which is computed once for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) hash: u64,
}

/// A key, its value and what belongs to it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
    /// The client's own; kept and given back.
    pub(crate) flags: u32,
    /// A number no other state of any item has had. It grows with every change in a shard, so
    /// it also tells which items a flush has passed over.
    pub(crate) unique: u64,
    pub(crate) expiry: Expiry,
}

impl Item {
    /// What an item takes beyond its key and its value: the entry in the map's table and the
    /// allocator's share for the two blocks.
    const OVERHEAD_BYTES: usize = size_of::<Self>() + 32;

    /// What an item counts against the memory limit.
    pub(crate) const fn cost_of(key_bytes: usize, value_bytes: usize) -> usize {
        key_bytes + value_bytes + Self::OVERHEAD_BYTES
    }

    pub(crate) fn cost(&self) -> usize {
        Self::cost_of(self.key.len(), self.value.len())
    }
}

/// A value on its way into the store.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// Still in the connection's buffer: it is copied, over the old value if that is as long.
    Borrowed(&'a [u8]),
    /// Received into an allocation of its own, which becomes the item's.
    Owned(Box<[u8]>),
}

impl Value<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// Makes this the content of `slot`, allocating only for a borrowed value of a new length.
    pub(crate) fn move_into(self, slot: &mut Box<[u8]>) {
        match self {
            Self::Borrowed(bytes) if bytes.len() == slot.len() => slot.copy_from_slice(bytes),
            Self::Borrowed(bytes) => *slot = bytes.into(),
            Self::Owned(bytes) => *slot = bytes,
        }
    }
}

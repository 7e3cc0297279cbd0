//! Where a shard's items lie: in chunks, without gaps.
//!
//! ```text
//!  0        63   64      127   128
//! ┌───────────┐ ┌───────────┐ ┌─────────┐ ─ ─ ┐
//! │ ITEMS_MAX │ │   items   │ │ items   │
//! └───────────┘ └───────────┘ └─────────┘ ─ ─ ┘
//! ```
//!
//! When an item leaves, the last one takes its place, so a shard that shrinks gives its memory
//! back, and growing copies nothing.

use super::item::Item;
use super::memory::allocated;

/// Items in a chunk.
const ITEMS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Arena {
    /// All but the last two are full, and the last one may be empty.
    chunks: Vec<Vec<Item>>,
    len: usize,
}

const CHUNK_BYTES: usize = allocated(ITEMS_MAX * size_of::<Item>());

impl Arena {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, place: u32) -> &Item {
        let (chunk, within) = split(place);
        &self.chunks[chunk][within]
    }

    pub(super) fn get_mut(&mut self, place: u32) -> &mut Item {
        let (chunk, within) = split(place);
        &mut self.chunks[chunk][within]
    }

    /// Adds an item and returns its place.
    pub(super) fn push(&mut self, item: Item) -> u32 {
        let place = u32::try_from(self.len).expect("a shard has fewer than four billion items");
        let (chunk, _) = split(place);
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(ITEMS_MAX));
        }
        self.chunks[chunk].push(item);
        self.len += 1;
        place
    }

    /// The place of the item that will move when another one leaves.
    pub(super) fn last(&self) -> Option<u32> {
        let last = self.len.checked_sub(1)?;
        Some(u32::try_from(last).expect("places are 32 bits"))
    }

    /// Takes an item out; the last one moves to its place.
    pub(super) fn swap_remove(&mut self, place: u32) -> Item {
        let (chunk, _) = split(self.last().expect("there is an item to remove"));
        let last = self.chunks[chunk].pop().expect("it holds the last item");
        self.len -= 1;
        // One empty chunk stays, so that a store and a delete by turns do not allocate.
        let chunks_kept = if self.len == 0 {
            0
        } else {
            self.len.div_ceil(ITEMS_MAX) + 1
        };
        let removed = if usize::try_from(place) == Ok(self.len) {
            last
        } else {
            core::mem::replace(self.get_mut(place), last)
        };
        self.chunks.truncate(chunks_kept);
        if chunks_kept == 0 {
            self.chunks = Vec::new();
        }
        removed
    }

    /// What the chunks and their list take from the allocator.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES + list_bytes(self.chunks.capacity())
    }

    /// The most that the next push may take.
    pub(super) fn growth_bytes(&self) -> usize {
        if self.len < self.chunks.len() * ITEMS_MAX {
            return 0;
        }
        let longer_list = if self.chunks.len() == self.chunks.capacity() {
            list_bytes((2 * self.chunks.capacity()).max(4))
        } else {
            0
        };
        CHUNK_BYTES + longer_list
    }
}

const fn list_bytes(capacity: usize) -> usize {
    allocated(capacity * size_of::<Vec<Item>>())
}

fn split(place: u32) -> (usize, usize) {
    let place = usize::try_from(place).expect("a place fits in a word");
    (place / ITEMS_MAX, place % ITEMS_MAX)
}

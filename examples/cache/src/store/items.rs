//! A shard's items: found by key, and in the order of their last use.
//!
//! ```text
//!            tag, place                 newer ◀──────────▶ older
//! index ─┬─▶ [ 7f3a… │ 2 ] ─▶ arena[2] ──┐   ┌──▶ arena[0] ─▶ … ─▶ oldest
//!        └─▶ [ 09c1… │ 0 ]     newest ───┘───┘
//! ```
//!
//! The index holds places, not items, so it stays small, and growing it reads no item.

use core::hint;

use hashbrown::HashTable;

use super::arena::Arena;
use super::item::{Item, Key};
use super::memory::allocated;

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Items {
    arena: Arena,
    index: HashTable<Slot>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    place: u32,
}

impl Items {
    pub(super) fn new() -> Self {
        Self {
            arena: Arena::default(),
            index: HashTable::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.arena.len()
    }

    pub(super) fn get(&self, place: u32) -> &Item {
        self.arena.get(place)
    }

    pub(super) fn get_mut(&mut self, place: u32) -> &mut Item {
        self.arena.get_mut(place)
    }

    pub(super) fn find(&self, key: Key<'_>) -> Option<u32> {
        let tag = key.tag();
        let is_it = |slot: &Slot| slot.tag == tag && self.fetch(slot.place).key() == key.bytes;
        self.index.find(spread(tag), is_it).map(|slot| slot.place)
    }

    /// An item that a request is most likely about: has the processor fetch at once, and not one
    /// after another, what that is going to touch. Nothing is done with what is read here.
    fn fetch(&self, place: u32) -> &Item {
        let item = self.arena.get(place);
        item.fetch();
        for neighbour in [item.newer, item.older] {
            if neighbour != NONE {
                hint::black_box(self.arena.get(neighbour).tag);
            }
        }
        item
    }

    /// Adds an item whose key is not there, as the one used last.
    pub(super) fn insert(&mut self, item: Item) -> u32 {
        let tag = item.tag;
        let place = self.arena.push(item);
        let slot = Slot { tag, place };
        self.index
            .insert_unique(spread(tag), slot, |slot| spread(slot.tag));
        self.link(place);
        place
    }

    /// Takes an item out. Another one may move to its place.
    pub(super) fn remove(&mut self, place: u32) -> Item {
        self.unlink(place);
        let tag = self.get(place).tag;
        let entry = self
            .index
            .find_entry(spread(tag), |slot| slot.place == place);
        entry.expect("every item is in the index").remove();
        let last = self.arena.last().expect("there is the item to remove");
        if last != place {
            let moving = self.get(last).tag;
            self.index
                .find_mut(spread(moving), |slot| slot.place == last)
                .expect("every item is in the index")
                .place = place;
            self.relink(last, place);
        }
        let item = self.arena.swap_remove(place);
        self.shrink_index();
        item
    }

    /// Makes an item the one used last.
    pub(super) fn bump(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    /// The place of the item that was not used for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// What the items take from the allocator, without their blocks.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.arena.allocated_bytes() + allocated(self.index.allocation_size())
    }

    /// The most that the next insertion may add to that, while it moves what is there.
    pub(super) fn growth_bytes(&self) -> usize {
        const SMALLEST_BYTES: usize = 128;
        let larger_index = if self.index.len() == self.index.capacity() {
            allocated(2 * self.index.allocation_size() + SMALLEST_BYTES)
        } else {
            0
        };
        self.arena.growth_bytes() + larger_index
    }

    /// Gives memory back when the index has become much too large.
    fn shrink_index(&mut self) {
        const KEPT: usize = 64;
        let len = self.index.len();
        if len == 0 {
            self.index = HashTable::new();
        } else if self.index.capacity() > KEPT && len < self.index.capacity() / 8 {
            self.index.shrink_to(2 * len, |slot| spread(slot.tag));
        }
    }

    fn link(&mut self, place: u32) {
        let older = core::mem::replace(&mut self.newest, place);
        let item = self.arena.get_mut(place);
        (item.newer, item.older) = (NONE, older);
        if older == NONE {
            self.oldest = place;
        } else {
            self.arena.get_mut(older).newer = place;
        }
    }

    fn unlink(&mut self, place: u32) {
        let item = self.arena.get(place);
        let (newer, older) = (item.newer, item.older);
        self.join(newer, older);
    }

    /// The item at `from` is about to move to `to`.
    fn relink(&mut self, from: u32, to: u32) {
        let item = self.arena.get(from);
        let (newer, older) = (item.newer, item.older);
        if newer == NONE {
            self.newest = to;
        } else {
            self.arena.get_mut(newer).older = to;
        }
        if older == NONE {
            self.oldest = to;
        } else {
            self.arena.get_mut(older).newer = to;
        }
    }

    /// Makes two items neighbours.
    fn join(&mut self, newer: u32, older: u32) {
        if newer == NONE {
            self.newest = older;
        } else {
            self.arena.get_mut(newer).older = older;
        }
        if older == NONE {
            self.oldest = newer;
        } else {
            self.arena.get_mut(older).newer = newer;
        }
    }
}

/// A table looks at the lowest and the highest bits of a hash; a tag has none of the latter.
const fn spread(tag: u32) -> u64 {
    (tag as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

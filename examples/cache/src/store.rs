//! The store: items by key, in shards that are locked one at a time.
//!
//! ```text
//! hash(key) ─┬─ bits 48.. ─▶ shard ─ lock ─▶ index ─▶ place ─▶ item ─▶ key and value
//!            └─ low bits ─────────────────▶ its slot in that index
//! ```
//!
//! The hash is seeded by the caller, and nothing depends on the order of a table, so equal calls
//! give equal answers in every process. Expired and flushed items are dropped when someone
//! meets them, or by a walk over a few items at a time when memory is needed.
//!
//! All shards share one memory limit, which counts everything that an item makes the allocator
//! hand out. What would exceed it makes room first: the oldest items of its own shard go, or, where
//! a shard holds too few to tell, those of the shard whose oldest item was unused for longest. Only
//! one shard is locked at a time, and only for a bounded number of items.

mod arena;
mod counters;
mod evict;
mod item;
mod items;
mod memory;
mod meta;
mod shard;
#[cfg(test)]
mod tests;
mod write;

use core::hash::BuildHasher;
use core::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::FixedState;

pub(crate) use self::counters::Counters;
use self::item::Key;
pub(crate) use self::item::{Item, Mark, Value};
use self::memory::{Claim, Memory};
pub(crate) use self::meta::{Look, Removal, Removed};
pub(crate) use self::shard::Access;
use self::shard::Shard;
use self::write::Full;
use crate::protocol::{Direction, StoreVerb};
use crate::sync::{Mutex, lock};
use crate::time::{Expiry, Seconds};

/// The least memory that a shard is worth having for.
const SHARD_BYTES_MIN: usize = 64 << 10;

/// What came of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreOutcome {
    Stored(Receipt),
    NotStored,
    Exists,
    NotFound,
    OutOfMemory,
}

/// What is known of an item that was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) unique: u64,
    pub(crate) value_bytes: usize,
}

/// What came of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Done,
    NotFound,
    Exists,
    NotANumber,
    OutOfMemory,
}

/// Whether the key was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Yes,
    No,
}

/// How much the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) items: u64,
    /// Everything that counts against the limit.
    pub(crate) bytes: u64,
    /// Keys and values alone.
    pub(crate) payload_bytes: u64,
    /// Of `bytes`, what finds the items and keeps their order.
    pub(crate) index_bytes: u64,
    pub(crate) bytes_max: u64,
    /// How long the oldest item was not used, and the longest that a last evicted one was.
    pub(crate) oldest_idle: u64,
    pub(crate) evicted_idle: u64,
}

/// What is stored with a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) flags: u32,
    pub(crate) expiry: Expiry,
}

/// A storage command. Its value is taken only when it is stored.
#[derive(Debug)]
pub(crate) struct Change<'v> {
    pub(crate) verb: StoreVerb,
    pub(crate) attributes: Attributes,
    pub(crate) value: Value<'v>,
    pub(crate) terms: Terms,
}

/// What a meta command can ask of a storage command beyond the classic ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Append and prepend only to an item with this unique number.
    pub(crate) compare: Option<u64>,
    /// The unique number that the item gets, instead of the next one.
    pub(crate) new_unique: Option<u64>,
    /// Over a newer item, store the value as one that is out of date.
    pub(crate) may_be_stale: bool,
    /// Append and prepend to nothing, too.
    pub(crate) creates: bool,
    pub(crate) binary_key: bool,
    /// It counts as a meta command, and when its value cannot be stored, the old one goes too.
    pub(crate) is_meta: bool,
}

/// An arithmetic command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) direction: Direction,
    pub(crate) delta: u64,
    /// Only if this is the unique number.
    pub(crate) compare: Option<u64>,
    pub(crate) new_unique: Option<u64>,
    /// What to begin with where there is nothing.
    pub(crate) creates: Option<u64>,
    pub(crate) binary_key: bool,
    /// It counts as a meta command.
    pub(crate) is_meta: bool,
}

/// All items.
#[derive(Debug)]
pub(crate) struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: FixedState,
    memory: Memory,
    value_bytes_max: usize,
    /// Where the next search for the oldest item begins, so that equals take turns.
    search: AtomicUsize,
}

impl Store {
    pub(crate) fn new(config: &crate::Config) -> Self {
        let wanted = config.shards.next_power_of_two();
        let affordable = (config.memory_bytes / SHARD_BYTES_MIN).max(1);
        let count = wanted.min(1 << affordable.ilog2());
        let shards = (0..count).map(|index| {
            Mutex::new(Shard::new(index, count).forgetting_evicted(config.forgets_evicted))
        });
        Self {
            shards: shards.collect(),
            hasher: FixedState::with_seed(config.seed),
            memory: Memory::new(config.memory_bytes),
            // As with memcached, one value may not push out everything else.
            value_bytes_max: config.value_bytes_max.min(config.memory_bytes / 2),
            search: AtomicUsize::new(0),
        }
    }

    /// The longest value.
    pub(crate) const fn value_bytes_max(&self) -> usize {
        self.value_bytes_max
    }

    /// Shows the item of `key` to `read`, while its shard is locked.
    pub(crate) fn read(
        &self,
        key: &[u8],
        access: Access,
        now: Seconds,
        read: impl FnOnce(&Item),
    ) -> Found {
        let key = self.key(key);
        let mut claim = self.memory.claim();
        lock(self.shard(key)).read(key, access, now, &mut claim, read)
    }

    /// Shows the item of `key` to `report`, which may change all but its value, and says whether
    /// it was made just now.
    pub(crate) fn look(
        &self,
        key: &[u8],
        look: &Look,
        now: Seconds,
        mut report: impl FnMut(&mut Item, bool),
    ) -> Found {
        let key = self.key(key);
        let attempt = |claim: &mut Claim<'_>| {
            let mut shard = lock(self.shard(key));
            let found = shard.look(key, look, now, claim, &mut report)?;
            shard.counters.cmd_meta += 1;
            Ok(found)
        };
        self.with_room(now, attempt).unwrap_or(Found::No)
    }

    /// Shows the item of `key` to `inspect`, and nobody will know.
    pub(crate) fn inspect(&self, key: &[u8], now: Seconds, inspect: impl FnOnce(&Item)) -> Found {
        let key = self.key(key);
        let mut claim = self.memory.claim();
        lock(self.shard(key)).inspect(key, now, &mut claim, inspect)
    }

    /// Stores a value under `key` if the verb and its terms allow it.
    ///
    /// If no room can be made, `set` drops the old item too: a client that could not store the
    /// new value must not be given the old one.
    pub(crate) fn store(&self, key: &[u8], mut change: Change<'_>, now: Seconds) -> StoreOutcome {
        let key = self.key(key);
        let home = self.shard(key);
        let joined_bytes_max = self.value_bytes_max;
        let attempt = |claim: &mut Claim<'_>| {
            lock(home).store(key, &mut change, joined_bytes_max, now, claim)
        };
        match self.with_room(now, attempt) {
            Ok(outcome) => outcome,
            Err(Full { .. }) => lock(home).give_up_storing(key, &change, &mut self.memory.claim()),
        }
    }

    /// Notes that a value was too large to be stored; a `set` drops the old item as above.
    pub(crate) fn refuse_too_large(&self, verb: StoreVerb, terms: Terms, key: &[u8]) {
        let key = self.key(key);
        let mut shard = lock(self.shard(key));
        shard.counters.cmd_set += 1;
        shard.counters.cmd_meta += u64::from(terms.is_meta);
        shard.counters.store_too_large += 1;
        if verb == StoreVerb::Set || terms.is_meta {
            shard.forget(key, &mut self.memory.claim());
        }
    }

    pub(crate) fn delete(&self, key: &[u8], now: Seconds) -> Found {
        let key = self.key(key);
        let mut claim = self.memory.claim();
        lock(self.shard(key)).delete(key, now, &mut claim)
    }

    /// Deletes, empties or marks an item.
    pub(crate) fn remove(&self, key: &[u8], removal: &Removal, now: Seconds) -> Removed {
        let key = self.key(key);
        let mut claim = self.memory.claim();
        let mut shard = lock(self.shard(key));
        shard.counters.cmd_meta += 1;
        shard.remove_or_mark(key, removal, now, &mut claim)
    }

    /// Counts the number stored under `key`, and shows the item to `report` with the number and
    /// whether it was made just now.
    pub(crate) fn count(
        &self,
        key: &[u8],
        count: &Count,
        now: Seconds,
        mut report: impl FnMut(&mut Item, u64, bool),
    ) -> Counted {
        let key = self.key(key);
        let home = self.shard(key);
        let attempt = |claim: &mut Claim<'_>| {
            let mut shard = lock(home);
            let counted = shard.count(key, count, now, claim, &mut report)?;
            shard.counters.cmd_meta += u64::from(count.is_meta);
            Ok(counted)
        };
        self.with_room(now, attempt).unwrap_or(Counted::OutOfMemory)
    }

    /// From the moment `at` on, nothing is found that was stored before it.
    pub(crate) fn flush(&self, at: Seconds, now: Seconds) {
        for shard in &self.shards {
            lock(shard).flush(at, now);
        }
    }

    pub(crate) fn reset_counters(&self) {
        for shard in &self.shards {
            lock(shard).counters = Counters::default();
        }
    }

    /// The sums over all shards, each looked at in turn.
    pub(crate) fn totals(&self, now: Seconds) -> (Usage, Counters) {
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let mut counters = Counters::default();
        let mut usage = Usage {
            bytes: wide(self.memory.used()),
            bytes_max: wide(self.memory.max()),
            ..Usage::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            counters.add(&shard.counters);
            usage.items += wide(shard.len());
            usage.payload_bytes += wide(shard.payload());
            usage.index_bytes += wide(shard.overhead());
            let oldest_idle = shard.oldest_access().map_or(0, |last| now.since(last));
            usage.oldest_idle = usage.oldest_idle.max(oldest_idle);
            usage.evicted_idle = usage.evicted_idle.max(shard.evicted_idle());
        }
        (usage, counters)
    }

    /// Repeats `attempt` with more and more room, until it has enough or there is no more.
    fn with_room<T>(
        &self,
        now: Seconds,
        mut attempt: impl FnMut(&mut Claim<'_>) -> Result<T, Full>,
    ) -> Result<T, Full> {
        let mut claim = self.memory.claim();
        loop {
            let full = match attempt(&mut claim) {
                Err(full) => full,
                done => return done,
            };
            // What would never fit must not cost the others their places.
            if full.bytes > self.memory.max() {
                return Err(full);
            }
            while !claim.cover(full.bytes) {
                let Some(shard) = self.shard_with_the_oldest() else {
                    return Err(full);
                };
                let _ = lock(shard).evict(full.bytes, now, &mut claim);
            }
        }
    }

    /// The shard whose oldest item was unused for longest; `None` if all are empty.
    fn shard_with_the_oldest(&self) -> Option<&Mutex<Shard>> {
        let start = self.search.fetch_add(1, Ordering::Relaxed);
        let mask = self.shards.len() - 1;
        (0..self.shards.len())
            .map(|step| &self.shards[start.wrapping_add(step) & mask])
            .filter_map(|shard| Some((lock(shard).oldest_access()?, shard)))
            .min_by_key(|&(accessed, _)| accessed)
            .map(|(_, shard)| shard)
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key {
            bytes,
            hash: self.hasher.hash_one(bytes),
        }
    }

    fn shard(&self, key: Key<'_>) -> &Mutex<Shard> {
        // The index is made from the low half of the same hash, so the shard is chosen by others.
        let bits = usize::try_from(key.hash >> 48).expect("16 bits remain");
        &self.shards[bits & (self.shards.len() - 1)]
    }
}

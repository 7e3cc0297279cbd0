//! The store: items by key, in shards that are locked one at a time.
//!
//! ```text
//! hash(key) ─┬─ bits 48.. ─▶ shard ─ lock ─▶ map ─▶ item
//!            └─ all bits ──────────────────▶ its place in that map
//! ```
//!
//! The hash is seeded by the caller, and nothing depends on the order of a map, so equal calls
//! give equal answers in every process. Expired and flushed items are dropped when someone
//! meets them, or all at once when memory runs out.
//!
//! All shards share one memory limit. What would exceed it is refused: nothing that is alive
//! is ever thrown away.

mod counters;
mod item;
mod memory;
mod shard;
#[cfg(test)]
mod tests;
mod write;

use core::hash::BuildHasher;

use foldhash::fast::FixedState;

pub(crate) use self::counters::Counters;
use self::item::Key;
pub(crate) use self::item::{Item, Value};
use self::memory::Memory;
use self::shard::Shard;
use self::write::{Change, Full};
use crate::protocol::{Direction, StoreVerb};
use crate::sync::{Mutex, lock};
use crate::time::{Expiry, Seconds};

/// What came of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreOutcome {
    Stored,
    NotStored,
    Exists,
    NotFound,
    OutOfMemory,
}

/// What came of `incr` or `decr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Now(u64),
    NotFound,
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
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
}

/// What is stored with a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) flags: u32,
    pub(crate) expiry: Expiry,
}

/// All items.
#[derive(Debug)]
pub(crate) struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: FixedState,
    memory: Memory,
    value_bytes_max: usize,
}

impl Store {
    pub(crate) fn new(config: &crate::Config) -> Self {
        let hasher = FixedState::with_seed(config.seed);
        let count = config.shards.next_power_of_two();
        let shards = (0..count).map(|index| Mutex::new(Shard::new(index, count, hasher.clone())));
        Self {
            shards: shards.collect(),
            hasher,
            memory: Memory::new(config.memory_bytes),
            value_bytes_max: config.value_bytes_max,
        }
    }

    /// Shows the item of `key` to `read`, while its shard is locked.
    pub(crate) fn read(&self, key: &[u8], now: Seconds, read: impl FnOnce(&Item)) -> Found {
        let key = self.key(key);
        let mut shard = lock(self.shard(key));
        shard.read(key, now, &self.memory, read)
    }

    /// Stores `value` under `key` if `verb` allows it.
    ///
    /// When the memory is used up, expired and flushed items are dropped first. If that does
    /// not help, `set` drops the old item too: a client that could not store the new value
    /// must not be given the old one.
    pub(crate) fn store(
        &self,
        verb: StoreVerb,
        key: &[u8],
        attributes: Attributes,
        mut value: Value<'_>,
        now: Seconds,
    ) -> StoreOutcome {
        let key = self.key(key);
        let home = self.shard(key);
        let (memory, joined_bytes_max) = (&self.memory, self.value_bytes_max);
        let mut attempt = || {
            let mut change = Change {
                verb,
                attributes,
                value: &mut value,
                joined_bytes_max,
            };
            lock(home).store(key, &mut change, now, memory)
        };
        let mut result = attempt();
        if result == Err(Full) {
            self.reclaim(now);
            result = attempt();
        }
        result.unwrap_or_else(|Full| lock(home).give_up_storing(verb, key, memory))
    }

    /// Notes that a value was too large to be stored; a `set` drops the old item as above.
    pub(crate) fn refuse_too_large(&self, verb: StoreVerb, key: &[u8]) {
        let key = self.key(key);
        let mut shard = lock(self.shard(key));
        shard.counters.cmd_set += 1;
        shard.counters.store_too_large += 1;
        if verb == StoreVerb::Set {
            shard.remove(key, &self.memory);
        }
    }

    pub(crate) fn delete(&self, key: &[u8], now: Seconds) -> Found {
        let key = self.key(key);
        let mut shard = lock(self.shard(key));
        shard.delete(key, now, &self.memory)
    }

    pub(crate) fn touch(&self, key: &[u8], expiry: Expiry, now: Seconds) -> Found {
        let key = self.key(key);
        let mut shard = lock(self.shard(key));
        shard.touch(key, expiry, now, &self.memory)
    }

    /// Counts the number stored under `key` up or down by `delta`.
    pub(crate) fn count(
        &self,
        direction: Direction,
        key: &[u8],
        delta: u64,
        now: Seconds,
    ) -> Counted {
        let key = self.key(key);
        let home = self.shard(key);
        let attempt = || lock(home).count(direction, key, delta, now, &self.memory);
        let retry = |Full| {
            self.reclaim(now);
            attempt()
        };
        attempt().or_else(retry).unwrap_or(Counted::OutOfMemory)
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
    pub(crate) fn totals(&self) -> (Usage, Counters) {
        let mut counters = Counters::default();
        let mut usage = self.memory.usage();
        for shard in &self.shards {
            let shard = lock(shard);
            counters.add(&shard.counters);
            usage.items += shard.len();
        }
        (usage, counters)
    }

    /// Drops every dead item, in shards that may have one.
    fn reclaim(&self, now: Seconds) {
        for shard in &self.shards {
            lock(shard).sweep(now, &self.memory);
        }
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key {
            bytes,
            hash: self.hasher.hash_one(bytes),
        }
    }

    fn shard(&self, key: Key<'_>) -> &Mutex<Shard> {
        // A table places its entries by the lowest and the highest seven bits of the same hash,
        // so the shard is chosen by bits between them.
        let bits = usize::try_from(key.hash >> 48).expect("16 bits remain");
        &self.shards[bits & (self.shards.len() - 1)]
    }
}

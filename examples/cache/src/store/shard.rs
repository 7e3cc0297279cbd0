//! One shard of the store: a table, and what reads or removes while it is locked.

use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::item::{Item, Key};
use super::memory::Memory;
use super::{Counters, Found};
use crate::time::{Expiry, Seconds};

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) table: Table,
    pub(crate) counters: Counters,
    pub(crate) uniques: Uniques,
    /// A flush that is still to come.
    flush_at: Option<Seconds>,
    /// No item expires before this moment, so a sweep before it has nothing to find.
    earliest_expiry: Expiry,
    /// Whether flushed items may still be in the table.
    holds_flushed: bool,
}

impl Shard {
    pub(crate) fn new(index: usize, count: usize, hasher: FixedState) -> Self {
        let wide = |number: usize| u64::try_from(number).expect("a shard number fits in 64 bits");
        Self {
            table: Table {
                items: HashTable::new(),
                hasher,
                flushed: 0,
            },
            counters: Counters::default(),
            uniques: Uniques {
                last: wide(index),
                step: wide(count),
            },
            flush_at: None,
            earliest_expiry: Expiry::NEVER,
            holds_flushed: false,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.table.items.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn read(
        &mut self,
        key: Key<'_>,
        now: Seconds,
        memory: &Memory,
        read: impl FnOnce(&Item),
    ) -> Found {
        self.run_due_flush(now);
        self.counters.cmd_get += 1;
        match self.table.find(key, now, memory) {
            Lookup::Alive(item) => {
                self.counters.get_hits += 1;
                read(item);
                return Found::Yes;
            }
            Lookup::Absent => {}
            Lookup::Expired => self.counters.get_expired += 1,
            Lookup::Flushed => self.counters.get_flushed += 1,
        }
        self.counters.get_misses += 1;
        Found::No
    }

    pub(crate) fn delete(&mut self, key: Key<'_>, now: Seconds, memory: &Memory) -> Found {
        self.run_due_flush(now);
        if let Lookup::Alive(_) = self.table.find(key, now, memory) {
            self.remove(key, memory);
            self.counters.delete_hits += 1;
            Found::Yes
        } else {
            self.counters.delete_misses += 1;
            Found::No
        }
    }

    /// Drops the item of `key`, dead or alive.
    pub(crate) fn remove(&mut self, key: Key<'_>, memory: &Memory) {
        let is_it = |item: &Item| *item.key == *key.bytes;
        if let Ok(entry) = self.table.items.find_entry(key.hash, is_it) {
            memory.release(entry.remove().0.cost());
        }
    }

    pub(crate) fn touch(
        &mut self,
        key: Key<'_>,
        expiry: Expiry,
        now: Seconds,
        memory: &Memory,
    ) -> Found {
        self.run_due_flush(now);
        self.counters.cmd_touch += 1;
        let Lookup::Alive(item) = self.table.find(key, now, memory) else {
            self.counters.touch_misses += 1;
            return Found::No;
        };
        item.expiry = expiry;
        self.counters.touch_hits += 1;
        self.note_expiry(expiry);
        Found::Yes
    }

    /// From the moment `at` on, nothing is found that was stored before it.
    pub(crate) fn flush(&mut self, at: Seconds, now: Seconds) {
        // A flush that is due already has had its effect; a later one is replaced.
        self.run_due_flush(now);
        self.flush_at = Some(at);
        self.run_due_flush(now);
    }

    /// Drops every dead item, unless there can be none.
    pub(crate) fn sweep(&mut self, now: Seconds, memory: &Memory) {
        self.run_due_flush(now);
        if !self.holds_flushed && !self.earliest_expiry.has_passed(now) {
            return;
        }
        let mut earliest_expiry = Expiry::NEVER;
        let flushed = self.table.flushed;
        self.table.items.retain(|item| {
            let alive = item.unique > flushed && !item.expiry.has_passed(now);
            if alive {
                earliest_expiry = earliest_expiry.min(item.expiry);
            } else {
                memory.release(item.cost());
            }
            alive
        });
        self.earliest_expiry = earliest_expiry;
        self.holds_flushed = false;
    }

    /// Every operation that gives an item an expiry tells it here.
    pub(crate) fn note_expiry(&mut self, expiry: Expiry) {
        self.earliest_expiry = self.earliest_expiry.min(expiry);
    }

    /// Every operation begins with this, so that all items so far were stored before the flush
    /// and none after it.
    pub(crate) fn run_due_flush(&mut self, now: Seconds) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.table.flushed = self.uniques.last;
            self.holds_flushed = true;
        }
    }
}

/// The items of a shard.
#[derive(Debug)]
pub(crate) struct Table {
    items: HashTable<Item>,
    hasher: FixedState,
    /// Items up to this unique number were flushed away.
    flushed: u64,
}

/// What a table has under a key.
pub(crate) enum Lookup<'a> {
    Alive(&'a mut Item),
    Absent,
    /// It was there, but its time was over; it has been dropped.
    Expired,
    /// It was there, but older than the last flush; it has been dropped.
    Flushed,
}

impl Table {
    pub(crate) fn find(&mut self, key: Key<'_>, now: Seconds, memory: &Memory) -> Lookup<'_> {
        let is_it = |item: &Item| *item.key == *key.bytes;
        let Ok(entry) = self.items.find_entry(key.hash, is_it) else {
            return Lookup::Absent;
        };
        let item = entry.get();
        if item.unique <= self.flushed {
            memory.release(entry.remove().0.cost());
            return Lookup::Flushed;
        }
        if item.expiry.has_passed(now) {
            memory.release(entry.remove().0.cost());
            return Lookup::Expired;
        }
        Lookup::Alive(entry.into_mut())
    }

    /// Adds an item whose key is not there.
    pub(crate) fn insert(&mut self, hash: u64, item: Item) {
        let Self { items, hasher, .. } = self;
        items.insert_unique(hash, item, |item| hasher.hash_one(&*item.key));
    }
}

/// The unique numbers that a shard gives out. Each shard has its own residue, so that they are
/// unique in the whole store without being shared.
#[derive(Debug)]
pub(crate) struct Uniques {
    last: u64,
    step: u64,
}

impl Uniques {
    pub(crate) const fn next(&mut self) -> u64 {
        self.last += self.step;
        self.last
    }
}

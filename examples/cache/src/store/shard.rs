//! One shard of the store: its items, and what reads or removes while it is locked.

use super::Counters;
use super::Found;
use super::evict::Crawl;
use super::item::{Item, Key, Mark};
use super::items::Items;
use super::memory::Claim;
use crate::time::{Expiry, Seconds};

#[derive(Debug)]
pub(crate) struct Shard {
    pub(super) items: Items,
    pub(crate) counters: Counters,
    pub(super) uniques: Uniques,
    /// Which flush the present items came after.
    epoch: u32,
    /// A flush that is still to come.
    flush_at: Option<Seconds>,
    /// Whether flushed items may still be there.
    pub(super) holds_flushed: bool,
    pub(super) crawl: Crawl,
    /// How long the last evicted item had not been used.
    pub(super) evicted_idle: u64,
    /// What the items count without their blocks.
    overhead: usize,
    /// Length of all keys and values.
    pub(super) payload: usize,
    /// The planted mistake: what was evicted stays counted.
    pub(super) forgets_evicted: bool,
}

/// What is under a key.
pub(super) enum Lookup {
    Alive(u32),
    Absent,
    /// It was there, but its time was over; it has been dropped.
    Expired,
    /// It was there, but older than the last flush; it has been dropped.
    Flushed,
}

/// How an access counts and what it leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A retrieval.
    Get,
    /// A retrieval that sets when the item expires.
    Touch(Expiry),
}

impl Shard {
    pub(crate) fn new(index: usize, count: usize) -> Self {
        let wide = |number: usize| u64::try_from(number).expect("a shard number fits in 64 bits");
        Self {
            items: Items::new(),
            counters: Counters::default(),
            uniques: Uniques {
                last: wide(index),
                step: wide(count),
            },
            epoch: 0,
            flush_at: None,
            holds_flushed: false,
            crawl: Crawl::new(),
            evicted_idle: 0,
            overhead: 0,
            payload: 0,
            forgets_evicted: false,
        }
    }

    /// The same with a mistake, for the simulation that has to find it.
    pub(crate) fn forgetting_evicted(self, forgets_evicted: bool) -> Self {
        Self {
            forgets_evicted,
            ..self
        }
    }

    pub(crate) fn read(
        &mut self,
        key: Key<'_>,
        access: Access,
        now: Seconds,
        claim: &mut Claim<'_>,
        read: impl FnOnce(&Item),
    ) -> Found {
        let place = self.find(key, now, claim);
        self.count_access(access, &place);
        let Lookup::Alive(place) = place else {
            return Found::No;
        };
        if let Access::Touch(expiry) = access {
            self.items.get_mut(place).expiry = expiry;
            self.note_expiry(expiry);
        }
        read(self.items.get(place));
        self.use_item(place, now);
        Found::Yes
    }

    pub(crate) fn inspect(
        &mut self,
        key: Key<'_>,
        now: Seconds,
        claim: &mut Claim<'_>,
        inspect: impl FnOnce(&Item),
    ) -> Found {
        self.counters.cmd_meta += 1;
        let Lookup::Alive(place) = self.find(key, now, claim) else {
            return Found::No;
        };
        inspect(self.items.get(place));
        Found::Yes
    }

    /// Notes that a client asked for an item.
    pub(super) fn use_item(&mut self, place: u32, now: Seconds) {
        let item = self.items.get_mut(place);
        item.accessed = now;
        item.mark(Mark::Fetched);
        self.items.bump(place);
    }

    pub(super) fn count_access(&mut self, access: Access, lookup: &Lookup) {
        let counters = &mut self.counters;
        match lookup {
            Lookup::Alive(_) | Lookup::Absent => {}
            Lookup::Expired => counters.get_expired += 1,
            Lookup::Flushed => counters.get_flushed += 1,
        }
        let hit = u64::from(matches!(lookup, Lookup::Alive(_)));
        match access {
            Access::Get => {
                counters.cmd_get += 1;
                counters.get_hits += hit;
                counters.get_misses += 1 - hit;
            }
            Access::Touch(_) => {
                counters.cmd_touch += 1;
                counters.touch_hits += hit;
                counters.touch_misses += 1 - hit;
            }
        }
    }

    pub(crate) fn delete(&mut self, key: Key<'_>, now: Seconds, claim: &mut Claim<'_>) -> Found {
        if let Lookup::Alive(place) = self.find(key, now, claim) {
            self.remove(place, claim);
            self.counters.delete_hits += 1;
            Found::Yes
        } else {
            self.counters.delete_misses += 1;
            Found::No
        }
    }

    /// Drops the item of `key`, dead or alive.
    pub(crate) fn forget(&mut self, key: Key<'_>, claim: &mut Claim<'_>) {
        if let Some(place) = self.items.find(key) {
            self.remove(place, claim);
        }
    }

    /// From the moment `at` on, nothing is found that was stored before it.
    pub(crate) fn flush(&mut self, at: Seconds, now: Seconds) {
        self.run_due_flush(now);
        // A flush that is still to come is replaced by a later request.
        self.flush_at = Some(at);
        self.run_due_flush(now);
    }

    /// Looks for the item of a key. Every operation on a key begins with this, so that all items
    /// so far were stored before a flush that is due, and none after it.
    pub(super) fn find(&mut self, key: Key<'_>, now: Seconds, claim: &mut Claim<'_>) -> Lookup {
        self.run_due_flush(now);
        let Some(place) = self.items.find(key) else {
            return Lookup::Absent;
        };
        let item = self.items.get(place);
        if self.is_flushed(item) {
            self.remove(place, claim);
            return Lookup::Flushed;
        }
        if item.expiry.has_passed(now) {
            self.remove(place, claim);
            return Lookup::Expired;
        }
        Lookup::Alive(place)
    }

    /// Adds an item whose key is not there. The claim covers its block and
    /// [`Items::growth_bytes`].
    pub(super) fn insert(&mut self, mut item: Item, claim: &mut Claim<'_>) -> u32 {
        item.epoch = self.epoch;
        self.payload += item.payload();
        claim.spend(item.cost());
        let expiry = item.expiry;
        let place = self.items.insert(item);
        self.settle(claim);
        self.note_expiry(expiry);
        self.counters.total_items += 1;
        place
    }

    /// Takes an item out; its memory goes to the claim.
    pub(super) fn remove(&mut self, place: u32, claim: &mut Claim<'_>) -> Item {
        let item = self.items.remove(place);
        self.payload -= item.payload();
        claim.gain(item.cost());
        self.settle(claim);
        item
    }

    /// Charges what the index and the arena take by now.
    fn settle(&mut self, claim: &mut Claim<'_>) {
        let overhead = self.items.overhead_bytes();
        match overhead.checked_sub(self.overhead) {
            Some(more) => claim.spend(more),
            None => claim.gain(self.overhead - overhead),
        }
        self.overhead = overhead;
    }

    /// Every operation that gives an item an expiry tells it here.
    pub(super) fn note_expiry(&mut self, expiry: Expiry) {
        self.crawl.note(expiry);
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) const fn is_flushed(&self, item: &Item) -> bool {
        item.epoch != self.epoch
    }

    pub(super) fn run_due_flush(&mut self, now: Seconds) {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.epoch = self.epoch.wrapping_add(1);
            self.holds_flushed = true;
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) const fn overhead(&self) -> usize {
        self.overhead
    }

    pub(crate) const fn payload(&self) -> usize {
        self.payload
    }

    pub(crate) const fn evicted_idle(&self) -> u64 {
        self.evicted_idle
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

//! How a full shard makes room: the dead go first, then what was not used for longest.
//!
//! Everything here is bounded, because the shard is locked meanwhile: whoever needs more comes
//! back, or goes to another shard.

use super::item::Mark;
use super::memory::Claim;
use super::shard::Shard;
use crate::time::{Expiry, Seconds};

/// How many items are looked at for one that is dead, before one that is alive must go.
const CRAWLED_MAX: usize = 32;
/// How many items leave before others may have the shard.
const EVICTED_MAX: usize = 16;
/// A shard with fewer items has no old ones to speak of; the store then looks for the oldest of
/// all shards.
const ITEMS_WITH_AGE: usize = 32;

impl Shard {
    /// Enlarges the claim to `bytes` at the cost of this shard's own items, if it has enough of
    /// them that the oldest is old.
    pub(super) fn make_room(&mut self, bytes: usize, now: Seconds, claim: &mut Claim<'_>) -> bool {
        if claim.cover(bytes) {
            return true;
        }
        self.crawl(now, claim);
        self.evict_down_to(ITEMS_WITH_AGE, bytes, now, claim)
    }

    /// Enlarges the claim to `bytes`, or by as much as a bounded number of items gives.
    pub(crate) fn evict(&mut self, bytes: usize, now: Seconds, claim: &mut Claim<'_>) -> bool {
        self.run_due_flush(now);
        self.evict_down_to(0, bytes, now, claim)
    }

    /// When the oldest item was used last.
    pub(crate) fn oldest_access(&self) -> Option<Seconds> {
        Some(self.items.get(self.items.oldest()?).accessed)
    }

    fn evict_down_to(
        &mut self,
        kept: usize,
        bytes: usize,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> bool {
        for _ in 0..EVICTED_MAX {
            if claim.cover(bytes) {
                return true;
            }
            if self.items.len() <= kept {
                return false;
            }
            let Some(oldest) = self.items.oldest() else {
                return false;
            };
            self.throw_out(oldest, now, claim);
        }
        claim.cover(bytes)
    }

    fn throw_out(&mut self, place: u32, now: Seconds, claim: &mut Claim<'_>) {
        let item = self.items.get(place);
        let dead = self.is_flushed(item) || item.expiry.has_passed(now);
        let unfetched = u64::from(!item.is(Mark::Fetched));
        let counters = &mut self.counters;
        if dead {
            counters.reclaimed += 1;
            counters.expired_unfetched += unfetched;
        } else {
            counters.evictions += 1;
            counters.evicted_unfetched += unfetched;
            counters.evicted_nonzero += u64::from(item.expiry != Expiry::NEVER);
            self.evicted_idle = now.since(item.accessed);
        }
        let item = self.remove(place, claim);
        if self.forgets_evicted {
            claim.spend(item.cost());
        }
    }

    /// Looks at the next few items and drops the dead among them, unless there can be none.
    ///
    /// It walks from the last place to the first, because an item that moves then moves to where
    /// the walk has been, or still comes.
    fn crawl(&mut self, now: Seconds, claim: &mut Claim<'_>) {
        if !self.holds_flushed && !self.crawl.earliest_expiry.has_passed(now) {
            return;
        }
        for _ in 0..CRAWLED_MAX {
            let Some(place) = self.crawl.next(self.items.len()) else {
                self.end_crawl();
                continue;
            };
            self.counters.crawler_items_checked += 1;
            let item = self.items.get(place);
            if self.is_flushed(item) || item.expiry.has_passed(now) {
                self.counters.crawler_reclaimed += 1;
                self.throw_out(place, now, claim);
            } else {
                self.crawl.seen(item.expiry);
            }
        }
    }

    /// All items have been looked at: what is known of them is exact again.
    fn end_crawl(&mut self) {
        let epoch = self.epoch();
        self.holds_flushed = self.crawl.began_in != epoch;
        self.crawl.begin(self.items.len(), epoch);
    }
}

/// A walk over all items of a shard, a few at a time.
#[derive(Debug)]
pub(super) struct Crawl {
    /// No item expires before this moment, so looking for one before it is in vain.
    earliest_expiry: Expiry,
    /// The same of the items that this walk has passed, and of those that came meanwhile.
    earliest_seen: Expiry,
    /// This place and those above have been looked at.
    at: usize,
    /// Which flush had happened when the walk began.
    began_in: u32,
}

impl Crawl {
    pub(super) const fn new() -> Self {
        Self {
            earliest_expiry: Expiry::NEVER,
            earliest_seen: Expiry::NEVER,
            at: 0,
            began_in: 0,
        }
    }

    /// Every operation that gives an item an expiry tells it here.
    pub(super) fn note(&mut self, expiry: Expiry) {
        self.earliest_expiry = self.earliest_expiry.min(expiry);
        self.seen(expiry);
    }

    fn seen(&mut self, expiry: Expiry) {
        self.earliest_seen = self.earliest_seen.min(expiry);
    }

    fn next(&mut self, items: usize) -> Option<u32> {
        self.at = self.at.min(items).checked_sub(1)?;
        Some(u32::try_from(self.at).expect("places are 32 bits"))
    }

    fn begin(&mut self, items: usize, epoch: u32) {
        self.earliest_expiry = core::mem::replace(&mut self.earliest_seen, Expiry::NEVER);
        self.at = items;
        self.began_in = epoch;
    }
}

//! What changes values in a shard while it is locked.

use super::item::{Item, Key, Mark, Value, block};
use super::memory::{Claim, allocated};
use super::shard::{Lookup, Shard};
use super::{Attributes, Change, Count, Counted, Receipt, StoreOutcome};
use crate::protocol::{Decimal, Direction, StoreVerb, value_as_number};
use crate::time::Seconds;

/// The claim is too small for this change, by what could be had here. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// What the claim has to cover.
    pub(crate) bytes: usize,
}

/// Whether the condition of a storage command is met by the item that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Store,
    /// Store it, but as a value that is out of date already.
    StoreStale,
    Refuse(StoreOutcome),
}

impl Shard {
    pub(crate) fn store(
        &mut self,
        key: Key<'_>,
        change: &mut Change<'_>,
        joined_bytes_max: usize,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> Result<StoreOutcome, Full> {
        let outcome = match self.find(key, now, claim) {
            Lookup::Alive(place) => {
                let joined_bytes =
                    self.items.get(place).value().len() + change.value.as_bytes().len();
                if change.verb.joins() && joined_bytes > joined_bytes_max {
                    self.counters.store_too_large += 1;
                    StoreOutcome::NotStored
                } else {
                    self.store_over(place, key, change, now, claim)?
                }
            }
            _ => self.store_new(key, change, now, claim)?,
        };
        // Only now: a command that found no room is tried again.
        self.counters.cmd_set += 1;
        self.counters.cmd_meta += u64::from(change.terms.is_meta);
        if let StoreVerb::Cas(_) = change.verb {
            match outcome {
                StoreOutcome::Stored(_) => self.counters.cas_hits += 1,
                StoreOutcome::NotFound => self.counters.cas_misses += 1,
                _ => {}
            }
        }
        Ok(outcome)
    }

    fn store_over(
        &mut self,
        place: u32,
        key: Key<'_>,
        change: &mut Change<'_>,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> Result<StoreOutcome, Full> {
        let verdict = judge(self.items.get(place), change);
        match verdict {
            Verdict::Refuse(outcome) => {
                if outcome == StoreOutcome::Exists {
                    self.counters.cas_badval += 1;
                } else {
                    // An item that somebody tries to add is in demand.
                    self.items.bump(place);
                }
                return Ok(outcome);
            }
            Verdict::Store | Verdict::StoreStale => {}
        }
        let joins = change.verb.joins();
        let new_bytes = change.value.as_bytes().len();
        let old_bytes = self.items.get(place).value().len();
        let value_bytes = if joins {
            old_bytes + new_bytes
        } else {
            new_bytes
        };
        let place = self.room_for_value(place, key, value_bytes, now, claim)?;
        if joins {
            let (old, added) = (self.items.get(place).value(), change.value.as_bytes());
            let joined = if change.verb == StoreVerb::Append {
                block(&[key.bytes, old, added])
            } else {
                block(&[key.bytes, added, old])
            };
            self.set_block(place, joined, claim);
            let item = self.items.get_mut(place);
            for mark in [Mark::Fetched, Mark::Stale, Mark::TokenSent] {
                item.unmark(mark);
            }
        } else {
            self.set_value(place, &mut change.value, claim);
            self.describe(place, change, verdict);
        }
        Ok(self.stored(place, change, now))
    }

    /// Gives an item whose value was replaced what comes with the new value.
    fn describe(&mut self, place: u32, change: &Change<'_>, verdict: Verdict) {
        let Attributes { flags, expiry } = change.attributes;
        let item = self.items.get_mut(place);
        item.flags = flags;
        item.unmark(Mark::Fetched);
        if verdict == Verdict::StoreStale {
            // Who was to renew it, and until when it lives, stays as it was.
            item.mark(Mark::Stale);
        } else {
            item.expiry = expiry;
            item.unmark(Mark::Stale);
            item.unmark(Mark::TokenSent);
        }
        if change.terms.binary_key {
            item.mark(Mark::BinaryKey);
        } else {
            item.unmark(Mark::BinaryKey);
        }
    }

    fn stored(&mut self, place: u32, change: &Change<'_>, now: Seconds) -> StoreOutcome {
        let unique = change
            .terms
            .new_unique
            .unwrap_or_else(|| self.uniques.next());
        let item = self.items.get_mut(place);
        item.unique = unique;
        item.accessed = now;
        let (expiry, value_bytes) = (item.expiry, item.value().len());
        self.items.bump(place);
        self.note_expiry(expiry);
        self.counters.total_items += 1;
        StoreOutcome::Stored(Receipt {
            unique,
            value_bytes,
        })
    }

    fn store_new(
        &mut self,
        key: Key<'_>,
        change: &mut Change<'_>,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> Result<StoreOutcome, Full> {
        match change.verb {
            StoreVerb::Set | StoreVerb::Add => {}
            StoreVerb::Append | StoreVerb::Prepend if change.terms.creates => {}
            StoreVerb::Cas(_) => return Ok(StoreOutcome::NotFound),
            StoreVerb::Replace | StoreVerb::Append | StoreVerb::Prepend => {
                return Ok(StoreOutcome::NotStored);
            }
        }
        let value_bytes = change.value.as_bytes().len();
        self.room_for_item(key, value_bytes, now, claim)?;
        let unique = change
            .terms
            .new_unique
            .unwrap_or_else(|| self.uniques.next());
        let mut item = Item::new(key, change.value.take_block(key.bytes), now);
        item.unique = unique;
        item.flags = change.attributes.flags;
        item.expiry = change.attributes.expiry;
        if change.terms.binary_key {
            item.mark(Mark::BinaryKey);
        }
        self.insert(item, claim);
        Ok(StoreOutcome::Stored(Receipt {
            unique,
            value_bytes,
        }))
    }

    /// Answers for a change that no memory could be found for.
    pub(crate) fn give_up_storing(
        &mut self,
        key: Key<'_>,
        change: &Change<'_>,
        claim: &mut Claim<'_>,
    ) -> StoreOutcome {
        self.counters.cmd_set += 1;
        self.counters.cmd_meta += u64::from(change.terms.is_meta);
        self.counters.store_no_memory += 1;
        match change.verb {
            StoreVerb::Append | StoreVerb::Prepend if !change.terms.creates => {
                return StoreOutcome::NotStored;
            }
            // A client that could not store the new value must not be given the old one.
            StoreVerb::Set => self.forget(key, claim),
            _ if change.terms.is_meta => self.forget(key, claim),
            _ => {}
        }
        StoreOutcome::OutOfMemory
    }

    /// Counts the number under `key`, then shows the item to `report`.
    pub(crate) fn count(
        &mut self,
        key: Key<'_>,
        count: &Count,
        now: Seconds,
        claim: &mut Claim<'_>,
        report: &mut impl FnMut(&mut Item, u64, bool),
    ) -> Result<Counted, Full> {
        let Lookup::Alive(place) = self.find(key, now, claim) else {
            return self.count_from_nothing(key, count, now, claim, report);
        };
        let item = self.items.get(place);
        if item.value().is_empty() {
            return Ok(Counted::NotANumber);
        }
        // Zero is no unique number, so it asks for none.
        if count
            .compare
            .is_some_and(|unique| unique != 0 && unique != item.unique)
        {
            return Ok(Counted::Exists);
        }
        let Some(number) = value_as_number(item.value()) else {
            return Ok(Counted::NotANumber);
        };
        let number = match count.direction {
            Direction::Up => number.wrapping_add(count.delta),
            Direction::Down => number.saturating_sub(count.delta),
        };
        let decimal = Decimal::new(number);
        let digits = decimal.as_bytes();
        let mut place = place;
        if digits.len() <= item.value().len() {
            // The value keeps its length, and the client sees trailing spaces, as it does with
            // memcached.
            let value = self.items.get_mut(place).value_mut();
            let (front, rest) = value.split_at_mut(digits.len());
            front.copy_from_slice(digits);
            rest.fill(b' ');
        } else {
            place = self.room_for_value(place, key, digits.len(), now, claim)?;
            self.set_block(place, block(&[key.bytes, digits]), claim);
        }
        let unique = count.new_unique.unwrap_or_else(|| self.uniques.next());
        match count.direction {
            Direction::Up => self.counters.incr_hits += 1,
            Direction::Down => self.counters.decr_hits += 1,
        }
        self.report_count(place, unique, number, false, now, report);
        Ok(Counted::Done)
    }

    fn count_from_nothing(
        &mut self,
        key: Key<'_>,
        count: &Count,
        now: Seconds,
        claim: &mut Claim<'_>,
        report: &mut impl FnMut(&mut Item, u64, bool),
    ) -> Result<Counted, Full> {
        let Some(initial) = count.creates else {
            match count.direction {
                Direction::Up => self.counters.incr_misses += 1,
                Direction::Down => self.counters.decr_misses += 1,
            }
            return Ok(Counted::NotFound);
        };
        let decimal = Decimal::new(initial);
        let place = self.create(key, decimal.as_bytes(), count.binary_key, now, claim)?;
        let unique = count.new_unique.unwrap_or_else(|| self.uniques.next());
        self.report_count(place, unique, initial, true, now, report);
        Ok(Counted::Done)
    }

    fn report_count(
        &mut self,
        place: u32,
        unique: u64,
        number: u64,
        is_new: bool,
        now: Seconds,
        report: &mut impl FnMut(&mut Item, u64, bool),
    ) {
        let item = self.items.get_mut(place);
        item.unique = unique;
        item.accessed = now;
        report(item, number, is_new);
        let expiry = item.expiry;
        self.note_expiry(expiry);
        self.items.bump(place);
    }

    /// Adds an item with this value that does not expire, whose key is not there.
    pub(super) fn create(
        &mut self,
        key: Key<'_>,
        value: &[u8],
        binary_key: bool,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> Result<u32, Full> {
        self.room_for_item(key, value.len(), now, claim)?;
        let mut item = Item::new(key, block(&[key.bytes, value]), now);
        if binary_key {
            item.mark(Mark::BinaryKey);
        }
        Ok(self.insert(item, claim))
    }

    /// Replaces the value of an item; the claim covers the difference.
    fn set_value(&mut self, place: u32, value: &mut Value<'_>, claim: &mut Claim<'_>) {
        let item = self.items.get_mut(place);
        match value {
            Value::Borrowed(bytes) if bytes.len() == item.value().len() => {
                item.value_mut().copy_from_slice(bytes);
            }
            value => {
                let block = value.take_block(item.key());
                self.set_block(place, block, claim);
            }
        }
    }

    pub(super) fn set_block(&mut self, place: u32, block: Box<[u8]>, claim: &mut Claim<'_>) {
        let item = self.items.get_mut(place);
        self.payload -= item.payload();
        claim.gain(item.cost());
        item.set_block(block);
        self.payload += item.payload();
        claim.spend(item.cost());
    }

    /// Covers a new item with all that it may bring about.
    fn room_for_item(
        &mut self,
        key: Key<'_>,
        value_bytes: usize,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> Result<(), Full> {
        let block = allocated(key.bytes.len() + value_bytes);
        self.make_room(block + self.items.growth_bytes(), now, claim);
        // What has left may have changed what is needed.
        let bytes = block + self.items.growth_bytes();
        if claim.cover(bytes) {
            Ok(())
        } else {
            Err(Full { bytes })
        }
    }

    /// Covers what a value of another length costs more, and returns where the item is then:
    /// what is thrown out for it may move it, but is never the item itself.
    fn room_for_value(
        &mut self,
        place: u32,
        key: Key<'_>,
        value_bytes: usize,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> Result<u32, Full> {
        let new = allocated(key.bytes.len() + value_bytes);
        let bytes = new.saturating_sub(self.items.get(place).cost());
        if bytes == 0 {
            return Ok(place);
        }
        self.items.bump(place);
        if self.make_room(bytes, now, claim) {
            Ok(self
                .items
                .find(key)
                .expect("what was used last is not thrown out"))
        } else {
            Err(Full { bytes })
        }
    }
}

/// Holds a storage command against the item that is there.
fn judge(item: &Item, change: &Change<'_>) -> Verdict {
    match change.verb {
        StoreVerb::Add => Verdict::Refuse(StoreOutcome::NotStored),
        StoreVerb::Cas(expected) if expected == item.unique && expected != 0 => Verdict::Store,
        StoreVerb::Cas(expected) => {
            if change.terms.may_be_stale && expected != 0 && expected < item.unique {
                Verdict::StoreStale
            } else {
                Verdict::Refuse(StoreOutcome::Exists)
            }
        }
        StoreVerb::Append | StoreVerb::Prepend => match change.terms.compare {
            Some(expected) if expected != 0 && expected != item.unique => {
                Verdict::Refuse(StoreOutcome::Exists)
            }
            _ => Verdict::Store,
        },
        StoreVerb::Set | StoreVerb::Replace => Verdict::Store,
    }
}

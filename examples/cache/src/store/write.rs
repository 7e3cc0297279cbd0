//! What changes values in a shard while it is locked.

use super::item::{Item, Key, Value};
use super::memory::Memory;
use super::shard::{Lookup, Shard};
use super::{Attributes, Counted, StoreOutcome};
use crate::protocol::{Decimal, Direction, StoreVerb, value_as_number};
use crate::time::Seconds;

/// The memory limit leaves no room for this change. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A storage command. Its value is taken only when it is stored.
#[derive(Debug)]
pub(crate) struct Change<'a, 'v> {
    pub(crate) verb: StoreVerb,
    pub(crate) attributes: Attributes,
    pub(crate) value: &'a mut Value<'v>,
    /// How long a value may become by `append` and `prepend`.
    pub(crate) joined_bytes_max: usize,
}

impl Shard {
    pub(crate) fn store(
        &mut self,
        key: Key<'_>,
        change: &mut Change<'_, '_>,
        now: Seconds,
        memory: &Memory,
    ) -> Result<StoreOutcome, Full> {
        let stored = self.try_store(key, change, now, memory)?;
        // Only now: a command that found no room is tried again.
        self.counters.cmd_set += 1;
        Ok(stored)
    }

    fn try_store(
        &mut self,
        key: Key<'_>,
        change: &mut Change<'_, '_>,
        now: Seconds,
        memory: &Memory,
    ) -> Result<StoreOutcome, Full> {
        self.run_due_flush(now);
        let Lookup::Alive(item) = self.table.find(key, now, memory) else {
            return self.store_new(key, change, memory);
        };
        match change.verb {
            StoreVerb::Add => return Ok(StoreOutcome::NotStored),
            StoreVerb::Cas(expected) if expected != item.unique => {
                self.counters.cas_badval += 1;
                return Ok(StoreOutcome::Exists);
            }
            StoreVerb::Append | StoreVerb::Prepend => {
                let joined_bytes = item.value.len() + change.value.as_bytes().len();
                if joined_bytes > change.joined_bytes_max {
                    self.counters.store_too_large += 1;
                    return Ok(StoreOutcome::NotStored);
                }
                resize(item, joined_bytes, memory)?;
                let (old, added) = (&*item.value, change.value.as_bytes());
                let at_the_end = change.verb == StoreVerb::Append;
                let parts = if at_the_end {
                    [old, added]
                } else {
                    [added, old]
                };
                item.value = parts.concat().into();
            }
            StoreVerb::Set | StoreVerb::Replace | StoreVerb::Cas(_) => {
                resize(item, change.value.as_bytes().len(), memory)?;
                take(change.value).move_into(&mut item.value);
                item.flags = change.attributes.flags;
                item.expiry = change.attributes.expiry;
            }
        }
        item.unique = self.uniques.next();
        let expiry = item.expiry;
        self.note_expiry(expiry);
        self.counters.total_items += 1;
        self.counters.cas_hits += u64::from(matches!(change.verb, StoreVerb::Cas(_)));
        Ok(StoreOutcome::Stored)
    }

    fn store_new(
        &mut self,
        key: Key<'_>,
        change: &mut Change<'_, '_>,
        memory: &Memory,
    ) -> Result<StoreOutcome, Full> {
        Ok(match change.verb {
            StoreVerb::Set | StoreVerb::Add => {
                let cost = Item::cost_of(key.bytes.len(), change.value.as_bytes().len());
                if !memory.resize(0, cost) {
                    return Err(Full);
                }
                let Attributes { flags, expiry } = change.attributes;
                let unique = self.uniques.next();
                let mut value = Box::default();
                take(change.value).move_into(&mut value);
                self.table.insert(
                    key.hash,
                    Item {
                        key: key.bytes.into(),
                        value,
                        flags,
                        unique,
                        expiry,
                    },
                );
                self.note_expiry(expiry);
                self.counters.total_items += 1;
                StoreOutcome::Stored
            }
            StoreVerb::Cas(_) => {
                self.counters.cas_misses += 1;
                StoreOutcome::NotFound
            }
            StoreVerb::Replace | StoreVerb::Append | StoreVerb::Prepend => StoreOutcome::NotStored,
        })
    }

    /// Answers for a change that no memory could be found for.
    pub(crate) fn give_up_storing(
        &mut self,
        verb: StoreVerb,
        key: Key<'_>,
        memory: &Memory,
    ) -> StoreOutcome {
        self.counters.cmd_set += 1;
        self.counters.store_no_memory += 1;
        match verb {
            StoreVerb::Append | StoreVerb::Prepend => return StoreOutcome::NotStored,
            StoreVerb::Set => self.remove(key, memory),
            StoreVerb::Add | StoreVerb::Replace | StoreVerb::Cas(_) => {}
        }
        StoreOutcome::OutOfMemory
    }

    pub(crate) fn count(
        &mut self,
        direction: Direction,
        key: Key<'_>,
        delta: u64,
        now: Seconds,
        memory: &Memory,
    ) -> Result<Counted, Full> {
        self.run_due_flush(now);
        let Lookup::Alive(item) = self.table.find(key, now, memory) else {
            match direction {
                Direction::Up => self.counters.incr_misses += 1,
                Direction::Down => self.counters.decr_misses += 1,
            }
            return Ok(Counted::NotFound);
        };
        let Some(number) = value_as_number(&item.value) else {
            return Ok(Counted::NotANumber);
        };
        let number = match direction {
            Direction::Up => number.wrapping_add(delta),
            Direction::Down => number.saturating_sub(delta),
        };
        let decimal = Decimal::new(number);
        let digits = decimal.as_bytes();
        if digits.len() <= item.value.len() {
            // The value keeps its length, and the client sees trailing spaces, as it does with
            // memcached.
            let (front, rest) = item.value.split_at_mut(digits.len());
            front.copy_from_slice(digits);
            rest.fill(b' ');
        } else {
            resize(item, digits.len(), memory)?;
            item.value = digits.into();
        }
        item.unique = self.uniques.next();
        match direction {
            Direction::Up => self.counters.incr_hits += 1,
            Direction::Down => self.counters.decr_hits += 1,
        }
        Ok(Counted::Now(number))
    }
}

/// Claims the memory for a value of another length; the caller sets the value.
fn resize(item: &Item, value_bytes: usize, memory: &Memory) -> Result<(), Full> {
    let new = Item::cost_of(item.key.len(), value_bytes);
    if memory.resize(item.cost(), new) {
        Ok(())
    } else {
        Err(Full)
    }
}

/// Takes the value out, leaving an empty one.
fn take<'a>(value: &mut Value<'a>) -> Value<'a> {
    core::mem::replace(value, Value::Borrowed(&[]))
}

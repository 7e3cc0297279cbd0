//! What only the meta commands do to a shard while it is locked: look at an item and change what
//! belongs to it, and take a value away without its item.

use super::Found;
use super::item::{Item, Key, Mark, block};
use super::memory::Claim;
use super::shard::{Access, Lookup, Shard};
use super::write::Full;
use crate::time::{Expiry, Seconds};

/// What `md` does to an item.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Removal {
    /// Only if this is the unique number.
    pub(crate) compare: Option<u64>,
    pub(crate) new_unique: Option<u64>,
    /// Keep the item, but say that it is out of date.
    pub(crate) stale: bool,
    /// Keep the item, but without value, flags and end of life.
    pub(crate) empty: bool,
    pub(crate) flags: u32,
    pub(crate) expiry: Option<Expiry>,
}

/// What came of `md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    Yes,
    NotFound,
    Exists,
}

impl Shard {
    pub(crate) fn remove_or_mark(
        &mut self,
        key: Key<'_>,
        removal: &Removal,
        now: Seconds,
        claim: &mut Claim<'_>,
    ) -> Removed {
        let Lookup::Alive(place) = self.find(key, now, claim) else {
            self.counters.delete_misses += 1;
            return Removed::NotFound;
        };
        let item = self.items.get_mut(place);
        if removal.compare.is_some_and(|unique| unique != item.unique) {
            self.counters.delete_misses += 1;
            return Removed::Exists;
        }
        if removal.empty {
            let empty = block(&[key.bytes]);
            self.set_block(place, empty, claim);
            let item = self.items.get_mut(place);
            item.flags = removal.flags;
            item.expiry = removal.expiry.unwrap_or(Expiry::NEVER);
            item.unmark(Mark::Stale);
            item.unmark(Mark::TokenSent);
            item.unmark(Mark::Fetched);
            item.unique = removal.new_unique.unwrap_or(item.unique);
        }
        if removal.stale {
            let unique = removal.new_unique.unwrap_or_else(|| self.uniques.next());
            let item = self.items.get_mut(place);
            item.expiry = removal.expiry.unwrap_or(item.expiry);
            item.mark(Mark::Stale);
            // The next client to ask is told to renew it.
            item.unmark(Mark::TokenSent);
            item.unique = unique;
        } else {
            self.counters.delete_hits += 1;
        }
        if removal.stale || removal.empty {
            let expiry = self.items.get(place).expiry;
            self.note_expiry(expiry);
        } else {
            self.remove(place, claim);
        }
        Removed::Yes
    }
}

/// How `mg` looks at an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) access: Access,
    /// Leave no trace of it: neither in the order of use nor in what clients are told.
    pub(crate) unseen: bool,
    /// Make an empty item where there is none.
    pub(crate) creates: bool,
    pub(crate) new_unique: Option<u64>,
    pub(crate) binary_key: bool,
}

impl Shard {
    /// Shows the item of `key` to `report`, which may change it, and says whether it is new.
    pub(crate) fn look(
        &mut self,
        key: Key<'_>,
        look: &Look,
        now: Seconds,
        claim: &mut Claim<'_>,
        report: &mut impl FnMut(&mut Item, bool),
    ) -> Result<Found, Full> {
        let lookup = self.find(key, now, claim);
        let (place, is_new) = match lookup {
            Lookup::Alive(place) => (place, false),
            _ if look.creates => {
                let place = self.create(key, &[], look.binary_key, now, claim)?;
                let unique = look.new_unique.unwrap_or_else(|| self.uniques.next());
                self.items.get_mut(place).unique = unique;
                (place, true)
            }
            _ => {
                self.count_access(look.access, &lookup);
                return Ok(Found::No);
            }
        };
        self.count_access(look.access, &Lookup::Alive(place));
        let item = self.items.get_mut(place);
        report(item, is_new);
        let expiry = item.expiry;
        self.note_expiry(expiry);
        if !look.unseen {
            self.use_item(place, now);
        }
        Ok(Found::Yes)
    }
}

//! Slots with keys that go stale: threads, ports, requests and sockets refer to one another by
//! key, so that an event about something that is gone finds nothing instead of a stranger.

use core::{fmt, marker::PhantomData};

/// Names one incarnation of a slot of an [`Arena<T>`].
pub(crate) struct Key<T> {
    index: u32,
    stamp: u32,
    kind: PhantomData<fn() -> T>,
}

/// A growing set of values under keys; numbers are reused, keys are not.
pub(crate) struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    stamp: u32,
    value: Option<T>,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.slots.len()).expect("a world has fewer than 2^32 slots");
            self.slots.push(Slot {
                stamp: 0,
                value: None,
            });
            index
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        Key {
            index,
            stamp: slot.stamp,
            kind: PhantomData,
        }
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.stamp != key.stamp {
            return None;
        }
        let value = slot.value.take()?;
        slot.stamp = slot.stamp.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.stamp == key.stamp {
            slot.value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.stamp == key.stamp {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// Every key and value, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| {
            let key = Key {
                index,
                stamp: slot.stamp,
                kind: PhantomData,
            };
            slot.value.as_ref().map(|value| (key, value))
        })
    }

    /// The keys of the values that satisfy `wanted`, by number.
    pub(crate) fn keys_where(&self, wanted: impl Fn(&T) -> bool) -> Vec<Key<T>> {
        self.iter()
            .filter(|(_, value)| wanted(value))
            .map(|(key, _)| key)
            .collect()
    }
}

impl<T> Key<T> {
    /// The slot's number, for tables beside the arena.
    pub(crate) const fn index(self) -> usize {
        self.index as usize
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.stamp) == (other.index, other.stamp)
    }
}

impl<T> Eq for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_does_not_answer_to_its_old_key() {
        let mut arena = Arena::new();
        let old = arena.insert('a');
        assert_eq!(arena.remove(old), Some('a'));
        let new = arena.insert('b');
        assert_eq!(old.index(), new.index());
        assert_eq!(arena.get(old), None);
        assert_eq!(arena.remove(old), None);
        assert_eq!(arena.get(new), Some(&'b'));
    }
}

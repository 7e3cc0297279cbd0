//! Values by key: what a fiber or a worker keeps for itself.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

/// A key's number: drawn at its first use, by whichever thread is first, and never used again.
///
/// It makes a key that is no `static` different from every other one, too.
#[derive(Debug)]
pub(super) struct Key(AtomicU32);

impl Key {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(super) fn number(&self) -> u32 {
        match self.0.load(Ordering::Relaxed) {
            0 => self.draw(),
            number => number,
        }
    }

    #[cold]
    fn draw(&self) -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let drawn = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(drawn != 0, "the program has made four billion local keys");
        // A number and nothing behind it: there is nothing to be ordered with.
        match self
            .0
            .compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => drawn,
            Err(number) => number,
        }
    }
}

/// Shared values by key. Searched from the front: a program has a handful of keys.
#[derive(Clone, Debug)]
pub(crate) struct Table<P>(Vec<(u32, P)>);

impl<P> Default for Table<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> Table<P> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }
}

impl<P: Clone> Table<P> {
    pub(super) fn get(&self, key: &Key) -> Option<P> {
        let number = key.number();
        let (_, value) = self.0.iter().find(|(known, _)| *known == number)?;
        Some(value.clone())
    }

    /// Gives back what was there, to be dropped where that may run the user's code.
    pub(super) fn set(&mut self, key: &Key, value: P) -> Option<P> {
        let number = key.number();
        match self.0.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => Some(core::mem::replace(known, value)),
            None => {
                self.0.push((number, value));
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<P> {
        let number = key.number();
        let index = self.0.iter().position(|(known, _)| *known == number)?;
        Some(self.0.remove(index).1)
    }

    /// All values, the newest key first.
    pub(crate) fn into_values(self) -> impl Iterator<Item = P> {
        self.0.into_iter().rev().map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

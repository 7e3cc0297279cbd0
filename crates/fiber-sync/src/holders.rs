//! Who holds what more than one can hold.
//!
//! A table of a few places, in the primitive itself. The primitive's own lock deals them out; the
//! holder writes itself into its place without that lock, once it has got what it wanted, and wipes
//! the place before it gives it back. Holders beyond the table are not known: they hold all the
//! same, and no report names them.

use core::panic::Location;

use fiber_core::operation::{Holder, HolderCell};

const PLACES: usize = 8;

/// The places, and who is in them.
#[derive(Debug)]
pub(crate) struct Holders([HolderCell; PLACES]);

impl Holders {
    pub(crate) const fn new() -> Self {
        Self([const { HolderCell::new() }; PLACES])
    }

    /// The caller, which has got `place`, holds it from now on.
    #[inline]
    pub(crate) fn set(&self, place: Place, since: &'static Location<'static>) {
        if let Some(cell) = self.0.get(usize::from(place.0)) {
            cell.set(since);
        }
    }

    /// This one, which is about to be given `place`, holds it from now on.
    #[inline]
    pub(crate) fn set_to(&self, place: Place, holder: Holder) {
        if let Some(cell) = self.0.get(usize::from(place.0)) {
            cell.set_to(holder);
        }
    }

    /// Who is in `place`.
    pub(crate) fn get(&self, place: Place) -> Option<Holder> {
        self.0.get(usize::from(place.0)).and_then(HolderCell::get)
    }

    /// To be said before `place` is given back.
    #[inline]
    pub(crate) fn clear(&self, place: Place) {
        if let Some(cell) = self.0.get(usize::from(place.0)) {
            cell.clear();
        }
    }

    pub(crate) fn each(&self, tell: &mut dyn FnMut(Holder)) {
        self.0.iter().filter_map(HolderCell::get).for_each(tell);
    }
}

/// One holder's place; the last number stands for those that have got none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u8);

impl Place {
    pub(crate) const NONE: Self = Self(u8::MAX);
}

/// Which places are taken. Lives under the lock of the primitive.
#[derive(Debug, Default)]
pub(crate) struct Places(u8);

impl Places {
    pub(crate) const fn new() -> Self {
        Self(0)
    }

    #[inline]
    pub(crate) const fn take(&mut self) -> Place {
        let free = !self.0;
        if free == 0 {
            return Place::NONE;
        }
        let bit = free & free.wrapping_neg();
        self.0 |= bit;
        #[expect(clippy::cast_possible_truncation, reason = "below 8")]
        let number = bit.trailing_zeros() as u8;
        Place(number)
    }

    #[inline]
    pub(crate) fn give_back(&mut self, place: Place) {
        if usize::from(place.0) < PLACES {
            self.0 &= !(1 << place.0);
        }
    }
}

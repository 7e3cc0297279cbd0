//! The last messages of a broadcast.
//!
//! ```text
//!            next - capacity            next
//!   gone …  │ m5 │ m6 │ m7 │ m8 │      (m9 overwrites m5)
//!              ▲         ▲        ▲
//!           lags by 0    │     has everything
//!                   a receiver's cursor
//! ```
//!
//! Messages lie in counted boxes, so that a receiver copies one (which is the user's code) without
//! holding a lock, while the sender goes on. A place whose message nobody is just copying is used
//! again; so sending takes memory only when it overtakes a receiver in the middle of a copy.

use alloc::{boxed::Box, sync::Arc};
use core::mem;

/// A place: empty until the ring has gone around once.
pub(super) type Place<T> = Arc<Option<T>>;

pub(super) struct Ring<T> {
    places: Box<[Place<T>]>,
    /// The number that the next message gets; the first one is 0.
    next: u64,
    pub(super) closed: bool,
}

/// What putting a message into the ring came to. What is left in the arguments is dropped by the
/// caller without a lock: it is the user's.
pub(super) enum Put {
    Done,
    Closed,
    /// The place is being read: bring another one.
    Occupied,
}

impl<T> Ring<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            places: (0..capacity).map(|_| Arc::new(None)).collect(),
            next: 0,
            closed: false,
        }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.places.len()
    }

    /// The number of the next message.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    fn index(&self, number: u64) -> usize {
        let index = number % self.places.len() as u64;
        usize::try_from(index).expect("it is below the length")
    }

    /// Puts `message` into the ring, in the place of the oldest one, which is in `message` then; or
    /// in a `spare` place, and the old one is in `spare` then.
    pub(super) fn put(&mut self, message: &mut Option<T>, spare: &mut Option<Place<T>>) -> Put {
        if self.closed {
            return Put::Closed;
        }
        let index = self.index(self.next);
        let place = &mut self.places[index];
        if let Some(spare) = spare {
            mem::swap(place, spare);
        } else if let Some(place) = Arc::get_mut(place) {
            mem::swap(place, message);
        } else {
            return Put::Occupied;
        }
        self.next += 1;
        Put::Done
    }

    /// The message at `cursor`, which moves on, or by how many it had to; `None` at the end.
    pub(super) fn take(&self, cursor: &mut u64) -> Option<Result<Place<T>, u64>> {
        let oldest = self.next.saturating_sub(self.places.len() as u64);
        if *cursor < oldest {
            let missed = oldest - *cursor;
            *cursor = oldest;
            return Some(Err(missed));
        }
        if *cursor == self.next {
            return None;
        }
        let place = Arc::clone(&self.places[self.index(*cursor)]);
        *cursor += 1;
        Some(Ok(place))
    }
}

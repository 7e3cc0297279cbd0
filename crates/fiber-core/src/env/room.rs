//! Room in a host's helper pool: so many jobs at once, and those above wait in order.
//!
//! A pool refuses what is above its bound, and a fiber must neither be refused by surprise nor ask
//! again and again. So the pool says how much it has room for, and whoever has a place may hand in
//! one job. First come, first served, across all runtimes that share the host.

use core::{fmt, pin::Pin, ptr};

use crate::{
    operation::{Match, Operation, Published, WaitCell, WaitList, WaitNode},
    spin::SpinLock,
};

/// A number of places, one for each job that a pool has not ended (I-10).
pub struct Room {
    state: SpinLock<State>,
}

struct State {
    free: usize,
    waiting: WaitList,
}

impl Room {
    /// Room for so many jobs.
    ///
    /// # Panics
    /// When that is none: everybody would wait for ever.
    pub fn new(places: usize) -> Self {
        assert!(places > 0, "a helper pool has room for one job at least");
        Self {
            state: SpinLock::new(State {
                free: places,
                waiting: WaitList::new(),
            }),
        }
    }

    /// The operation that takes a place, once those who came before have theirs.
    pub const fn place_operation(&self) -> PlaceOperation<'_> {
        PlaceOperation {
            room: self,
            node: WaitNode::new(),
        }
    }

    /// How many places are free right now.
    pub fn free(&self) -> usize {
        self.state.lock().free
    }
}

impl State {
    fn take(&mut self) -> bool {
        let can = self.free > 0 && self.waiting.is_empty();
        self.free -= usize::from(can);
        can
    }

    fn serve(&mut self) {
        while self.free > 0
            && let Match::Partner(waiter) = self.waiting.find(None)
        {
            self.free -= 1;
            waiter.commit(0);
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("free", &self.free())
            .finish_non_exhaustive()
    }
}

/// A place in a [`Room`]; given back when it is dropped.
#[derive(Debug)]
#[must_use = "the place goes back as soon as it is dropped"]
pub struct Place<'room>(&'room Room);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.free += 1;
        state.serve();
    }
}

/// Takes a place in a [`Room`].
#[derive(Debug)]
pub struct PlaceOperation<'room> {
    room: &'room Room,
    node: WaitNode,
}

// SAFETY: it looks at the places again under the lock under which it links (I-2), those who serve
// it unlink it, and `retract` unlinks it otherwise (I-12).
unsafe impl<'room> Operation for PlaceOperation<'room> {
    type Output = Place<'room>;

    fn name(&self) -> &'static str {
        "room in the helper pool"
    }

    fn try_now(&mut self) -> Option<u16> {
        self.room.state.lock().take().then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let mut state = this.room.state.lock();
        let Some(own) = cell.claim_own() else {
            return Published::Waiting;
        };
        if state.take() {
            own.settle(base);
            return Published::Committed(0);
        }
        drop(own);
        // SAFETY: under the lock; node and cell stay until `retract`, by the caller's promise
        // (I-12).
        unsafe { state.waiting.push(node, cell, base, ptr::null_mut()) };
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            let mut state = self.room.state.lock();
            state.waiting.remove(&self.node);
            // Between giving up and here it has kept those behind it from a place that was free.
            state.serve();
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        Place(self.room)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::sync::Arc;
    use core::pin::pin;

    use super::*;
    use crate::{
        env::Unpark,
        operation::{Waiter, try_perform},
    };

    struct Nobody;

    impl Unpark for Nobody {
        fn unpark(&self) {}
    }

    fn cell() -> WaitCell {
        WaitCell::new(Waiter::thread(Arc::new(Nobody)))
    }

    #[test]
    fn one_that_gives_up_lets_those_behind_it_have_the_place_that_it_did_not_take() {
        // Given one who waits, and has given up but not left its place in the list yet,
        let room = Room::new(1);
        let held = try_perform(room.place_operation()).expect("there is one");
        let (gives_up, behind) = (cell(), cell());
        let mut first = pin!(room.place_operation());
        // SAFETY: node and cell stay in this frame, and are retracted below (I-12).
        let published = unsafe { first.as_mut().publish(&gives_up, 0) };
        assert!(matches!(published, Published::Waiting));
        assert!(gives_up.withdraw());
        // when the place becomes free, and another one comes for it meanwhile,
        drop(held);
        let mut second = room.place_operation();
        assert!(second.try_now().is_none());
        let mut second = pin!(second);
        // SAFETY: as above (I-12).
        let published = unsafe { second.as_mut().publish(&behind, 0) };
        assert!(matches!(published, Published::Waiting));
        first.retract(None);
        // then it is served.
        assert!(!behind.withdraw(), "a place is free, and it waits");
        second.as_mut().retract(Some(0));
        // SAFETY: it was settled on this arm (I-12).
        drop(unsafe { second.finish(0) });
        assert_eq!(room.free(), 1);
    }

    #[test]
    fn a_full_room_has_a_place_again_once_somebody_leaves() {
        let room = Room::new(2);
        let first = try_perform(room.place_operation()).expect("there are two places");
        let second = try_perform(room.place_operation()).expect("there are two places");
        assert!(try_perform(room.place_operation()).is_err());
        drop(first);
        assert_eq!(room.free(), 1);
        drop(second);
        assert_eq!(room.free(), 2);
    }
}

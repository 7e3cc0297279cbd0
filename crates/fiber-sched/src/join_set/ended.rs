//! Which members have ended, in that order, and who waits for the next.

use alloc::{collections::VecDeque, sync::Arc};
use core::{cell::Cell, pin::Pin};

use fiber_core::{
    fiber::ExitWatcher,
    operation::{Match, Published, WaitCell, WaitList, WaitNode},
    spin::SpinLock,
};

#[derive(Debug)]
pub(super) struct Ended(SpinLock<State>);

#[derive(Debug)]
struct State {
    /// Room for all members was made when they were spawned.
    keys: VecDeque<usize>,
    /// One at the most, as waiting takes the set by `&mut`.
    waiting: WaitList,
}

impl Ended {
    pub(super) fn new() -> Self {
        Self(SpinLock::new(State {
            keys: VecDeque::new(),
            waiting: WaitList::new(),
        }))
    }

    /// Makes room for so many members.
    pub(super) fn reserve(&self, members: usize) {
        let mut state = self.0.lock();
        let missing = members.saturating_sub(state.keys.len());
        state.keys.reserve(missing);
    }

    /// A member is none any more.
    pub(super) fn withdraw(&self, key: usize) {
        self.0.lock().keys.retain(|other| *other != key);
    }

    pub(super) fn take(&self) -> Option<usize> {
        self.0.lock().keys.pop_front()
    }

    /// A member has ended.
    fn enter(&self, key: usize) {
        let mut state = self.0.lock();
        if let Match::Partner(partner) = state.waiting.find(None) {
            let place = partner.value().cast::<Cell<Option<usize>>>();
            // SAFETY: `publish` has left the place, which stays until `retract`, and the performer
            // does not look before it is settled (I-12).
            let place = unsafe { &*place };
            place.set(Some(key));
            partner.commit(0);
            return;
        }
        state.keys.push_back(key);
    }

    /// Waits for the next key to come to `place`.
    ///
    /// # Safety
    /// `place`, `node` and `cell` stay until `retract`.
    pub(super) unsafe fn publish(
        &self,
        place: &Cell<Option<usize>>,
        node: Pin<&WaitNode>,
        cell: &WaitCell,
        base: u16,
    ) -> Published {
        let mut state = self.0.lock();
        if state.keys.is_empty() {
            let place = core::ptr::from_ref(place).cast_mut().cast();
            // SAFETY: under the lock, and by the caller's promise (I-12).
            unsafe { state.waiting.push(node, cell, base, place) };
            return Published::Waiting;
        }
        let published = Published::own(cell, base);
        if let Published::Committed(_) = published {
            place.set(state.keys.pop_front());
        }
        published
    }

    /// Takes the lock also for a winner: whoever has committed it may still be inside.
    pub(super) fn retract(&self, node: &WaitNode) {
        self.0.lock().waiting.remove(node);
    }
}

/// Enters one member's key when it ends.
#[derive(Debug)]
pub(super) struct Watch {
    ended: Arc<Ended>,
    key: usize,
}

impl Watch {
    pub(super) fn new(ended: &Arc<Ended>, key: usize) -> Arc<Self> {
        Arc::new(Self {
            ended: Arc::clone(ended),
            key,
        })
    }
}

impl ExitWatcher for Watch {
    fn ended(&self) {
        self.ended.enter(self.key);
    }
}

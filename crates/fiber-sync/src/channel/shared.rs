//! What senders and receivers share: a buffer and two lists under one lock.
//!
//! | while | then |
//! |---|---|
//! | a receiver waits | the buffer is empty, and no sender waits |
//! | a sender waits | the buffer is full, and no receiver waits |
//!
//! So a value goes straight to the receiver that waits longest, and the place that a receiver makes
//! in the buffer is taken at once by the sender that waits longest: values arrive in the order in
//! which they were sent, and both sides are served in the order in which they came.

use alloc::collections::VecDeque;
use core::{mem, pin::Pin};

use fiber_core::{
    operation::{Match, Published, WaitCell, WaitList, WaitNode},
    spin::SpinLock,
};

use crate::primitive::AtomicUsize;

/// Where a value lies while its owner waits: the sender's until it is taken, the receiver's once it
/// is filled. In the operation, in the performer's frame.
pub(super) type Slot<T> = Option<T>;

pub(super) struct Shared<T> {
    pub(super) state: SpinLock<State<T>>,
    pub(super) senders: AtomicUsize,
    pub(super) receivers: AtomicUsize,
    pub(super) capacity: usize,
}

pub(super) struct State<T> {
    /// Never longer than `capacity`, which it was made with.
    pub(super) buffer: VecDeque<T>,
    /// The value of a node is the sender's full slot.
    sending: WaitList,
    /// The value of a node is the receiver's empty slot.
    receiving: WaitList,
    no_senders: bool,
    no_receivers: bool,
}

impl<T> Shared<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: SpinLock::new(State {
                buffer: VecDeque::with_capacity(capacity),
                sending: WaitList::new(),
                receiving: WaitList::new(),
                no_senders: false,
                no_receivers: false,
            }),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
            capacity,
        }
    }

    /// The last sender is gone: those who wait for values get none.
    pub(super) fn close_senders(&self) {
        let mut state = self.state.lock();
        state.no_senders = true;
        while let Match::Partner(receiver) = state.receiving.find(None) {
            receiver.commit(0);
        }
    }

    /// The last receiver is gone: senders keep what they have, and what lies in the buffer is
    /// dropped.
    pub(super) fn close_receivers(&self) {
        let mut state = self.state.lock();
        state.no_receivers = true;
        while let Match::Partner(sender) = state.sending.find(None) {
            sender.commit(0);
        }
        let unreceived = mem::take(&mut state.buffer);
        // Drops the user's values without the lock: they may use the channel.
        drop(state);
        drop(unreceived);
    }

    /// Sends what is in `slot`; true if that is settled: the slot is empty, or there are no
    /// receivers.
    pub(super) fn try_send(&self, slot: &mut Slot<T>) -> bool {
        let mut state = self.state.lock();
        if state.no_receivers {
            return true;
        }
        if let Match::Partner(receiver) = state.receiving.find(None) {
            // SAFETY: it waits in `receiving`, and nobody else reaches its slot while it is taken
            // (I-12).
            unsafe { fill(receiver.value(), slot) };
            receiver.commit(0);
            return true;
        }
        state.put(slot, self.capacity)
    }

    /// Sends what is in the performer's slot, or links the performer.
    ///
    /// # Safety
    /// `slot` points to a full slot; it, `node` and `cell` stay in place until
    /// [`Shared::retract_send`], and nobody but partners touches the slot meanwhile (I-12).
    pub(super) unsafe fn publish_send(
        &self,
        node: Pin<&WaitNode>,
        slot: *mut Slot<T>,
        cell: &WaitCell,
        base: u16,
    ) -> Published {
        let mut state = self.state.lock();
        if state.no_receivers {
            return Published::own(cell, base);
        }
        match state.receiving.find(Some(cell)) {
            Match::Partner(receiver) => {
                // SAFETY: ours until we are linked, by the caller's promise (I-12).
                let slot = unsafe { &mut *slot };
                // SAFETY: as in `try_send` (I-12).
                unsafe { fill(receiver.value(), slot) };
                receiver.commit(base);
                return Published::Committed(0);
            }
            Match::OwnTaken => return Published::Waiting,
            Match::Nobody => {}
        }
        if state.buffer.len() < self.capacity {
            let Some(own) = cell.claim_own() else {
                return Published::Waiting;
            };
            // SAFETY: ours until we are linked, by the caller's promise (I-12).
            state.put(unsafe { &mut *slot }, self.capacity);
            own.settle(base);
            return Published::Committed(0);
        }
        // SAFETY: under the lock; the rest is the caller's promise (I-12).
        unsafe { state.sending.push(node, cell, base, slot.cast()) };
        Published::Waiting
    }

    /// Receives into `slot`; true if that is settled: the slot is full, or there are no senders.
    pub(super) fn try_recv(&self, slot: &mut Slot<T>) -> bool {
        let mut state = self.state.lock();
        *slot = state.buffer.pop_front();
        if slot.is_some() {
            state.refill();
            return true;
        }
        if let Match::Partner(sender) = state.sending.find(None) {
            // SAFETY: it waits in `sending`, and nobody else reaches its slot while it is taken
            // (I-12).
            *slot = unsafe { empty(sender.value()) };
            sender.commit(0);
            return true;
        }
        state.no_senders
    }

    /// Receives into the performer's slot, or links the performer.
    ///
    /// # Safety
    /// `slot` points to an empty slot; it, `node` and `cell` stay in place until
    /// [`Shared::retract_recv`], and nobody but partners touches the slot meanwhile (I-12).
    pub(super) unsafe fn publish_recv(
        &self,
        node: Pin<&WaitNode>,
        slot: *mut Slot<T>,
        cell: &WaitCell,
        base: u16,
    ) -> Published {
        let mut state = self.state.lock();
        if !state.buffer.is_empty() {
            let Some(own) = cell.claim_own() else {
                return Published::Waiting;
            };
            // SAFETY: ours until we are linked, by the caller's promise (I-12).
            unsafe { slot.write(state.buffer.pop_front()) };
            // Before another cell is taken: see `claim_own`.
            own.settle(base);
            state.refill();
            return Published::Committed(0);
        }
        match state.sending.find(Some(cell)) {
            Match::Partner(sender) => {
                // SAFETY: as in `try_recv` (I-12).
                let value = unsafe { empty(sender.value()) };
                // SAFETY: ours until we are linked, by the caller's promise (I-12).
                unsafe { slot.write(value) };
                sender.commit(base);
                return Published::Committed(0);
            }
            Match::OwnTaken => return Published::Waiting,
            Match::Nobody => {}
        }
        if state.no_senders {
            return Published::own(cell, base);
        }
        // SAFETY: under the lock; the rest is the caller's promise (I-12).
        unsafe { state.receiving.push(node, cell, base, slot.cast()) };
        Published::Waiting
    }

    /// Unlinks a sender that has given up; its value is its own again.
    pub(super) fn retract_send(&self, node: &WaitNode) {
        self.state.lock().sending.remove(node);
    }

    /// Unlinks a receiver that has given up.
    pub(super) fn retract_recv(&self, node: &WaitNode) {
        self.state.lock().receiving.remove(node);
    }
}

impl<T> State<T> {
    /// Moves what is in `slot` into the buffer, if there is room.
    fn put(&mut self, slot: &mut Slot<T>, capacity: usize) -> bool {
        let room = self.buffer.len() < capacity;
        if room && let Some(value) = slot.take() {
            self.buffer.push_back(value);
        }
        room
    }

    /// Gives the place that became free in the buffer to the sender that waits longest.
    fn refill(&mut self) {
        if let Match::Partner(sender) = self.sending.find(None) {
            // SAFETY: it waits in `sending`, and nobody else reaches its slot while it is taken
            // (I-12).
            let value = unsafe { empty::<T>(sender.value()) };
            self.buffer
                .push_back(value.expect("a waiting sender has its value"));
            sender.commit(0);
        }
    }
}

/// Moves the value of `from` into the slot of a waiting receiver.
///
/// # Safety
/// `to` is the slot of a receiver of `T` that is held in place, and nobody else reaches it.
unsafe fn fill<T>(to: *mut (), from: &mut Slot<T>) {
    // SAFETY: the caller's promise (I-12). It was empty, so nothing is dropped here.
    let to = unsafe { &mut *to.cast::<Slot<T>>() };
    *to = from.take();
}

/// Takes the value out of the slot of a waiting sender.
///
/// # Safety
/// `from` is the slot of a sender of `T` that is held in place, and nobody else reaches it.
unsafe fn empty<T>(from: *mut ()) -> Slot<T> {
    // SAFETY: the caller's promise (I-12).
    let from = unsafe { &mut *from.cast::<Slot<T>>() };
    from.take()
}

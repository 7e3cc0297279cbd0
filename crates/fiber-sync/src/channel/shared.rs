//! What the ends of a queue share: a buffer and two lists under one lock.
//!
//! Rendezvous, bounded and unbounded channels and mailboxes are this, and differ in how much the
//! buffer holds and in what happens when it is full.
//!
//! | while | then |
//! |---|---|
//! | a receiver waits | the buffer is empty, and no sender waits |
//! | a sender waits | the buffer is full, and no receiver waits |
//!
//! So a value goes straight to the receiver that waits longest, and the place that a receiver makes
//! in the buffer is taken at once by the sender that waits longest: values arrive in the order in
//! which they were sent, and both sides are served in the order in which they came. An arm of one's
//! own on the other side does not count: nobody meets himself.

use alloc::collections::VecDeque;
use core::{mem, pin::Pin};

use fiber_core::{
    operation::{Match, Published, WaitCell, WaitList, WaitNode},
    spin::{SpinGuard, SpinLock},
};

use super::{ends::Channel, mailbox::Overflow};

/// Where a value lies while its owner waits: the sender's until it is taken, the receiver's once it
/// is filled. In the operation, in the performer's frame.
pub(super) type Slot<T> = Option<T>;

/// The first places of a buffer that grows.
const PLACES_MIN: usize = 16;

pub(super) struct Queue<T> {
    state: SpinLock<State<T>>,
    pub(super) capacity: usize,
    pub(super) overflow: Overflow,
}

struct State<T> {
    /// Has room for `capacity` values from the beginning, unless it grows.
    buffer: VecDeque<T>,
    /// The value of a node is the sender's full slot.
    sending: WaitList,
    /// The value of a node is the receiver's empty slot.
    receiving: WaitList,
    /// Nothing is sent any more; nobody waits in either list.
    closed: bool,
    /// How many values had to make room for others.
    dropped: u64,
}

impl<T> Channel for Queue<T> {
    fn senders_gone(&self) {
        self.close();
    }

    /// Senders keep what they have, and what lies in the buffer is dropped.
    fn receivers_gone(&self) {
        let mut state = self.state.lock();
        state.close();
        let unreceived = mem::take(&mut state.buffer);
        // Drops the user's values without the lock: they may use the channel.
        drop(state);
        drop(unreceived);
    }

    fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

impl<T> Queue<T> {
    /// A queue of so many places; of `usize::MAX` it grows without end.
    pub(super) fn new(capacity: usize, overflow: Overflow) -> Self {
        let mut queue = Self {
            state: SpinLock::new(State {
                buffer: VecDeque::new(),
                sending: WaitList::new(),
                receiving: WaitList::new(),
                closed: false,
                dropped: 0,
            }),
            capacity,
            overflow,
        };
        if !queue.grows() {
            queue.state.get_mut().buffer = VecDeque::with_capacity(capacity);
        }
        queue
    }

    pub(super) const fn is_unbounded(&self) -> bool {
        self.capacity == usize::MAX
    }

    /// Whether more values fit than there was room for in the beginning.
    const fn grows(&self) -> bool {
        self.is_unbounded() || matches!(self.overflow, Overflow::PenaliseSender)
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().buffer.len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Senders keep what they have, and receivers get what lies in the buffer, and then the end.
    pub(super) fn close(&self) {
        self.state.lock().close();
    }

    /// Sends what is in `slot`; true if that is settled: the slot is empty, or the channel is
    /// closed.
    #[inline(always)]
    pub(super) fn try_send(&self, slot: &mut Slot<T>) -> bool {
        let mut state = self.lock_to_send();
        if state.closed {
            return true;
        }
        if let Match::Partner(receiver) = state.receiving.find(None) {
            // SAFETY: it waits in `receiving`, and nobody else reaches its slot while it is taken
            // (I-12).
            unsafe { fill(receiver.value(), slot) };
            receiver.commit(0);
            return true;
        }
        if state.buffer.len() < self.capacity {
            state.put(slot);
            return true;
        }
        if self.overflow == Overflow::Block {
            return false;
        }
        let evicted = state.overflow(slot, self.overflow);
        drop(state);
        drop(evicted);
        true
    }

    /// Sends what is in the performer's slot, or links the performer.
    ///
    /// # Safety
    /// `slot` points to a full slot; it, `node` and `cell` stay in place until
    /// [`Queue::retract_send`], and nobody but partners touches the slot meanwhile (I-12).
    #[inline(always)]
    pub(super) unsafe fn publish_send(
        &self,
        node: Pin<&WaitNode>,
        slot: *mut Slot<T>,
        cell: &WaitCell,
        base: u16,
    ) -> Published {
        let mut state = self.lock_to_send();
        if state.closed {
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
        if state.buffer.len() >= self.capacity && self.overflow == Overflow::Block {
            // SAFETY: under the lock; the rest is the caller's promise (I-12).
            unsafe { state.sending.push(node, cell, base, slot.cast()) };
            return Published::Waiting;
        }
        let Some(own) = cell.claim_own() else {
            return Published::Waiting;
        };
        // Before another cell is taken: see `claim_own`.
        own.settle(base);
        // SAFETY: ours, as we are not linked, by the caller's promise (I-12).
        let slot = unsafe { &mut *slot };
        let evicted = if state.buffer.len() < self.capacity {
            state.put(slot);
            None
        } else {
            state.overflow(slot, self.overflow)
        };
        drop(state);
        drop(evicted);
        Published::Committed(0)
    }

    /// Receives into `slot`; true if that is settled: the slot is full, or the channel is closed.
    #[inline(always)]
    pub(super) fn try_recv(&self, slot: &mut Slot<T>) -> bool {
        let mut state = self.state.lock();
        *slot = state.buffer.pop_front();
        if slot.is_some() {
            if !state.sending.is_empty() {
                state.refill();
            }
            return true;
        }
        if let Match::Partner(sender) = state.sending.find(None) {
            // SAFETY: it waits in `sending`, and nobody else reaches its slot while it is taken
            // (I-12).
            *slot = unsafe { empty(sender.value()) };
            sender.commit(0);
            return true;
        }
        state.closed
    }

    /// Receives into the performer's slot, or links the performer.
    ///
    /// # Safety
    /// `slot` points to an empty slot; it, `node` and `cell` stay in place until
    /// [`Queue::retract_recv`], and nobody but partners touches the slot meanwhile (I-12).
    #[inline(always)]
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
        if state.closed {
            return Published::own(cell, base);
        }
        // SAFETY: under the lock; the rest is the caller's promise (I-12).
        unsafe { state.receiving.push(node, cell, base, slot.cast()) };
        Published::Waiting
    }

    /// Unlinks a sender that has given up; its value is its own again.
    pub(super) fn retract_send(&self, node: &WaitNode) {
        if node.was_published() {
            self.state.lock().sending.remove(node);
        }
    }

    /// Unlinks a receiver that has given up.
    pub(super) fn retract_recv(&self, node: &WaitNode) {
        if node.was_published() {
            self.state.lock().receiving.remove(node);
        }
    }

    /// The lock, with a place in the buffer if it may grow: memory is not asked for under the lock.
    #[inline]
    fn lock_to_send(&self) -> SpinGuard<'_, State<T>> {
        let state = self.state.lock();
        if self.grows() && state.buffer.len() == state.buffer.capacity() {
            return self.grow(state);
        }
        state
    }

    #[cold]
    fn grow<'queue>(
        &'queue self,
        mut state: SpinGuard<'queue, State<T>>,
    ) -> SpinGuard<'queue, State<T>> {
        while !state.closed && state.buffer.len() == state.buffer.capacity() {
            let places = PLACES_MIN.max(2 * state.buffer.len());
            drop(state);
            let mut buffer = VecDeque::with_capacity(places);
            state = self.state.lock();
            if state.buffer.capacity() < buffer.capacity() {
                buffer.append(&mut state.buffer);
                mem::swap(&mut state.buffer, &mut buffer);
            }
            drop(state);
            drop(buffer);
            state = self.state.lock();
        }
        state
    }
}

impl<T> State<T> {
    fn close(&mut self) {
        self.closed = true;
        while let Match::Partner(sender) = self.sending.find(None) {
            sender.commit(0);
        }
        while let Match::Partner(receiver) = self.receiving.find(None) {
            receiver.commit(0);
        }
    }

    /// Sends what is in `slot` although the buffer is full; gives what had to go for it.
    #[cold]
    fn overflow(&mut self, slot: &mut Slot<T>, overflow: Overflow) -> Option<T> {
        match overflow {
            Overflow::Block => unreachable!("such a sender waits"),
            Overflow::DropOldest => {
                self.dropped += 1;
                let oldest = self.buffer.pop_front();
                self.put(slot);
                oldest
            }
            Overflow::Disconnect => {
                self.close();
                None
            }
            Overflow::PenaliseSender => {
                self.put(slot);
                None
            }
        }
    }

    /// Appends what is in `slot`, for which there is a place.
    #[inline]
    fn put(&mut self, slot: &mut Slot<T>) {
        // Not `extend`, which asks for more room than one value needs.
        if let Some(value) = slot.take() {
            self.buffer.push_back(value);
        }
    }

    /// Gives the place that became free in the buffer to the sender that waits longest.
    #[inline]
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
#[inline]
unsafe fn fill<T>(to: *mut (), from: &mut Slot<T>) {
    // SAFETY: the caller's promise (I-12). It was empty, so nothing is dropped here.
    let to = unsafe { &mut *to.cast::<Slot<T>>() };
    *to = from.take();
}

/// Takes the value out of the slot of a waiting sender.
///
/// # Safety
/// `from` is the slot of a sender of `T` that is held in place, and nobody else reaches it.
#[inline]
unsafe fn empty<T>(from: *mut ()) -> Slot<T> {
    // SAFETY: the caller's promise (I-12).
    let from = unsafe { &mut *from.cast::<Slot<T>>() };
    from.take()
}

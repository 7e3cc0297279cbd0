//! Sending and receiving, as things that one can block on.

use core::{borrow::BorrowMut, cell::UnsafeCell, fmt, ops::Deref, panic::Location, pin::Pin};

use fiber_core::operation::{Operation, Published, WaitCell, WaitNode, Waits};

use super::{
    ends::{Rx, Tx},
    error::{RecvError, SendError},
    mailbox,
    shared::{Queue, Slot},
};

/// The handle of the queue that an operation is about: borrowed, or gone with the operation.
pub(super) enum Held<'channel, H> {
    Borrowed(&'channel H),
    Owned(H),
}

impl<H> Deref for Held<'_, H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        match self {
            Self::Borrowed(handle) => handle,
            Self::Owned(handle) => handle,
        }
    }
}

/// Sends a value: its own, or, made by [`Sender::send_operation_from`], the one in the caller's
/// slot. While it is not committed the value is where it was.
///
/// [`Sender::send_operation_from`]: super::Sender::send_operation_from
pub struct SendOperation<'channel, T, S = Option<T>> {
    queue: Held<'channel, Tx<Queue<T>>>,
    slot: UnsafeCell<S>,
    site: &'static Location<'static>,
    node: WaitNode,
}

impl<'channel, T, S: BorrowMut<Slot<T>>> SendOperation<'channel, T, S> {
    /// With a slot that has a value, and is of a type that borrows always the same place.
    #[track_caller]
    pub(super) const fn new(queue: Held<'channel, Tx<Queue<T>>>, slot: S) -> Self {
        Self {
            queue,
            slot: UnsafeCell::new(slot),
            site: Location::caller(),
            node: WaitNode::new(),
        }
    }

    /// The value, of an operation that was not committed.
    ///
    /// # Panics
    /// When it was committed: such as after a choice of which it was an arm by reference.
    pub fn into_value(self) -> T {
        let taken = self.slot.into_inner().borrow_mut().take();
        taken.expect("the operation was not committed, so it has its value")
    }

    /// The value, of an operation that was performed and not committed.
    pub(super) fn take_value(self: Pin<&mut Self>) -> T {
        self.take().expect("it was not committed")
    }

    fn take(self: Pin<&mut Self>) -> Slot<T> {
        // SAFETY: no partner reaches the slot any more: the operation was retracted, or was never
        // published (I-12).
        unsafe { &mut *self.slot.get() }.borrow_mut().take()
    }
}

// SAFETY: the channel looks again under the lock under which it links (I-2); partners unlink whom
// they serve and move the value as they do, and `retract` unlinks otherwise (I-12).
unsafe impl<T, S: BorrowMut<Slot<T>>> Operation for SendOperation<'_, T, S> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn name(&self) -> &'static str {
        "sending"
    }

    #[inline]
    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: self.queue.peers(),
            site: self.site,
            only_holders: false,
        })
    }

    #[inline]
    fn is_simple(&self) -> bool {
        true
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        let slot = self.slot.get_mut().borrow_mut();
        self.queue.try_send(slot).then_some(0)
    }

    #[inline(always)]
    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        // SAFETY: nobody reaches the slot before it is linked (I-12).
        let slot: *mut Slot<T> = unsafe { &mut *this.slot.get() }.borrow_mut();
        // SAFETY: the slot is full, and like node and cell it stays until `retract`, by the
        // caller's promise (I-12).
        unsafe { this.queue.publish_send(node, slot, cell, base) }
    }

    #[inline]
    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            self.queue.retract_send(&self.node);
        }
    }

    #[inline]
    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        let this = self.into_ref().get_ref();
        // SAFETY: the operation is committed and retracted, so nobody reaches the slot (I-12).
        let left = unsafe { &mut *this.slot.get() }.borrow_mut().take();
        sent(&this.queue, left)
    }
}

impl<T, S> fmt::Debug for SendOperation<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendOperation").finish_non_exhaustive()
    }
}

/// What has come of a send that is settled, and has `left` this.
#[inline]
pub(super) fn sent<T>(queue: &Queue<T>, left: Slot<T>) -> Result<(), SendError<T>> {
    // Whoever commits takes the value; only the end of the channel leaves it.
    match left {
        None => {
            mailbox::charge_sender(queue);
            Ok(())
        }
        Some(value) => Err(SendError(value)),
    }
}

/// Receives a value.
pub struct RecvOperation<'channel, T> {
    queue: Held<'channel, Rx<Queue<T>>>,
    name: &'static str,
    slot: UnsafeCell<Slot<T>>,
    site: &'static Location<'static>,
    node: WaitNode,
}

impl<'channel, T> RecvOperation<'channel, T> {
    /// `name` is what reports call it.
    pub(super) const fn new(
        queue: Held<'channel, Rx<Queue<T>>>,
        name: &'static str,
        site: &'static Location<'static>,
    ) -> Self {
        Self {
            queue,
            name,
            slot: UnsafeCell::new(None),
            site,
            node: WaitNode::new(),
        }
    }
}

// SAFETY: as for `SendOperation` (I-2, I-12).
unsafe impl<T> Operation for RecvOperation<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn name(&self) -> &'static str {
        self.name
    }

    #[inline]
    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: self.queue.peers(),
            site: self.site,
            only_holders: false,
        })
    }

    #[inline]
    fn is_simple(&self) -> bool {
        true
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        self.queue.try_recv(self.slot.get_mut()).then_some(0)
    }

    #[inline(always)]
    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        // SAFETY: the slot is empty, and like node and cell it stays until `retract`, by the
        // caller's promise (I-12).
        unsafe { this.queue.publish_recv(node, this.slot.get(), cell, base) }
    }

    #[inline]
    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            self.queue.retract_recv(&self.node);
        }
    }

    #[inline]
    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        // SAFETY: the operation is committed and retracted, so nobody reaches the slot (I-12).
        received(unsafe { &mut *self.slot.get() }.take())
    }
}

/// What has come of a receive that is settled, and has left this in its slot.
#[inline]
pub(super) fn received<T>(slot: Slot<T>) -> Result<T, RecvError> {
    // Whoever commits fills the slot; only the end of the channel leaves it empty.
    slot.ok_or(RecvError)
}

impl<T> fmt::Debug for RecvOperation<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvOperation").finish_non_exhaustive()
    }
}

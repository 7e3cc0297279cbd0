//! Hosts that only know when i/o *can occur*, and the shim that makes them full hosts.
//!
//! epoll, kqueue and the like say "now a read would not block". A runtime wants "the read is
//! done". A host of that kind implements the five entries of [`BeforeIo`]; [`AfterOverBefore`]
//! makes a [`Port`](crate::env::Port) of it:
//!
//! ```text
//!  staged ──▶ nothing queued before it, and not known to be unready, here or by the host?
//!                │ yes                              │ no
//!                ▼                                  │
//!             try_now ── WouldBlock ──▶ arm ──▶ FIFO of that descriptor and direction
//!                │                                  │ an event: try the first, the second, …
//!                ▼                                  ▼
//!              completion ◀──────── Done ─────── try_now
//! ```
//!
//! A request that waits here has not touched anything, so a cancel loses nothing.

mod queues;
mod shim;
#[cfg(test)]
mod tests;

use alloc::{sync::Arc, vec::Vec};

pub use self::shim::AfterOverBefore;
use crate::{
    env::{HostFault, Unpark, Wait},
    error::IoError,
    request::{Interest, Outcome, RawDescriptor, Request},
};

/// A host's i/o for one worker, in terms of readiness.
///
/// Raw descriptors are small dense numbers, as file descriptors are: the shim keeps a table indexed
/// by them. All entries run on the worker's own thread.
///
/// # Safety
/// Implementors touch memory named by a request only during the call that names it.
pub unsafe trait BeforeIo {
    /// One attempt at `request`, without waiting.
    ///
    /// Requests arrive here with [`Extent::Some`](crate::request::Extent): partial transfers are
    /// put together by the shim. Control requests never do. `Ready` is answered by looking, not
    /// from memory. `Connect` has two phases: the first call (`under_way` is `None`) makes the
    /// socket, begins to connect, and answers [`Attempt::Started`] with it; when that descriptor
    /// has become writable the shim asks again, with the descriptor as `under_way`, and is told
    /// `Opened` of that descriptor, why it failed, or that it is still going on. The shim closes a
    /// socket whose connect failed or was cancelled. *Cost*: a system call.
    ///
    /// # Safety
    /// Memory named by `request` is valid for the length of the call.
    unsafe fn try_now(&mut self, request: &Request, under_way: Option<RawDescriptor>) -> Attempt;

    /// Whether an attempt at `request` is known to find nothing, without one: then there will be
    /// an event when it does. Asked of what may wait, in place of an attempt. *Cost*: no call.
    fn would_block(&self, request: &Request) -> bool {
        let _ = request;
        false
    }

    /// Asks for events of `descriptor` in this direction, edge-triggered.
    ///
    /// Called after an attempt that would block, or one that was not made because it
    /// [would](Self::would_block), each time a queue becomes non-empty. Afterwards at least one
    /// event must come if the descriptor is ready already, or has become so since the attempt, or
    /// will. Being asked again for what is armed is usual and must be cheap; a host
    /// that registers both directions at once may. *Cost*: a system call the first time, a compare
    /// afterwards.
    ///
    /// # Errors
    /// When the host cannot watch this descriptor; the request fails with it.
    fn arm(&mut self, descriptor: RawDescriptor, interest: Interest) -> Result<(), IoError>;

    /// Stops watching a descriptor that is about to be closed. Unknown ones are ignored.
    fn forget(&mut self, descriptor: RawDescriptor);

    /// Waits as told and appends what became ready. Events may be spurious, and may be about
    /// descriptors that are no longer watched. It may return early.
    ///
    /// # Errors
    /// Only when the host's poller itself is broken.
    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> Result<Polled, HostFault>;

    /// The handle that ends this port's wait; see [`Port::unparker`](crate::env::Port::unparker).
    fn unparker(&self) -> Arc<dyn Unpark>;
}

/// The outcome of one attempt of a [`BeforeIo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "hosts build it; a new answer is a new contract"
)]
pub enum Attempt {
    /// The request is over; this is its result.
    Done(Outcome),
    /// Not now: when the descriptor is ready in the request's direction.
    WouldBlock,
    /// A connect has begun on this descriptor, which belongs to the shim until it is over.
    Started(RawDescriptor),
    /// This host does not offer the request.
    NotPossible,
}

/// A descriptor became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it; a new field is a new contract"
)]
pub struct Event {
    /// Which one.
    pub descriptor: RawDescriptor,
    /// For what. An error or a hang-up is an event in both directions.
    pub interest: Interest,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it; a new field is a new contract"
)]
pub struct Polled {
    /// Whether an unpark came before or during the wait; it is used up.
    pub unparked: bool,
    /// System calls made.
    pub calls: u32,
}

//! What will happen, by virtual time; equal times keep the order in which they were planned.

use alloc::collections::BinaryHeap;
use core::cmp::Ordering;

use fiber_core::signal::Signal;

use crate::{
    arena::Key,
    net::{Packet, Socket},
    op::Op,
    world::Thread,
};

/// Something that will happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A node is started (again).
    Boot { node: u16 },
    /// A thread's wait has lasted long enough; `armed` tells whether this is still its timer.
    Timer { thread: Key<Thread>, armed: u64 },
    /// A helper job begins.
    Begin { thread: Key<Thread> },
    /// A packet reaches its destination.
    Arrive(Packet),
    /// A connection attempt has taken too long.
    ConnectTimeout { socket: Key<Socket> },
    /// A client has heard nothing: it repeats its first packet.
    ConnectRetry { socket: Key<Socket>, attempt: u32 },
    /// A sender has not heard from its peer for too long; `since` tells which silence.
    GiveUp { socket: Key<Socket>, since: u64 },
    /// A cancel has reached its request.
    Cancel { op: Key<Op> },
    /// A signal reaches a node, in the incarnation that it was sent to.
    Signal {
        node: u16,
        incarnation: u32,
        signal: Signal,
    },
    /// The plan's next fault, by its number.
    Fault { number: usize },
}

/// The queue of all events.
pub(crate) struct Events {
    heap: BinaryHeap<Planned>,
    planned: u64,
}

struct Planned {
    at: u64,
    sequence: u64,
    event: Event,
}

impl Events {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }

    /// Plans `event` for the moment `at`.
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.heap.push(Planned {
            at,
            sequence: self.planned,
            event,
        });
    }

    /// When the next event is due.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|planned| planned.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|planned| (planned.at, planned.event))
    }
}

impl Planned {
    const fn key(&self) -> (u64, u64) {
        (self.at, self.sequence)
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// Reversed: std's heap yields its greatest, and the earliest is wanted.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

//! Signals sent to a node: a queue that is read like a socket.

use alloc::collections::VecDeque;
use core::fmt;

use fiber_core::{
    IoErrorKind,
    request::{Extent, Interest, LentMut, RawDescriptor},
    signal::{Signal, SignalSet},
};

use super::{Net, Socket, SocketKind};
use crate::{
    arena::Key,
    events::Event,
    node::Life,
    op::{Attempt, Op, done},
    world::World,
};

/// What one descriptor of a node is told.
#[derive(Debug)]
pub(super) struct Signals {
    set: SignalSet,
    /// Unread, each kind once, in the order in which they came.
    unread: VecDeque<u8>,
}

impl Signals {
    pub(super) fn is_readable(&self) -> bool {
        !self.unread.is_empty()
    }

    fn tell(&mut self, signal: Signal) {
        if !self.unread.contains(&signal.number()) {
            self.unread.push_back(signal.number());
        }
    }

    pub(super) fn recv(&mut self, op: &mut Op, into: LentMut, extent: Extent) -> Attempt {
        while op.moved < into.len()
            && let Some(number) = self.unread.pop_front()
        {
            // SAFETY: inside of the lent bytes (I-3).
            let place = unsafe { into.start().add(op.moved) };
            // SAFETY: lent until the completion, which this attempt precedes (I-3).
            unsafe { place.write(number) };
            op.moved += 1;
        }
        let enough = match extent {
            Extent::Some => op.moved > 0 || into.is_empty(),
            Extent::All => op.moved == into.len(),
        };
        enough.then(|| done(op.moved))
    }
}

impl fmt::Display for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("signals:")?;
        self.set
            .iter()
            .try_for_each(|signal| write!(f, " {signal}"))
    }
}

impl Net {
    pub(super) fn signals_mut(&mut self, key: Key<Socket>) -> Option<&mut Signals> {
        match &mut self.sockets.get_mut(key)?.kind {
            SocketKind::Signals(signals) => Some(signals),
            SocketKind::Stream(_) | SocketKind::Listener(_) => None,
        }
    }
}

impl World {
    pub(super) fn open_signals(
        &mut self,
        node: u16,
        set: SignalSet,
    ) -> Result<RawDescriptor, IoErrorKind> {
        if set.is_empty() {
            return Err(IoErrorKind::InvalidInput);
        }
        let signals = Signals {
            set,
            unread: VecDeque::new(),
        };
        let socket = Socket::new(node, SocketKind::Signals(signals));
        let key = self.net.sockets.insert(socket);
        self.open(node, key)
            .inspect_err(|_| drop(self.net.sockets.remove(key)))
    }

    /// A node sends itself a signal: it comes when the caller gives way, as nobody can be ended
    /// in the middle of a call.
    pub(super) fn raise_signal(&mut self, number: u16, signal: Signal) {
        let now = self.now;
        let incarnation = self.node(number).incarnation;
        let event = Event::Signal {
            node: number,
            incarnation,
            signal,
        };
        self.events.push(now, event);
    }

    /// A signal reaches a node: whoever has asked for it is told; if nobody has, the node ends.
    pub(crate) fn signal(&mut self, number: u16, signal: Signal) {
        if self.node(number).life != Life::Up {
            return;
        }
        self.choices.journal.fold(
            u64::from(signal.number()) << 16 | u64::from(number),
            self.now,
        );
        let wants = |socket: &Socket| match &socket.kind {
            SocketKind::Signals(signals) => socket.node == number && signals.set.contains(signal),
            SocketKind::Stream(_) | SocketKind::Listener(_) => false,
        };
        let subscribers = self.net.sockets.keys_where(wants);
        let name = &*self.node(number).name;
        tracing::debug!(
            target: "host_sim::node", node = name, %signal, told = subscribers.len(), "signal",
        );
        if subscribers.is_empty() {
            self.kill(number);
        }
        for key in subscribers {
            if let Some(signals) = self.net.signals_mut(key) {
                signals.tell(signal);
            }
            self.pump(key, Interest::Readable);
        }
    }
}

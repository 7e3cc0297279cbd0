//! TCP between nodes, as byte streams that keep their order.
//!
//! ```text
//!  sender                        link                            receiver
//!  send ─▶ room in the peer's ───▶ Data(n) arrives after a ─────▶ available += n ─▶ recv
//!          buffer? copy in         drawn latency, in order
//!  room += n ◀──── Ack(n) ◀─────── when half a buffer was read ◀─┘
//! ```
//!
//! Bytes are copied once, straight into the buffer of the end that will read them; packets carry
//! counts. Retransmission is modelled as delay: a cut link holds packets until it heals, and a
//! sender that hears nothing for too long gives up.
//!
//! Read in this order: this file, `stream` (transfers), `listen` (connections come to be), `link`
//! (packets travel), `close` (connections end), `signals` (read like a socket, and none).

mod close;
mod link;
mod listen;
mod signals;
mod stream;

use alloc::collections::{BTreeMap, VecDeque};
use core::net::SocketAddr;

use fiber_core::{
    IoErrorKind,
    request::{End, Interest, Outcome, RawDescriptor, Request, SocketOption},
};

pub(crate) use self::link::{Body, Link, Packet};
use self::{listen::Listener, signals::Signals, stream::Stream};
use crate::{
    arena::{Arena, Key},
    op::{Attempt, Op, failed},
    world::World,
};

/// All sockets and links.
pub(crate) struct Net {
    sockets: Arena<Socket>,
    /// Who listens where: by node and port; several places of one node can share a port.
    listeners: BTreeMap<(u16, u16), Vec<Key<Socket>>>,
    /// Directions that are cut.
    cut: Vec<Link>,
    /// What waits for a link to heal, or for a node to come back.
    held: BTreeMap<Link, VecDeque<Packet>>,
}

/// One end of a connection, a listener, or what a node is told of signals.
#[derive(Debug)]
pub(crate) struct Socket {
    node: u16,
    /// How many descriptors name it.
    references: u32,
    readers: VecDeque<Key<Op>>,
    writers: VecDeque<Key<Op>>,
    kind: SocketKind,
}

#[derive(Debug)]
enum SocketKind {
    Stream(Stream),
    Listener(Listener),
    Signals(Signals),
}

impl Net {
    pub(crate) const fn new() -> Self {
        Self {
            sockets: Arena::new(),
            listeners: BTreeMap::new(),
            cut: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    fn stream(&self, key: Key<Socket>) -> Option<&Stream> {
        match &self.sockets.get(key)?.kind {
            SocketKind::Stream(stream) => Some(stream),
            SocketKind::Listener(_) | SocketKind::Signals(_) => None,
        }
    }

    fn stream_mut(&mut self, key: Key<Socket>) -> Option<&mut Stream> {
        match &mut self.sockets.get_mut(key)?.kind {
            SocketKind::Stream(stream) => Some(stream),
            SocketKind::Listener(_) | SocketKind::Signals(_) => None,
        }
    }

    fn listener_mut(&mut self, key: Key<Socket>) -> Option<&mut Listener> {
        match &mut self.sockets.get_mut(key)?.kind {
            SocketKind::Listener(listener) => Some(listener),
            SocketKind::Stream(_) | SocketKind::Signals(_) => None,
        }
    }
}

impl Socket {
    const fn new(node: u16, kind: SocketKind) -> Self {
        Self {
            node,
            references: 0,
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            kind,
        }
    }

    /// What it is, for reports.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            SocketKind::Stream(stream) => {
                format!("connection {} -> {}", stream.local, stream.remote)
            }
            SocketKind::Listener(listener) => format!("listener at {}", listener.local),
            SocketKind::Signals(signals) => signals.to_string(),
        }
    }
}

impl World {
    /// A socket's queue of waiting requests.
    pub(crate) fn queue(
        &mut self,
        socket: Key<Socket>,
        interest: Interest,
    ) -> Option<&mut VecDeque<Key<Op>>> {
        let socket = self.net.sockets.get_mut(socket)?;
        Some(match interest {
            Interest::Readable => &mut socket.readers,
            Interest::Writable => &mut socket.writers,
        })
    }

    pub(crate) fn describe_socket(&self, socket: Key<Socket>) -> String {
        let found = self.net.sockets.get(socket);
        found.map_or_else(|| "a closed socket".to_owned(), Socket::describe)
    }

    /// Does as much of a request as can be done now.
    pub(crate) fn attempt(&mut self, op: &mut Op) -> Attempt {
        if self.net.sockets.get(op.socket).is_none() {
            return Some(failed(IoErrorKind::Closed));
        }
        match op.request {
            Request::Ready { interest, .. } => {
                let ready = self.is_ready(op.socket, interest);
                ready.then_some(Outcome::Done(0))
            }
            Request::Recv { into, extent, .. } => match self.net.signals_mut(op.socket) {
                Some(signals) => signals.recv(op, into, extent),
                None => self.recv(op, into, extent),
            },
            Request::RecvVectored { into, count, .. } => self.recv_vectored(op, into, count),
            Request::Send { from, extent, .. } => self.send(op, from, extent),
            Request::SendVectored { from, count, .. } => self.send_vectored(op, from, count),
            Request::Accept { peer, .. } => self.accept(op.socket, peer),
            Request::Connect { .. } => self.connected(op.socket),
            _ => Some(failed(IoErrorKind::Unsupported)),
        }
    }

    fn is_ready(&self, socket: Key<Socket>, interest: Interest) -> bool {
        let Some(socket) = self.net.sockets.get(socket) else {
            return true;
        };
        match (&socket.kind, interest) {
            (SocketKind::Stream(stream), Interest::Readable) => stream.is_readable(),
            (SocketKind::Stream(stream), Interest::Writable) => {
                stream.is_writable(self.config.network.buffer_bytes)
            }
            (SocketKind::Listener(listener), Interest::Readable) => listener.is_readable(),
            (SocketKind::Signals(signals), Interest::Readable) => signals.is_readable(),
            (SocketKind::Listener(_) | SocketKind::Signals(_), Interest::Writable) => false,
        }
    }

    /// Answers a request of the kinds that never wait.
    pub(crate) fn immediate(&mut self, node: u16, request: &Request) -> Outcome {
        let answer = match *request {
            Request::Listen { at, backlog } => {
                // SAFETY: lent for the length of this call (I-3).
                let at = unsafe { at.read() };
                self.listen(node, at, backlog).map(Outcome::Opened)
            }
            Request::Duplicate { descriptor } => {
                self.duplicate(node, descriptor).map(Outcome::Opened)
            }
            Request::Shutdown { descriptor, how } => self
                .socket_of(node, descriptor)
                .and_then(|socket| self.shutdown(socket, how)),
            Request::Address {
                descriptor,
                end,
                into,
            } => self.address(node, descriptor, end).map(|address| {
                // SAFETY: lent for the length of this call (I-3).
                unsafe { into.write(address) };
                Outcome::Done(0)
            }),
            Request::SetOption {
                descriptor,
                option,
                value,
            } => self.set_option(node, descriptor, option, value),
            Request::ReadOption { descriptor, option } => {
                self.read_option(node, descriptor, option)
            }
            Request::OpenSignals { set } => self.open_signals(node, set).map(Outcome::Opened),
            Request::RaiseSignal { signal } => {
                self.raise_signal(node, signal);
                Ok(Outcome::Done(0))
            }
            _ => Err(IoErrorKind::Unsupported),
        };
        answer.unwrap_or_else(failed)
    }

    fn socket_of(
        &mut self,
        node: u16,
        descriptor: RawDescriptor,
    ) -> Result<Key<Socket>, IoErrorKind> {
        let socket = self.node(node).descriptors.get(descriptor);
        socket.ok_or(IoErrorKind::InvalidInput)
    }

    /// Opens a number for `socket` at `node`.
    fn open(&mut self, node: u16, socket: Key<Socket>) -> Result<RawDescriptor, IoErrorKind> {
        let limit = self.config.descriptors_max;
        let descriptor = self.node(node).descriptors.open(socket, limit)?;
        if let Some(socket) = self.net.sockets.get_mut(socket) {
            socket.references += 1;
        }
        Ok(descriptor)
    }

    fn duplicate(
        &mut self,
        node: u16,
        descriptor: RawDescriptor,
    ) -> Result<RawDescriptor, IoErrorKind> {
        let socket = self.socket_of(node, descriptor)?;
        if self.net.signals_mut(socket).is_some() {
            return Err(IoErrorKind::Unsupported);
        }
        self.open(node, socket)
    }

    fn address(
        &mut self,
        node: u16,
        descriptor: RawDescriptor,
        end: End,
    ) -> Result<SocketAddr, IoErrorKind> {
        let socket = self.socket_of(node, descriptor)?;
        let socket = self.net.sockets.get(socket);
        match (&socket.ok_or(IoErrorKind::InvalidInput)?.kind, end) {
            (SocketKind::Stream(stream), End::Local) => Ok(stream.local),
            (SocketKind::Stream(stream), End::Peer) => stream.peer_address(),
            (SocketKind::Listener(listener), End::Local) => Ok(listener.local),
            (SocketKind::Listener(_), End::Peer) => Err(IoErrorKind::NotConnected),
            (SocketKind::Signals(_), _) => Err(IoErrorKind::Unsupported),
        }
    }

    fn set_option(
        &mut self,
        node: u16,
        descriptor: RawDescriptor,
        option: SocketOption,
        value: u32,
    ) -> Result<Outcome, IoErrorKind> {
        let socket = self.socket_of(node, descriptor)?;
        let socket = self.net.sockets.get_mut(socket);
        let options = match &mut socket.ok_or(IoErrorKind::InvalidInput)?.kind {
            SocketKind::Stream(stream) => &mut stream.options,
            SocketKind::Listener(listener) => &mut listener.options,
            SocketKind::Signals(_) => return Err(IoErrorKind::Unsupported),
        };
        match (option, value) {
            (SocketOption::NoDelay, value) => options.no_delay = value != 0,
            (SocketOption::Ttl, 1..=255) => options.ttl = value,
            _ => return Err(IoErrorKind::InvalidInput),
        }
        Ok(Outcome::Done(0))
    }

    fn read_option(
        &mut self,
        node: u16,
        descriptor: RawDescriptor,
        option: SocketOption,
    ) -> Result<Outcome, IoErrorKind> {
        let socket = self.socket_of(node, descriptor)?;
        let socket = self.net.sockets.get_mut(socket);
        let (options, error) = match &mut socket.ok_or(IoErrorKind::InvalidInput)?.kind {
            SocketKind::Stream(stream) => (stream.options, Some(&mut stream.error)),
            SocketKind::Listener(listener) => (listener.options, None),
            SocketKind::Signals(_) => return Err(IoErrorKind::Unsupported),
        };
        match option {
            SocketOption::NoDelay => Ok(Outcome::Done(u64::from(options.no_delay))),
            SocketOption::Ttl => Ok(Outcome::Done(u64::from(options.ttl))),
            SocketOption::Error => {
                let pending = error.and_then(Option::take);
                Ok(Outcome::Done(pending.map_or(0, |kind| kind as u64 + 1)))
            }
            _ => Err(IoErrorKind::Unsupported),
        }
    }
}

/// What can be set on a socket.
#[derive(Clone, Copy, Debug)]
struct Options {
    no_delay: bool,
    ttl: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            no_delay: false,
            ttl: 64,
        }
    }
}

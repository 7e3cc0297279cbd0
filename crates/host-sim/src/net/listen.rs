//! How connections come to be: listeners, handshakes, refusals.
//!
//! ```text
//!  client                                server
//!  Connecting ──── Syn ────────────────▶ listener? room in its queue?
//!      │  ◀─────── SynAck(its end) ───── yes: Open, queued for accept
//!      │  ◀─────── Refused ───────────── no listener
//!      ▼           (silence)             queue full: the client tries again, as in any silence
//!  Open, or failed: refused, timed out
//! ```

use alloc::collections::VecDeque;
use core::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ptr::NonNull,
};

use fiber_core::{
    IoErrorKind,
    request::{Interest, Outcome, RawDescriptor},
};

use super::{
    Body, Options, Packet, Socket, SocketKind,
    stream::{Phase, Stream},
};
use crate::{
    arena::Key,
    choices,
    events::Event,
    op::{Attempt, failed},
    world::World,
};

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) local: SocketAddr,
    pub(super) options: Options,
    backlog: usize,
    /// Connections that nobody has accepted yet.
    pub(super) ready: VecDeque<Key<Socket>>,
    pub(super) shut: bool,
}

impl Listener {
    pub(super) fn is_readable(&self) -> bool {
        self.shut || !self.ready.is_empty()
    }
}

const RETRY_FIRST: u64 = 1_000_000_000;
const RETRIES_MAX: u32 = 6;

impl World {
    pub(super) fn listen(
        &mut self,
        node: u16,
        at: SocketAddr,
        backlog: u32,
    ) -> Result<RawDescriptor, IoErrorKind> {
        let own = IpAddr::V4(self.node(node).address);
        if !(at.ip().is_unspecified() || at.ip().is_loopback() || at.ip() == own) {
            return Err(IoErrorKind::AddrNotAvailable);
        }
        let port = match at.port() {
            0 => self.node(node).ephemeral_port(),
            port => Some(port),
        };
        let port = port.ok_or(IoErrorKind::AddrInUse)?;
        let local = SocketAddr::new(at.ip(), port);
        if self.someone_listens(node, local) {
            return Err(IoErrorKind::AddrInUse);
        }
        let listener = Listener {
            local,
            options: Options::default(),
            backlog: backlog.clamp(1, 4096) as usize,
            ready: VecDeque::new(),
            shut: false,
        };
        let socket = Socket::new(node, SocketKind::Listener(listener));
        let key = self.net.sockets.insert(socket);
        let descriptor = self.open(node, key).inspect_err(|_| {
            self.net.sockets.remove(key);
        })?;
        self.node(node).use_port(port);
        self.net
            .listeners
            .entry((node, port))
            .or_default()
            .push(key);
        Ok(descriptor)
    }

    /// Whether a listener of `node` has the same port at an overlapping address.
    fn someone_listens(&mut self, node: u16, local: SocketAddr) -> bool {
        let Some(listeners) = self.net.listeners.get(&(node, local.port())).cloned() else {
            return false;
        };
        listeners.into_iter().any(|key| {
            self.net.listener_mut(key).is_some_and(|other| {
                let (a, b) = (other.local.ip(), local.ip());
                a == b || a.is_unspecified() || b.is_unspecified()
            })
        })
    }

    /// The listener of `node` that answers for `address`.
    fn listener_for(&mut self, node: u16, address: SocketAddr) -> Option<Key<Socket>> {
        let listeners = self.net.listeners.get(&(node, address.port()))?.clone();
        listeners.into_iter().find(|&key| {
            self.net.listener_mut(key).is_some_and(|listener| {
                let at = listener.local.ip();
                let wanted = address.ip();
                let own_machine = at.is_loopback() && wanted.is_unspecified();
                !listener.shut && (at.is_unspecified() || at == wanted || own_machine)
            })
        })
    }

    /// Begins to connect: makes the socket, reserves its number, sends the first packet.
    pub(crate) fn connect(
        &mut self,
        node: u16,
        to: NonNull<SocketAddr>,
    ) -> Result<Key<Socket>, IoErrorKind> {
        // SAFETY: lent by the request that is being submitted (I-3).
        let remote = unsafe { to.read() };
        if remote.port() == 0 {
            return Err(IoErrorKind::ConnectionRefused);
        }
        let Some(peer_node) = self.node_at(node, remote.ip()) else {
            return Err(IoErrorKind::HostUnreachable);
        };
        let port = self.node(node).ephemeral_port();
        let port = port.ok_or(IoErrorKind::AddrNotAvailable)?;
        let here = if remote.ip().is_loopback() || remote.ip().is_unspecified() {
            match remote {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => remote.ip(),
            }
        } else {
            IpAddr::V4(self.node(node).address)
        };
        let stream = Stream::new(SocketAddr::new(here, port), remote, peer_node);
        let socket = Socket::new(node, SocketKind::Stream(stream));
        let key = self.net.sockets.insert(socket);
        let descriptor = self.open(node, key).inspect_err(|_| {
            self.net.sockets.remove(key);
        })?;
        self.node(node).use_port(port);
        if let Some(stream) = self.net.stream_mut(key) {
            stream.connecting = Some(descriptor);
        }
        self.packet(key, Body::Syn);
        self.plan_retry(key, 1);
        let timeout = choices::nanos(self.config.network.connect_timeout);
        let at = self.now.saturating_add(timeout);
        self.events.push(at, Event::ConnectTimeout { socket: key });
        Ok(key)
    }

    /// What has become of a connection attempt.
    pub(super) fn connected(&mut self, key: Key<Socket>) -> Attempt {
        let stream = self.net.stream_mut(key)?;
        match stream.phase {
            Phase::Connecting => None,
            Phase::Open | Phase::Broken => {
                let descriptor = stream.connecting.take();
                Some(descriptor.map_or_else(|| failed(IoErrorKind::Closed), Outcome::Opened))
            }
            Phase::Refused(kind) => {
                self.abort_connect(key);
                Some(failed(kind))
            }
        }
    }

    /// Gives up what a connection attempt has reserved.
    pub(crate) fn abort_connect(&mut self, key: Key<Socket>) {
        let Some(node) = self.net.sockets.get(key).map(|socket| socket.node) else {
            return;
        };
        let reserved = self
            .net
            .stream_mut(key)
            .and_then(|stream| stream.connecting.take());
        if let Some(descriptor) = reserved {
            let _ = self.close(node, descriptor);
        }
    }

    pub(crate) fn connect_failed(&mut self, key: Key<Socket>, kind: IoErrorKind) {
        if let Some(stream) = self.net.stream_mut(key)
            && stream.phase == Phase::Connecting
        {
            stream.phase = Phase::Refused(kind);
            self.pump(key, Interest::Writable);
        }
    }

    /// A client tries again, unless it has got through or given up.
    pub(crate) fn connect_retry(&mut self, key: Key<Socket>, attempt: u32) {
        let connecting = self
            .net
            .stream(key)
            .is_some_and(|stream| stream.phase == Phase::Connecting);
        if !connecting {
            return;
        }
        // What a cut link holds will arrive; repeating it would only fill the link.
        if self
            .net
            .stream(key)
            .is_some_and(|stream| stream.silent_since.is_none())
        {
            self.packet(key, Body::Syn);
        }
        if attempt < RETRIES_MAX {
            self.plan_retry(key, attempt + 1);
        }
    }

    fn plan_retry(&mut self, socket: Key<Socket>, attempt: u32) {
        let at = self.now.saturating_add(RETRY_FIRST << (attempt - 1));
        self.events
            .push(at, Event::ConnectRetry { socket, attempt });
    }

    /// A client's first packet has arrived, or its repetition.
    pub(super) fn syn_arrived(&mut self, packet: Packet) {
        let Some(client) = self.net.stream(packet.from) else {
            return;
        };
        let (client_address, wanted) = (client.local, client.remote);
        let node = packet.link.to;
        if let Some(server) = client.answered
            && self.net.sockets.get(server).is_some()
        {
            return self.packet(server, Body::SynAck);
        }
        if self.node(node).refuses {
            return self.answer(packet, Body::Refused);
        }
        let Some(listener) = self.listener_for(node, wanted) else {
            return self.answer(packet, Body::Refused);
        };
        let full = self
            .net
            .listener_mut(listener)
            .is_none_or(|listener| listener.ready.len() >= listener.backlog);
        if full {
            return;
        }
        let local = if wanted.ip().is_unspecified() {
            SocketAddr::new(client_address.ip(), wanted.port())
        } else {
            wanted
        };
        let mut stream = Stream::new(local, client_address, packet.link.from);
        stream.phase = Phase::Open;
        stream.peer = Some(packet.from);
        let socket = Socket::new(node, SocketKind::Stream(stream));
        let server = self.net.sockets.insert(socket);
        self.node(node).use_port(local.port());
        if let Some(client) = self.net.stream_mut(packet.from) {
            client.answered = Some(server);
        }
        if let Some(listener) = self.net.listener_mut(listener) {
            listener.ready.push_back(server);
        }
        self.packet(server, Body::SynAck);
        self.pump(listener, Interest::Readable);
    }

    /// The server's answer has arrived.
    pub(super) fn syn_ack_arrived(&mut self, packet: Packet) {
        let Some(stream) = self.net.stream_mut(packet.to) else {
            return self.answer(packet, Body::Rst);
        };
        if stream.phase != Phase::Connecting {
            // Its repetition, which says nothing new, or another server's, which is too late.
            if stream.peer != Some(packet.from) {
                self.answer(packet, Body::Rst);
            }
            return;
        }
        stream.phase = Phase::Open;
        stream.peer = Some(packet.from);
        self.pump(packet.to, Interest::Writable);
    }

    pub(super) fn accept(&mut self, key: Key<Socket>, peer: NonNull<SocketAddr>) -> Attempt {
        let Some(node) = self.net.sockets.get(key).map(|socket| socket.node) else {
            return Some(failed(IoErrorKind::Closed));
        };
        let Some(listener) = self.net.listener_mut(key) else {
            return Some(failed(IoErrorKind::InvalidInput));
        };
        if listener.shut {
            return Some(failed(IoErrorKind::InvalidInput));
        }
        let connection = *listener.ready.front()?;
        let descriptor = match self.open(node, connection) {
            Ok(descriptor) => descriptor,
            Err(kind) => return Some(failed(kind)),
        };
        let listener = self.net.listener_mut(key)?;
        listener.ready.pop_front();
        if let Some(stream) = self.net.stream(connection) {
            // SAFETY: lent until the completion, which this attempt precedes (I-3).
            unsafe { peer.write(stream.remote) };
        }
        Some(Outcome::Opened(descriptor))
    }
}

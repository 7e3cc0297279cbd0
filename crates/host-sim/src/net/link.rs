//! How packets travel: latency, order, cuts.

use fiber_core::{IoErrorKind, request::Interest};

use super::{Socket, stream::Phase};
use crate::{
    arena::Key,
    choices::{self, site},
    events::Event,
    node::Life,
    world::World,
};

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) from: u16,
    pub(crate) to: u16,
}

/// Something on its way from one socket to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) link: Link,
    pub(super) from: Key<Socket>,
    /// For a first packet this is the sender itself: its goal is found at arrival.
    pub(super) to: Key<Socket>,
    pub(super) body: Body,
}

/// What a packet says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    Syn,
    SynAck,
    Refused,
    /// So many bytes, which are in the receiver's buffer already.
    Data(usize),
    /// So many bytes were read.
    Ack(usize),
    Fin,
    Rst,
}

impl World {
    /// Sends a packet to the peer of `from`.
    pub(super) fn packet(&mut self, from: Key<Socket>, body: Body) {
        let Some(node) = self.net.sockets.get(from).map(|socket| socket.node) else {
            return;
        };
        let now = self.now;
        let Some(stream) = self.net.stream(from) else {
            return;
        };
        let link = Link {
            from: node,
            to: stream.peer_node,
        };
        let to = stream.peer.unwrap_or(from);
        let latency = self.latency(link);
        let Some(stream) = self.net.stream_mut(from) else {
            return;
        };
        let at = now.saturating_add(latency).max(stream.last_arrival);
        stream.last_arrival = at;
        let packet = Packet {
            link,
            from,
            to,
            body,
        };
        self.events.push(at, Event::Arrive(packet));
    }

    /// Answers a packet on behalf of a machine that has no socket for it.
    pub(super) fn answer(&mut self, packet: Packet, body: Body) {
        let link = Link {
            from: packet.link.to,
            to: packet.link.from,
        };
        let at = self.now.saturating_add(self.latency(link));
        let answer = Packet {
            link,
            from: packet.to,
            to: packet.from,
            body,
        };
        self.events.push(at, Event::Arrive(answer));
    }

    /// Draws how long a packet takes.
    fn latency(&mut self, link: Link) -> u64 {
        let network = self.config.network;
        let from = self.nodes[usize::from(link.from)].key;
        let to = self.nodes[usize::from(link.to)].key;
        let draw = choices::at(choices::at(site("net.latency"), from), to);
        let bits = self.choices.bits(draw);
        if link.from == link.to {
            let base = choices::nanos(network.loopback);
            return base.saturating_add(choices::scale(bits, base.max(1)));
        }
        let jitter = choices::scale(bits, choices::nanos(network.jitter).max(1));
        let usual = choices::nanos(network.latency).saturating_add(jitter);
        // A second number from the same bits.
        let tail = choices::scramble(bits);
        match network.tail_one_in {
            0 => usual,
            one_in if tail.is_multiple_of(u64::from(one_in)) => {
                usual.saturating_mul(2 + (tail >> 32) % 15)
            }
            _ => usual,
        }
    }

    pub(crate) fn arrive(&mut self, packet: Packet) {
        let link = packet.link;
        let gone = self.nodes[usize::from(link.to)].life == Life::Down;
        if gone || self.net.cut.contains(&link) {
            return self.hold(packet);
        }
        let exists = self.net.sockets.get(packet.to).is_some();
        match packet.body {
            Body::Syn => self.syn_arrived(packet),
            Body::SynAck => self.syn_ack_arrived(packet),
            Body::Refused => self.connect_failed(packet.to, IoErrorKind::ConnectionRefused),
            Body::Data(_) if !exists => self.answer(packet, Body::Rst),
            Body::Data(count) => self.data_arrived(packet.to, count),
            Body::Ack(count) => {
                if let Some(stream) = self.net.stream_mut(packet.to) {
                    stream.outstanding = stream.outstanding.saturating_sub(count);
                    self.pump(packet.to, Interest::Writable);
                }
            }
            Body::Fin => {
                if let Some(stream) = self.net.stream_mut(packet.to) {
                    stream.finished = true;
                    self.pump(packet.to, Interest::Readable);
                }
            }
            Body::Rst => self.broken(packet.to, IoErrorKind::ConnectionReset),
        }
    }

    /// Keeps a packet that cannot arrive: its sender repeats it until it can.
    fn hold(&mut self, packet: Packet) {
        self.net
            .held
            .entry(packet.link)
            .or_default()
            .push_back(packet);
        let now = self.now;
        if let Some(stream) = self.net.stream_mut(packet.from)
            && stream.silent_since.is_none()
        {
            stream.silent_since = Some(now);
            let at = now.saturating_add(choices::nanos(self.config.network.give_up));
            let socket = packet.from;
            self.events.push(at, Event::GiveUp { socket, since: now });
        }
    }

    /// A sender has waited long enough for an answer.
    pub(crate) fn give_up(&mut self, socket: Key<Socket>, since: u64) {
        let silent = self
            .net
            .stream(socket)
            .is_some_and(|stream| stream.silent_since == Some(since));
        if !silent {
            return;
        }
        for held in self.net.held.values_mut() {
            held.retain(|packet| packet.from != socket);
        }
        self.broken(socket, IoErrorKind::TimedOut);
    }

    /// Lets what was held on the links that `healed` names travel on: late, and in order.
    pub(crate) fn release_held(&mut self, healed: impl Fn(Link) -> bool) {
        let links: Vec<Link> = self
            .net
            .held
            .keys()
            .copied()
            .filter(|&l| healed(l))
            .collect();
        for link in links {
            let gone = self.nodes[usize::from(link.to)].life == Life::Down;
            if gone || self.net.cut.contains(&link) {
                continue;
            }
            let draw = choices::at(
                site("net.retransmit"),
                self.nodes[usize::from(link.from)].key,
            );
            let span = self.config.network.retransmit;
            let at = self.now + self.choices.nanos_below(draw, span);
            for packet in self.net.held.remove(&link).unwrap_or_default() {
                let mut arrives = at;
                if let Some(stream) = self.net.stream_mut(packet.from) {
                    stream.silent_since = None;
                    arrives = at.max(stream.last_arrival);
                    stream.last_arrival = arrives;
                }
                self.events.push(arrives, Event::Arrive(packet));
            }
        }
    }

    /// Ends a connection that can go on no more: its requests fail, the next one learns why.
    pub(super) fn broken(&mut self, key: Key<Socket>, kind: IoErrorKind) {
        let Some(stream) = self.net.stream_mut(key) else {
            return;
        };
        match stream.phase {
            Phase::Connecting => {
                let kind = match kind {
                    IoErrorKind::ConnectionReset => IoErrorKind::ConnectionRefused,
                    other => other,
                };
                return self.connect_failed(key, kind);
            }
            Phase::Refused(_) | Phase::Broken => return,
            Phase::Open => {}
        }
        stream.phase = Phase::Broken;
        stream.error = Some(kind);
        self.pump(key, Interest::Readable);
        self.pump(key, Interest::Writable);
    }

    pub(crate) fn cut(&mut self, link: Link) {
        if !self.net.cut.contains(&link) {
            self.net.cut.push(link);
        }
    }

    pub(crate) fn heal(&mut self, healed: impl Fn(Link) -> bool) {
        self.net.cut.retain(|&link| !healed(link));
        self.release_held(healed);
    }

    /// Breaks every connection between two nodes, at both ends.
    pub(crate) fn reset_between(&mut self, a: u16, b: u16) {
        let concerned = self.net.sockets.keys_where(|socket| match &socket.kind {
            super::SocketKind::Stream(stream) => {
                let ends = (socket.node, stream.peer_node);
                stream.phase == Phase::Open && (ends == (a, b) || ends == (b, a))
            }
            super::SocketKind::Listener(_) | super::SocketKind::Signals(_) => false,
        });
        for key in concerned {
            self.broken(key, IoErrorKind::ConnectionReset);
        }
    }
}

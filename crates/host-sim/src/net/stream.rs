//! A connection's end: what has arrived, what may be sent.

use alloc::collections::VecDeque;
use core::{net::SocketAddr, ptr::NonNull};

use fiber_core::{
    IoErrorKind,
    request::{Extent, Lent, LentMut, Outcome, RawDescriptor},
};

use super::{Body, Options, Socket};
use crate::{
    arena::Key,
    choices::{at, site},
    op::{Attempt, Op, done, failed},
    world::World,
};

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) phase: Phase,
    pub(super) peer: Option<Key<Socket>>,
    pub(super) peer_node: u16,
    pub(super) options: Options,
    /// The number that a connect in flight will deliver.
    pub(super) connecting: Option<RawDescriptor>,
    /// The server's end that a connect in flight has brought about.
    pub(super) answered: Option<Key<Socket>>,

    /// Bytes sent to us, in order, of which the first `available` have arrived.
    wire: VecDeque<u8>,
    pub(super) available: usize,
    /// Bytes read of which the sender has not been told.
    unannounced: usize,
    /// The peer's end of stream has arrived.
    pub(super) finished: bool,
    pub(super) read_shut: bool,
    /// To be reported by the next transfer, once.
    pub(super) error: Option<IoErrorKind>,

    /// Bytes sent that the peer is not known to have read.
    pub(super) outstanding: usize,
    pub(super) write_shut: bool,
    /// When our last packet arrives: the next one does not overtake it.
    pub(super) last_arrival: u64,
    /// Since when packets of ours have been held up.
    pub(super) silent_since: Option<u64>,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Open,
    /// It could not be made.
    Refused(IoErrorKind),
    /// It is over, by a reset or because the peer fell silent.
    Broken,
}

impl Stream {
    pub(super) fn new(local: SocketAddr, remote: SocketAddr, peer_node: u16) -> Self {
        Self {
            local,
            remote,
            phase: Phase::Connecting,
            peer: None,
            peer_node,
            options: Options::default(),
            connecting: None,
            answered: None,
            wire: VecDeque::new(),
            available: 0,
            unannounced: 0,
            finished: false,
            read_shut: false,
            error: None,
            outstanding: 0,
            write_shut: false,
            last_arrival: 0,
            silent_since: None,
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        self.available > 0 || self.at_end()
    }

    pub(super) fn is_writable(&self, buffer_bytes: usize) -> bool {
        match self.phase {
            Phase::Connecting => false,
            Phase::Open => self.write_shut || self.outstanding < buffer_bytes,
            Phase::Refused(_) | Phase::Broken => true,
        }
    }

    pub(super) fn peer_address(&self) -> Result<SocketAddr, IoErrorKind> {
        if self.phase == Phase::Open {
            Ok(self.remote)
        } else {
            Err(IoErrorKind::NotConnected)
        }
    }

    /// Nothing will arrive that has not arrived yet.
    fn at_end(&self) -> bool {
        self.finished || self.read_shut || matches!(self.phase, Phase::Refused(_) | Phase::Broken)
    }

    /// Moves arrived bytes into `into`, at most `into.len()`.
    fn take(&mut self, into: LentMut) -> usize {
        let wanted = into.len().min(self.available);
        let (front, back) = self.wire.as_slices();
        let first = front.len().min(wanted);
        // SAFETY: the destination is lent and at least `wanted` bytes long; the source is a
        // buffer of this world, so they cannot overlap (I-3).
        unsafe { into.start().copy_from_nonoverlapping(head_of(front), first) };
        // SAFETY: `first` is inside the lent bytes (I-3).
        let rest = unsafe { into.start().add(first) };
        // SAFETY: as above, for the part behind `first` (I-3).
        unsafe { rest.copy_from_nonoverlapping(head_of(back), wanted - first) };
        self.wire.drain(..wanted);
        self.available -= wanted;
        self.unannounced += wanted;
        wanted
    }
}

fn head_of(bytes: &[u8]) -> NonNull<u8> {
    NonNull::from_ref(bytes).cast()
}

/// The part of `lent` behind its first `skip` bytes, at most `most` bytes.
fn part_of(lent: LentMut, skip: usize, most: usize) -> LentMut {
    let bytes = (lent.len() - skip).min(most);
    // SAFETY: `skip` is at most the length of the lent memory (I-3).
    let start = unsafe { lent.start().add(skip) };
    let slice = NonNull::slice_from_raw_parts(start, bytes);
    // SAFETY: lent to the host alone until the completion, which this attempt precedes (I-3).
    LentMut::new(unsafe { &mut *slice.as_ptr() })
}

impl World {
    pub(super) fn recv(&mut self, op: &mut Op, into: LentMut, extent: Extent) -> Attempt {
        if into.is_empty() {
            return Some(Outcome::Done(0));
        }
        let most = match extent {
            Extent::Some => self.maybe_short(op.socket, into.len()),
            Extent::All => into.len(),
        };
        let Some(stream) = self.net.stream_mut(op.socket) else {
            return Some(failed(IoErrorKind::NotConnected));
        };
        op.moved += stream.take(part_of(into, op.moved, most));
        self.announce(op.socket);
        let enough = match extent {
            Extent::Some => op.moved > 0,
            Extent::All => op.moved == into.len(),
        };
        if enough {
            return Some(done(op.moved));
        }
        self.end_of_reading(op)
    }

    pub(super) fn recv_vectored(
        &mut self,
        op: &mut Op,
        into: NonNull<LentMut>,
        count: u32,
    ) -> Attempt {
        let mut room = false;
        for index in 0..count as usize {
            // SAFETY: `count` buffers are lent, and `index` is below it (I-3).
            let buffer = unsafe { into.add(index) };
            // SAFETY: as above (I-3).
            let buffer = unsafe { buffer.read() };
            room |= !buffer.is_empty();
            let Some(stream) = self.net.stream_mut(op.socket) else {
                return Some(failed(IoErrorKind::NotConnected));
            };
            op.moved += stream.take(buffer);
        }
        self.announce(op.socket);
        if op.moved > 0 || !room {
            return Some(done(op.moved));
        }
        self.end_of_reading(op)
    }

    /// Nothing more is here to read: will there be?
    fn end_of_reading(&mut self, op: &Op) -> Attempt {
        let stream = self.net.stream_mut(op.socket)?;
        match stream.phase {
            Phase::Connecting | Phase::Refused(_) => {
                return Some(failed(IoErrorKind::NotConnected));
            }
            Phase::Open | Phase::Broken => {}
        }
        if op.moved == 0
            && let Some(kind) = stream.error.take()
        {
            return Some(failed(kind));
        }
        stream.at_end().then(|| done(op.moved))
    }

    /// Tells the sender that there is room again, once it is worth a packet.
    fn announce(&mut self, key: Key<Socket>) {
        let worth = self.config.network.buffer_bytes.div_ceil(2);
        let Some(stream) = self.net.stream_mut(key) else {
            return;
        };
        if stream.unannounced >= worth {
            let read = core::mem::take(&mut stream.unannounced);
            self.packet(key, Body::Ack(read));
        }
    }

    pub(super) fn send(&mut self, op: &mut Op, from: Lent, extent: Extent) -> Attempt {
        if let Some(outcome) = self.refuse_sending(op) {
            return Some(outcome);
        }
        if from.is_empty() {
            return Some(Outcome::Done(0));
        }
        let most = match extent {
            Extent::Some => self.maybe_short(op.socket, from.len()),
            Extent::All => from.len(),
        };
        let slice = NonNull::slice_from_raw_parts(from.start(), from.len());
        // SAFETY: lent to be read until the completion, which this attempt precedes (I-3).
        let bytes = unsafe { slice.as_ref() };
        let left = &bytes[op.moved..];
        op.moved += self.put(op.socket, &left[..left.len().min(most)]);
        let enough = match extent {
            Extent::Some => op.moved > 0,
            Extent::All => op.moved == from.len(),
        };
        enough.then(|| done(op.moved))
    }

    pub(super) fn send_vectored(
        &mut self,
        op: &mut Op,
        from: NonNull<Lent>,
        count: u32,
    ) -> Attempt {
        if let Some(outcome) = self.refuse_sending(op) {
            return Some(outcome);
        }
        let mut wanted = 0;
        for index in 0..count as usize {
            // SAFETY: `count` buffers are lent, and `index` is below it (I-3).
            let buffer = unsafe { from.add(index) };
            // SAFETY: as above (I-3).
            let buffer = unsafe { buffer.read() };
            let slice = NonNull::slice_from_raw_parts(buffer.start(), buffer.len());
            // SAFETY: each of them is itself lent to be read (I-3).
            let bytes = unsafe { slice.as_ref() };
            wanted += bytes.len();
            op.moved += self.put(op.socket, bytes);
            if op.moved < wanted {
                break;
            }
        }
        (op.moved > 0 || wanted == 0).then(|| done(op.moved))
    }

    /// Why nothing can be sent, if nothing can.
    fn refuse_sending(&mut self, op: &Op) -> Attempt {
        let Some(stream) = self.net.stream_mut(op.socket) else {
            return Some(failed(IoErrorKind::NotConnected));
        };
        let broken = match stream.phase {
            Phase::Connecting | Phase::Refused(_) => {
                return Some(failed(IoErrorKind::NotConnected));
            }
            Phase::Open => stream.write_shut,
            Phase::Broken => true,
        };
        if !broken {
            return None;
        }
        if op.moved > 0 {
            return Some(done(op.moved));
        }
        let error = stream.error.take().unwrap_or(IoErrorKind::BrokenPipe);
        Some(failed(error))
    }

    /// Puts bytes on the wire, as many as the peer has room for.
    fn put(&mut self, key: Key<Socket>, bytes: &[u8]) -> usize {
        let limit = self.config.network.buffer_bytes;
        let Some(stream) = self.net.stream_mut(key) else {
            return 0;
        };
        let count = bytes.len().min(limit.saturating_sub(stream.outstanding));
        if count == 0 {
            return 0;
        }
        let bytes = &bytes[..count];
        stream.outstanding += count;
        let peer = stream.peer;
        self.choices.journal.fold_bytes(bytes);
        if let Some(peer) = peer.and_then(|peer| self.net.stream_mut(peer)) {
            peer.wire.extend(bytes);
        }
        self.send_in_pieces(key, count);
        count
    }

    /// Lets `count` bytes travel: mostly in one packet, now and then in up to four.
    fn send_in_pieces(&mut self, key: Key<Socket>, count: usize) {
        let mut left = count;
        let draw = self.draw_at(site("net.segment"), key);
        if left > 1
            && self
                .choices
                .one_in(draw, self.config.network.segment_one_in)
        {
            for _ in 0..3 {
                if left > 1 {
                    let piece = 1 + self.choices.index(draw, left - 1);
                    self.packet(key, Body::Data(piece));
                    left -= piece;
                }
            }
        }
        self.packet(key, Body::Data(left));
    }

    /// How many of `bytes` a transfer that may be short is allowed to move.
    fn maybe_short(&mut self, key: Key<Socket>, bytes: usize) -> usize {
        let draw = self.draw_at(site("net.short"), key);
        if bytes > 1 && self.choices.one_in(draw, self.config.network.short_one_in) {
            1 + self.choices.index(draw, bytes.min(4096) - 1)
        } else {
            bytes
        }
    }

    /// The key of a site at the node of `socket`.
    pub(super) fn draw_at(&self, name: u64, socket: Key<Socket>) -> u64 {
        let node = self.net.sockets.get(socket).map_or(0, |socket| socket.node);
        at(name, self.nodes[usize::from(node)].key)
    }

    /// `count` more bytes have arrived.
    pub(super) fn data_arrived(&mut self, key: Key<Socket>, count: usize) {
        if let Some(stream) = self.net.stream_mut(key) {
            if stream.phase == Phase::Open {
                stream.available = (stream.available + count).min(stream.wire.len());
            }
            self.pump(key, fiber_core::request::Interest::Readable);
        }
    }
}

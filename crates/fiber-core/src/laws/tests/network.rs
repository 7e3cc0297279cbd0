//! A network in memory: connections as two queues of bytes.

use alloc::{collections::VecDeque, vec::Vec};
use core::net::SocketAddr;

use super::signals::Signals;
use crate::{
    IoErrorKind,
    request::{End, Interest, RawDescriptor, Shutdown},
};

const ROOM: usize = 64 << 10;

/// An error, or `None` for "not now".
pub(super) type Attempt<T> = Result<T, Option<IoErrorKind>>;

#[derive(Default)]
pub(super) struct Network {
    /// By descriptor; several may name one object.
    table: Vec<Option<usize>>,
    pub(super) objects: Vec<Object>,
    port: u16,
    /// Every signal that was ever raised.
    pub(super) raised: VecDeque<u8>,
}

pub(super) enum Object {
    Free,
    Listener(Listener),
    Stream(Stream),
    Signals(Signals),
}

pub(super) struct Listener {
    at: SocketAddr,
    room: usize,
    waiting: VecDeque<usize>,
}

pub(super) struct Stream {
    local: SocketAddr,
    remote: SocketAddr,
    peer: usize,
    inbox: VecDeque<u8>,
    heard: bool,
    /// Nothing more will come.
    ended: bool,
    /// Nothing more may be sent.
    shut: bool,
    pub(super) no_delay: u32,
}

impl Network {
    fn object(&mut self, descriptor: RawDescriptor) -> Attempt<usize> {
        let object = self.table.get(descriptor.0 as usize).copied().flatten();
        object.ok_or(Some(IoErrorKind::Other))
    }

    pub(super) fn stream(&mut self, descriptor: RawDescriptor) -> Attempt<&mut Stream> {
        let object = self.object(descriptor)?;
        match &mut self.objects[object] {
            Object::Stream(stream) => Ok(stream),
            _ => Err(Some(IoErrorKind::NotConnected)),
        }
    }

    pub(super) fn add(&mut self, object: Object) -> usize {
        self.objects.push(object);
        self.objects.len() - 1
    }

    /// The lowest free number, as operating systems do it.
    pub(super) fn open(&mut self, object: usize) -> RawDescriptor {
        let free = self.table.iter().position(Option::is_none);
        let number = free.unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() - 1
        });
        self.table[number] = Some(object);
        RawDescriptor(u32::try_from(number).unwrap())
    }

    fn fresh_port(&mut self, ip: SocketAddr) -> SocketAddr {
        self.port += 1;
        SocketAddr::new(ip.ip(), 40_000 + self.port)
    }

    fn listener_at(&mut self, at: SocketAddr) -> Option<&mut Listener> {
        self.objects.iter_mut().find_map(|object| match object {
            Object::Listener(listener) if listener.at == at => Some(listener),
            _ => None,
        })
    }

    /// Listens; with `shares`, also where somebody listens already.
    pub(super) fn listen(
        &mut self,
        at: SocketAddr,
        backlog: u32,
        shares: bool,
    ) -> Attempt<RawDescriptor> {
        let at = if at.port() == 0 {
            self.fresh_port(at)
        } else {
            at
        };
        if self.listener_at(at).is_some() && !shares {
            return Err(Some(IoErrorKind::AddrInUse));
        }
        let object = self.add(Object::Listener(Listener {
            at,
            room: backlog as usize,
            waiting: VecDeque::new(),
        }));
        Ok(self.open(object))
    }

    /// Connects; with `forgets`, the listener hears only of the first four that wait.
    pub(super) fn connect(&mut self, to: SocketAddr, forgets: bool) -> Attempt<RawDescriptor> {
        let listener = self
            .listener_at(to)
            .ok_or(Some(IoErrorKind::ConnectionRefused))?;
        if listener.waiting.len() >= listener.room {
            return Err(None);
        }
        let local = self.fresh_port(to);
        let stream = |local, remote, peer| Stream {
            local,
            remote,
            peer,
            inbox: VecDeque::new(),
            heard: false,
            ended: false,
            shut: false,
            no_delay: 0,
        };
        let client = self.objects.len();
        self.add(Object::Stream(stream(local, to, client + 1)));
        self.add(Object::Stream(stream(to, local, client)));
        let waiting = &mut self.listener_at(to).unwrap().waiting;
        if !forgets || waiting.len() < 4 {
            waiting.push_back(client + 1);
        }
        Ok(self.open(client))
    }

    pub(super) fn accept(&mut self, on: RawDescriptor) -> Attempt<(RawDescriptor, SocketAddr)> {
        let object = self.object(on)?;
        let Object::Listener(listener) = &mut self.objects[object] else {
            return Err(Some(IoErrorKind::InvalidInput));
        };
        let stream = listener.waiting.pop_front().ok_or(None)?;
        let server = self.open(stream);
        let peer = self.stream(server)?.remote;
        Ok((server, peer))
    }

    pub(super) fn send(&mut self, on: RawDescriptor, bytes: &[u8]) -> Attempt<usize> {
        let stream = self.stream(on)?;
        if stream.shut {
            return Err(Some(IoErrorKind::BrokenPipe));
        }
        let peer = stream.peer;
        let Object::Stream(peer) = &mut self.objects[peer] else {
            return Err(Some(IoErrorKind::ConnectionReset));
        };
        let len = bytes.len().min(ROOM - peer.inbox.len());
        peer.heard |= len > 0;
        peer.inbox.extend(&bytes[..len]);
        if len == 0 && !bytes.is_empty() {
            return Err(None);
        }
        Ok(len)
    }

    pub(super) fn recv(&mut self, on: RawDescriptor, into: &mut [u8]) -> Attempt<usize> {
        let object = self.object(on)?;
        if let Object::Signals(signals) = &mut self.objects[object] {
            return signals.recv(into);
        }
        let stream = self.stream(on)?;
        let len = into.len().min(stream.inbox.len());
        let taken = stream.inbox.drain(..len);
        taken
            .zip(into.iter_mut())
            .for_each(|(byte, slot)| *slot = byte);
        if len == 0 && !into.is_empty() && !stream.ended {
            return Err(None);
        }
        Ok(len)
    }

    /// Whether it is ready; with `once`, only while nothing was ever sent.
    pub(super) fn is_ready(
        &mut self,
        on: RawDescriptor,
        interest: Interest,
        once: bool,
    ) -> Attempt<()> {
        let object = self.object(on)?;
        let ready = match (&self.objects[object], interest) {
            (Object::Listener(listener), _) => !listener.waiting.is_empty(),
            (Object::Signals(signals), _) => !signals.unread.is_empty(),
            (Object::Stream(stream), Interest::Readable) => {
                stream.ended || !stream.inbox.is_empty()
            }
            (Object::Stream(stream), Interest::Writable) => match &self.objects[stream.peer] {
                Object::Stream(peer) => peer.inbox.len() < ROOM && !(once && peer.heard),
                _ => true,
            },
            (Object::Free, _) => true,
        };
        if ready { Ok(()) } else { Err(None) }
    }

    pub(super) fn shutdown(&mut self, on: RawDescriptor, how: Shutdown) -> Attempt<()> {
        let stream = self.stream(on)?;
        stream.ended |= how != Shutdown::Write;
        stream.shut |= how != Shutdown::Read;
        let (peer, shut) = (stream.peer, stream.shut);
        if let Object::Stream(peer) = &mut self.objects[peer] {
            peer.ended |= shut;
        }
        Ok(())
    }

    pub(super) fn duplicate(&mut self, on: RawDescriptor) -> Attempt<RawDescriptor> {
        let object = self.object(on)?;
        if matches!(self.objects[object], Object::Signals(_)) {
            return Err(Some(IoErrorKind::Unsupported));
        }
        Ok(self.open(object))
    }

    pub(super) fn address(&mut self, on: RawDescriptor, end: End) -> Attempt<SocketAddr> {
        let object = self.object(on)?;
        match (&self.objects[object], end) {
            (Object::Stream(stream), End::Local) => Ok(stream.local),
            (Object::Stream(stream), End::Peer) => Ok(stream.remote),
            (Object::Listener(listener), End::Local) => Ok(listener.at),
            _ => Err(Some(IoErrorKind::NotConnected)),
        }
    }

    /// Closes a descriptor; with `all`, its object even if it has other descriptors; `silent`, so
    /// that the peer does not hear of it; with `forgets`, the bytes on their way are lost.
    pub(super) fn close(
        &mut self,
        on: RawDescriptor,
        all: bool,
        silent: bool,
        forgets: bool,
    ) -> Attempt<()> {
        let object = self.object(on)?;
        self.table[on.0 as usize] = None;
        if self.table.contains(&Some(object)) && !all {
            return Ok(());
        }
        match core::mem::replace(&mut self.objects[object], Object::Free) {
            Object::Stream(Stream { peer, .. }) if forgets => {
                if let Object::Stream(peer) = &mut self.objects[peer] {
                    peer.inbox.clear();
                    peer.ended = true;
                }
            }
            Object::Stream(Stream { peer, .. }) if !silent => self.lose(peer),
            Object::Stream(_) => {}
            Object::Listener(listener) => {
                for stream in listener.waiting {
                    if let Object::Stream(Stream { peer, .. }) = self.objects[stream] {
                        self.lose(peer);
                    }
                }
            }
            Object::Signals(_) | Object::Free => {}
        }
        Ok(())
    }

    fn lose(&mut self, stream: usize) {
        if let Object::Stream(stream) = &mut self.objects[stream] {
            stream.ended = true;
        }
    }
}

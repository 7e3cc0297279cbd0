//! Drives one port by hand, and watches what every law takes for granted: each completion is
//! terminal, belongs to a request in flight, comes once; memory is used within its loan.

extern crate std;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::{mem, net::SocketAddr, time::Duration};

use super::memory::{Memory, Zone};
use crate::{
    IoErrorKind,
    env::{Env, Port, PortConfig, Staged, TryNow, Unpark, Wait, WorkerId},
    request::{
        Completion, End, Extent, Interest, Outcome, RawDescriptor, Request, RequestKind, Token,
    },
};

/// How long a law waits, on the host's clock, for what has to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a law watches that something does not come.
pub(super) const WATCH: Duration = Duration::from_millis(20);

const CHUNK: usize = 64 << 10;

pub(super) struct Rig<'law> {
    pub(super) env: &'law dyn Env,
    pub(super) listen: SocketAddr,
    worker: WorkerId,
    port: Option<Box<dyn Port>>,
    staged: Staged,
    inflight: BTreeMap<Token, (RequestKind, Memory)>,
    ended: BTreeMap<Token, Ended>,
    /// Memory of requests that are over, watched until the port is gone.
    past: Vec<Memory>,
    open: BTreeSet<RawDescriptor>,
    order: Vec<Token>,
    next_slot: u32,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) kind: RequestKind,
    pub(super) outcome: Outcome,
    /// What was received.
    pub(super) bytes: Vec<u8>,
    /// The address that was written.
    pub(super) address: Option<SocketAddr>,
}

/// A connection, both ends on this port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) listener: RawDescriptor,
    pub(super) client: RawDescriptor,
    pub(super) server: RawDescriptor,
}

impl Ended {
    #[track_caller]
    pub(super) fn done(&self) -> usize {
        match self.outcome {
            Outcome::Done(number) => usize::try_from(number).expect("a count of bytes"),
            _ => panic!("{:?} should be done, but is {:?}", self.kind, self.outcome),
        }
    }

    #[track_caller]
    pub(super) fn opened(&self) -> RawDescriptor {
        match self.outcome {
            Outcome::Opened(raw) => raw,
            _ => panic!("{:?} should open, but is {:?}", self.kind, self.outcome),
        }
    }

    pub(super) fn error(&self) -> Option<IoErrorKind> {
        match self.outcome {
            Outcome::Failed(error) => Some(error.kind()),
            _ => None,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.error() == Some(IoErrorKind::Cancelled)
    }
}

impl<'law> Rig<'law> {
    pub(super) fn new(env: &'law dyn Env, worker: WorkerId, listen: SocketAddr) -> Self {
        let port = env
            .open_port(worker, &PortConfig::default())
            .expect("a port can be opened");
        Self {
            env,
            listen,
            worker,
            port: Some(port),
            staged: Staged::new(),
            inflight: BTreeMap::new(),
            ended: BTreeMap::new(),
            past: Vec::new(),
            open: BTreeSet::new(),
            order: Vec::new(),
            next_slot: 0,
        }
    }

    fn port(&mut self) -> &mut dyn Port {
        &mut **self
            .port
            .as_mut()
            .expect("a law uses its port before the end")
    }

    // --- staging ---------------------------------------------------------------------------

    pub(super) fn token(&mut self) -> Token {
        self.next_slot += 1;
        Token::new(self.next_slot, 1)
    }

    /// Stages `request`, whose memory is `memory`.
    fn stage(&mut self, token: Token, request: Request, memory: Memory) -> Token {
        if token == Token::QUIET || request.is_control() {
            self.past.push(memory);
        } else {
            let before = self.inflight.insert(token, (request.kind(), memory));
            assert!(before.is_none(), "a law used {token:?} twice at once");
        }
        // SAFETY: the rig keeps `memory` until the port is gone and does not look at it before
        // the terminal completion of `token` (I-3).
        unsafe { self.staged.push(token, request) };
        token
    }

    /// Stages a request that lends nothing.
    pub(super) fn plain(&mut self, request: Request) -> Token {
        let token = self.token();
        self.plain_as(token, request)
    }

    pub(super) fn plain_as(&mut self, token: Token, request: Request) -> Token {
        assert!(
            !matches!(
                request.kind(),
                RequestKind::Recv
                    | RequestKind::Send
                    | RequestKind::RecvVectored
                    | RequestKind::SendVectored
                    | RequestKind::Accept
                    | RequestKind::Connect
            ),
            "it lends memory"
        );
        self.stage(token, request, Memory::Nothing)
    }

    pub(super) fn ready(&mut self, descriptor: RawDescriptor, interest: Interest) -> Token {
        self.plain(Request::Ready {
            descriptor,
            interest,
        })
    }

    pub(super) fn cancel(&mut self, token: Token) {
        let name = self.token();
        self.plain_as(name, Request::Cancel { token });
    }

    pub(super) fn recv(&mut self, descriptor: RawDescriptor, len: usize, extent: Extent) -> Token {
        let token = self.token();
        self.recv_as(token, descriptor, len, extent)
    }

    pub(super) fn recv_as(
        &mut self,
        token: Token,
        descriptor: RawDescriptor,
        len: usize,
        extent: Extent,
    ) -> Token {
        let mut zone = Zone::empty(len);
        let request = Request::Recv {
            descriptor,
            into: zone.lend_mut(),
            extent,
        };
        self.stage(token, request, Memory::Bytes(alloc::vec![zone]))
    }

    pub(super) fn send(
        &mut self,
        descriptor: RawDescriptor,
        bytes: &[u8],
        extent: Extent,
    ) -> Token {
        let token = self.token();
        let mut zone = Zone::filled(bytes);
        let request = Request::Send {
            descriptor,
            from: zone.lend(),
            extent,
        };
        self.stage(token, request, Memory::Bytes(alloc::vec![zone]))
    }

    pub(super) fn recv_vectored(&mut self, descriptor: RawDescriptor, lens: &[usize]) -> Token {
        let token = self.token();
        let zones = lens.iter().map(|&len| Zone::empty(len)).collect();
        let (memory, into) = Memory::table_mut(zones);
        let count = u32::try_from(lens.len()).expect("a few buffers");
        let request = Request::RecvVectored {
            descriptor,
            into,
            count,
        };
        self.stage(token, request, memory)
    }

    pub(super) fn send_vectored(&mut self, descriptor: RawDescriptor, parts: &[&[u8]]) -> Token {
        let token = self.token();
        let zones = parts.iter().map(|bytes| Zone::filled(bytes)).collect();
        let (memory, from) = Memory::table(zones);
        let count = u32::try_from(parts.len()).expect("a few buffers");
        let request = Request::SendVectored {
            descriptor,
            from,
            count,
        };
        self.stage(token, request, memory)
    }

    pub(super) fn accept(&mut self, descriptor: RawDescriptor) -> Token {
        let token = self.token();
        let (memory, peer) = Memory::address(self.listen);
        self.stage(token, Request::Accept { descriptor, peer }, memory)
    }

    pub(super) fn connect(&mut self, address: SocketAddr) -> Token {
        let token = self.token();
        let (memory, to) = Memory::address(address);
        self.stage(token, Request::Connect { to }, memory)
    }

    // --- turns -----------------------------------------------------------------------------

    /// One turn; how many completions it brought.
    pub(super) fn turn(&mut self, wait: Wait) -> usize {
        let mut out = Vec::new();
        let mut staged = mem::take(&mut self.staged);
        let info = self
            .port()
            .turn(&mut staged, wait, &mut out)
            .expect("the port works");
        assert!(staged.is_empty(), "a turn takes everything that is staged");
        self.staged = staged;
        assert_eq!(
            info.completed as usize,
            out.len(),
            "a turn reports how many completions it appended"
        );
        self.note(&out);
        out.len()
    }

    fn note(&mut self, out: &[Completion]) {
        for completion in out {
            let token = completion.token;
            let Some((kind, mut memory)) = self.inflight.remove(&token) else {
                panic!("a completion for {token:?}, which is not in flight: {completion:?}");
            };
            assert!(
                !completion.more,
                "{kind:?} has one completion, the terminal one"
            );
            let address = memory.read_address();
            let bytes = match completion.outcome {
                Outcome::Done(number) if is_transfer(kind) => {
                    let filled = usize::try_from(number).expect("a count of bytes");
                    memory.end(filled, is_receive(kind))
                }
                Outcome::Failed(error) => {
                    let strict =
                        error.kind() == IoErrorKind::Cancelled && self.env.caps().lossless_cancel;
                    memory.end(0, strict && is_receive(kind))
                }
                _ => Vec::new(),
            };
            self.past.push(memory);
            if let Outcome::Opened(raw) = completion.outcome {
                assert!(self.open.insert(raw), "{raw:?} was opened while it is open");
            }
            let ended = Ended {
                kind,
                outcome: completion.outcome,
                bytes,
                address,
            };
            self.order.push(token);
            self.ended.insert(token, ended);
        }
    }

    /// Turns until `done`; fails when that takes too long on the host's clock.
    #[track_caller]
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let limit = self.env.now() + PATIENCE;
        while !done(self) {
            assert!(self.env.now() < limit, "{what} did not happen in time");
            // Short waits: what is waited for may be the doing of another worker.
            let soon = self.env.now() + Duration::from_millis(1);
            self.turn(Wait::Until(soon.min(limit)));
        }
    }

    /// Turns for a little while, in which nothing has to happen.
    pub(super) fn watch(&mut self) {
        let end = self.env.now() + WATCH;
        loop {
            self.turn(Wait::Until(end));
            if self.env.now() >= end {
                return;
            }
        }
    }

    /// Waits for the completion of `token`.
    #[track_caller]
    pub(super) fn finish(&mut self, token: Token) -> Ended {
        let kind = self.inflight.get(&token).map(|(kind, _)| *kind);
        let limit = self.env.now() + PATIENCE;
        loop {
            if let Some(ended) = self.ended.remove(&token) {
                return ended;
            }
            assert!(
                self.env.now() < limit,
                "the completion of {token:?} ({kind:?}) never came"
            );
            self.turn(Wait::Until(limit));
        }
    }

    pub(super) fn is_pending(&self, token: Token) -> bool {
        self.inflight.contains_key(&token)
    }

    pub(super) fn pending(&self) -> Vec<Token> {
        self.inflight.keys().copied().collect()
    }

    /// Receives what arrives within a little while; `None` when nothing does.
    pub(super) fn recv_or_give_up(&mut self, descriptor: RawDescriptor) -> Option<Vec<u8>> {
        let token = self.recv(descriptor, CHUNK, Extent::Some);
        self.watch();
        self.cancel(token);
        let ended = self.finish(token);
        (!ended.is_cancelled()).then_some(ended.bytes)
    }

    /// Takes the completion of `token` if it is there.
    pub(super) fn take(&mut self, token: Token) -> Option<Ended> {
        self.ended.remove(&token)
    }

    /// The tokens in the order in which they completed.
    pub(super) fn order(&self) -> &[Token] {
        &self.order
    }

    pub(super) fn unparker(&mut self) -> Arc<dyn Unpark> {
        self.port().unparker()
    }

    // --- immediate requests ----------------------------------------------------------------

    pub(super) fn try_now(&mut self, request: &Request) -> TryNow {
        // SAFETY: the callers below pass memory that outlives the call (I-3).
        let answer = unsafe { self.port().try_now(request) };
        if let TryNow::Done(Outcome::Opened(raw)) = answer {
            assert!(self.open.insert(raw), "{raw:?} was opened while it is open");
        }
        answer
    }

    /// An immediate request, which must be answered at once.
    #[track_caller]
    pub(super) fn now(&mut self, request: &Request) -> Outcome {
        match self.try_now(request) {
            TryNow::Done(outcome) => outcome,
            other => panic!("{:?} is immediate, but: {other:?}", request.kind()),
        }
    }

    /// Receives without waiting, if this host can say.
    pub(super) fn recv_now(&mut self, descriptor: RawDescriptor, len: usize) -> (TryNow, Vec<u8>) {
        let mut buffer = alloc::vec![0; len];
        let answer = self.try_now(&Request::Recv {
            descriptor,
            into: crate::request::LentMut::new(&mut buffer),
            extent: Extent::Some,
        });
        if let TryNow::Done(Outcome::Done(number)) = answer {
            buffer.truncate(usize::try_from(number).expect("a count of bytes"));
        }
        (answer, buffer)
    }

    /// Sends without waiting, if this host can say.
    pub(super) fn send_now(&mut self, descriptor: RawDescriptor, bytes: &[u8]) -> TryNow {
        self.try_now(&Request::Send {
            descriptor,
            from: crate::request::Lent::new(bytes),
            extent: Extent::Some,
        })
    }

    pub(super) fn listen_at(&mut self, mut address: SocketAddr, backlog: u32) -> Outcome {
        let at = core::ptr::NonNull::from_mut(&mut address);
        self.now(&Request::Listen { at, backlog })
    }

    /// A new listener and its address.
    #[track_caller]
    pub(super) fn listener(&mut self, backlog: u32) -> (RawDescriptor, SocketAddr) {
        match self.listen_at(self.listen, backlog) {
            Outcome::Opened(raw) => (raw, self.address(raw, End::Local)),
            other => panic!("Listen should open, but: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn address(&mut self, descriptor: RawDescriptor, end: End) -> SocketAddr {
        let mut address = SocketAddr::from(([0, 0, 0, 0], 0));
        let into = core::ptr::NonNull::from_mut(&mut address);
        let outcome = self.now(&Request::Address {
            descriptor,
            end,
            into,
        });
        assert_eq!(outcome, Outcome::Done(0), "a socket has addresses");
        address
    }

    #[track_caller]
    pub(super) fn duplicate(&mut self, descriptor: RawDescriptor) -> RawDescriptor {
        match self.now(&Request::Duplicate { descriptor }) {
            Outcome::Opened(raw) => raw,
            other => panic!("Duplicate should open, but: {other:?}"),
        }
    }

    // --- connections -----------------------------------------------------------------------

    /// A listener and one connection through it.
    #[track_caller]
    pub(super) fn pair(&mut self) -> Pair {
        let (listener, address) = self.listener(16);
        let (client, server) = self.join(listener, address);
        Pair {
            listener,
            client,
            server,
        }
    }

    #[track_caller]
    pub(super) fn join(
        &mut self,
        listener: RawDescriptor,
        address: SocketAddr,
    ) -> (RawDescriptor, RawDescriptor) {
        let (accept, connect) = (self.accept(listener), self.connect(address));
        let client = self.finish(connect).opened();
        let server = self.finish(accept).opened();
        (client, server)
    }

    #[track_caller]
    pub(super) fn close(&mut self, descriptor: RawDescriptor) {
        // Before the request: its number may be opened again as soon as it is closed.
        assert!(self.open.remove(&descriptor), "a law closes what is open");
        let token = self.plain(Request::Close { descriptor });
        assert_eq!(self.finish(token).outcome, Outcome::Done(0), "close works");
    }

    /// Closes without asking whether it worked.
    pub(super) fn close_quietly(&mut self, descriptor: RawDescriptor) {
        assert!(self.open.remove(&descriptor), "a law closes what is open");
        self.plain_as(Token::QUIET, Request::Close { descriptor });
    }

    #[track_caller]
    pub(super) fn close_pair(&mut self, pair: Pair) {
        self.close(pair.client);
        self.close(pair.server);
        self.close(pair.listener);
    }

    #[track_caller]
    pub(super) fn send_all(&mut self, descriptor: RawDescriptor, bytes: &[u8]) {
        let token = self.send(descriptor, bytes, Extent::All);
        assert_eq!(self.finish(token).done(), bytes.len(), "Send All sends all");
    }

    #[track_caller]
    pub(super) fn recv_all(&mut self, descriptor: RawDescriptor, len: usize) -> Vec<u8> {
        let token = self.recv(descriptor, len, Extent::All);
        let ended = self.finish(token);
        assert_eq!(ended.done(), len, "Recv All fills its buffer");
        ended.bytes
    }

    /// Receives up to the end of the stream.
    #[track_caller]
    pub(super) fn recv_to_end(&mut self, descriptor: RawDescriptor) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let token = self.recv(descriptor, CHUNK, Extent::Some);
            let ended = self.finish(token);
            if ended.done() == 0 {
                return bytes;
            }
            bytes.extend(ended.bytes);
        }
    }

    /// Drains the port and takes a fresh one.
    pub(super) fn drain(&mut self) {
        let mut out = Vec::new();
        self.port()
            .drain(PATIENCE, &mut out)
            .expect("drain ends everything");
        self.note(&out);
        let left = self.pending();
        assert!(left.is_empty(), "drain left these in flight: {left:?}");
        self.port = None;
        self.past.iter_mut().for_each(Memory::assert_untouched);
        let port = self.env.open_port(self.worker, &PortConfig::default());
        self.port = Some(port.expect("a worker can open a second port after its first"));
    }

    /// Ends what is left, as a runtime that stops does, and checks that all of it ends.
    pub(super) fn end(mut self) {
        for token in self.pending() {
            self.cancel(token);
        }
        self.until("the end of all that was cancelled", |rig| {
            rig.inflight.is_empty()
        });
        for descriptor in mem::take(&mut self.open) {
            let token = self.plain(Request::Close { descriptor });
            assert_eq!(self.finish(token).outcome, Outcome::Done(0), "close works");
        }
        self.watch();
        self.drain();
        self.port = None;
        mem::take(&mut self.past).into_iter().for_each(Memory::free);
    }
}

const fn is_transfer(kind: RequestKind) -> bool {
    is_receive(kind) || matches!(kind, RequestKind::Send | RequestKind::SendVectored)
}

const fn is_receive(kind: RequestKind) -> bool {
    matches!(kind, RequestKind::Recv | RequestKind::RecvVectored)
}

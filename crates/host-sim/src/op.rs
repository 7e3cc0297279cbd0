//! Requests in flight: submitted, attempted, completed or cancelled.
//!
//! ```text
//!            ┌─ done at once ─────────────────────────────▶ completion
//!  submit ──▶┤
//!            └─ waits in its socket's queue ── pump ──────▶ completion
//!                      └─ cancel arrives, after a drawn delay in which it may still finish
//! ```

use alloc::collections::VecDeque;
use fiber_core::{
    IoError, IoErrorKind,
    env::{StagedRequest, TryNow},
    request::{Completion, Extent, Interest, Outcome, RawDescriptor, Request, Token},
};

use crate::{
    arena::Key,
    choices::{self, site},
    events::Event,
    net::Socket,
    port::PortState,
    world::World,
};

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) port: Key<PortState>,
    token: Token,
    pub(crate) request: Request,
    /// What it waits on.
    pub(crate) socket: Key<Socket>,
    /// Bytes moved so far, by requests that want all.
    pub(crate) moved: usize,
    cancelling: bool,
}

// SAFETY: its pointers name memory that was lent to the host, whatever thread the host runs on,
// until the request's completion is delivered (I-3).
unsafe impl Send for Op {}

/// An attempt's answer: the outcome, or nothing yet.
pub(crate) type Attempt = Option<Outcome>;

pub(crate) fn failed(kind: IoErrorKind) -> Outcome {
    Outcome::Failed(IoError::from(kind))
}

pub(crate) fn done(n: usize) -> Outcome {
    Outcome::Done(n as u64)
}

impl World {
    pub(crate) fn submit(&mut self, port: Key<PortState>, node: u16, staged: StagedRequest) {
        let StagedRequest { token, request, .. } = staged;
        self.choices
            .journal
            .fold(token.to_bits(), request.kind() as u64);
        match request {
            Request::Cancel { token } => self.cancel(port, token),
            Request::CancelAllOn { descriptor } => self.cancel_all_on(port, descriptor),
            Request::Nop => self.finish(port, token, Outcome::Done(0)),
            Request::Close { descriptor } => {
                let outcome = self.close(node, descriptor);
                self.finish(port, token, outcome);
            }
            _ if request.is_immediate() => {
                let outcome = self.immediate(node, &request);
                self.finish(port, token, outcome);
            }
            _ => self.begin(port, node, token, request),
        }
    }

    /// One attempt that leaves nothing behind when it cannot be done.
    pub(crate) fn try_now(&mut self, port: Key<PortState>, node: u16, request: &Request) -> TryNow {
        match request {
            Request::Nop => return TryNow::Done(Outcome::Done(0)),
            Request::Close { descriptor } => return TryNow::Done(self.close(node, *descriptor)),
            Request::Connect { .. } | Request::Cancel { .. } | Request::CancelAllOn { .. } => {
                return TryNow::NotPossible;
            }
            request if request.is_immediate() => {
                return TryNow::Done(self.immediate(node, request));
            }
            _ => {}
        }
        let (Some(descriptor), Some(interest)) = (request.descriptor(), request.direction()) else {
            return TryNow::NotPossible;
        };
        let Some(socket) = self.node(node).descriptors.get(descriptor) else {
            return TryNow::Done(failed(IoErrorKind::InvalidInput));
        };
        let mut op = Op {
            port,
            token: Token::QUIET,
            request: *request,
            socket,
            moved: 0,
            cancelling: false,
        };
        // Those who wait already are served first.
        let queued = self
            .queue(socket, interest)
            .is_some_and(|queue| !queue.is_empty());
        if queued && !matches!(request, Request::Ready { .. }) && !is_nothing(request) {
            return TryNow::WouldBlock(interest);
        }
        let outcome = match self.attempt(&mut op) {
            None if op.moved > 0 => Some(done(op.moved)),
            outcome => outcome,
        };
        self.choices.journal.fold(
            request.kind() as u64,
            outcome.map_or(u64::MAX, crate::port::word_of),
        );
        outcome.map_or(TryNow::WouldBlock(interest), TryNow::Done)
    }

    fn begin(&mut self, port: Key<PortState>, node: u16, token: Token, request: Request) {
        let found = match request {
            Request::Connect { to } => self.connect(node, to),
            _ => request
                .descriptor()
                .and_then(|descriptor| self.node(node).descriptors.get(descriptor))
                .ok_or(IoErrorKind::InvalidInput),
        };
        let (socket, interest) = match (found, request.direction()) {
            (Ok(socket), Some(interest)) => (socket, interest),
            (Ok(_), None) => return self.finish(port, token, failed(IoErrorKind::Unsupported)),
            (Err(kind), _) => return self.finish(port, token, failed(kind)),
        };
        let mut op = Op {
            port,
            token,
            request,
            socket,
            moved: 0,
            cancelling: false,
        };
        let first = self
            .queue(socket, interest)
            .is_none_or(|queue| queue.is_empty());
        if (first || matches!(request, Request::Ready { .. }) || is_nothing(&request))
            && let Some(outcome) = self.attempt(&mut op)
        {
            return self.finish(port, token, outcome);
        }
        if self.poison && op.moved == 0 {
            poison(&request);
        }
        let key = self.ops.insert(op);
        if let Some(queue) = self.queue(socket, interest) {
            queue.push_back(key);
        }
        if let Some(state) = self.ports.get_mut(port) {
            if token == Token::QUIET {
                state.quiet.push(key);
            } else {
                state.tokens.insert(token.to_bits(), key);
            }
        }
    }

    /// Serves a socket's waiting requests, oldest first, for as long as they can be done.
    pub(crate) fn pump(&mut self, socket: Key<Socket>, interest: Interest) {
        // Out of the queue while it is attempted: an attempt may close its own socket.
        while let Some(key) = self.queue(socket, interest).and_then(VecDeque::pop_front) {
            let Some(mut op) = self.ops.get(key).copied() else {
                continue;
            };
            let Some(outcome) = self.attempt(&mut op) else {
                if let Some(waiting) = self.ops.get_mut(key) {
                    waiting.moved = op.moved;
                }
                if let Some(queue) = self.queue(socket, interest) {
                    queue.push_front(key);
                }
                return;
            };
            self.ops.remove(key);
            self.forget_token(&op, key);
            self.finish(op.port, op.token, outcome);
        }
    }

    fn finish(&mut self, port: Key<PortState>, token: Token, outcome: Outcome) {
        if token != Token::QUIET {
            return self.complete(port, Completion::terminal(token, outcome));
        }
        // Nobody will ever learn of a descriptor that a quiet request opened.
        if let Outcome::Opened(descriptor) = outcome
            && let Some(node) = self.ports.get(port).map(|port| port.node)
        {
            let _ = self.close(node, descriptor);
        }
    }

    fn forget_token(&mut self, op: &Op, key: Key<Op>) {
        if let Some(state) = self.ports.get_mut(op.port) {
            if op.token == Token::QUIET {
                state.quiet.retain(|&other| other != key);
            } else {
                state.tokens.remove(&op.token.to_bits());
            }
        }
    }
}

/// Cancelling.
impl World {
    /// A cancel is under way: until it arrives, the request may still finish.
    fn cancel(&mut self, port: Key<PortState>, token: Token) {
        let Some(key) = self
            .ports
            .get(port)
            .and_then(|state| state.tokens.get(&token.to_bits()).copied())
        else {
            return;
        };
        self.cancel_soon(port, key);
    }

    fn cancel_all_on(&mut self, port: Key<PortState>, descriptor: RawDescriptor) {
        let Some(node) = self.ports.get(port).map(|state| state.node) else {
            return;
        };
        let Some(socket) = self.node(node).descriptors.get(descriptor) else {
            return;
        };
        for interest in [Interest::Readable, Interest::Writable] {
            let waiting: Vec<Key<Op>> = self
                .queue(socket, interest)
                .map(|queue| queue.iter().copied().collect())
                .unwrap_or_default();
            for key in waiting {
                let concerned = self.ops.get(key).is_some_and(|op| {
                    op.port == port && op.request.descriptor() == Some(descriptor)
                });
                if concerned {
                    self.cancel_soon(port, key);
                }
            }
        }
    }

    fn cancel_soon(&mut self, port: Key<PortState>, key: Key<Op>) {
        let Some(node) = self.ports.get(port).map(|state| usize::from(state.node)) else {
            return;
        };
        let Some(op) = self.ops.get_mut(key) else {
            return;
        };
        if core::mem::replace(&mut op.cancelling, true) {
            return;
        }
        let draw = choices::at(site("sim.cancel"), self.nodes[node].key);
        let span = self.config.cancel_delay;
        // Half of them take effect at once; the others leave the request time to be faster.
        let delay = if self.choices.one_in(draw, 2) {
            self.choices.nanos_below(draw, span)
        } else {
            0
        };
        if delay == 0 {
            self.cancel_now(key);
        } else {
            self.events
                .push(self.now + delay, Event::Cancel { op: key });
        }
    }

    /// Ends a request that has not finished by itself: with what it moved, or as cancelled.
    pub(crate) fn cancel_now(&mut self, key: Key<Op>) {
        let Some(op) = self.take_op(key) else {
            return;
        };
        self.forget_token(&op, key);
        if matches!(op.request, Request::Connect { .. }) {
            self.abort_connect(op.socket);
        }
        let outcome = if op.moved > 0 {
            done(op.moved)
        } else {
            failed(IoErrorKind::Cancelled)
        };
        self.finish(op.port, op.token, outcome);
    }

    /// Cancels everything that a port has in flight, at once.
    pub(crate) fn cancel_all_of(&mut self, port: Key<PortState>) {
        let Some(state) = self.ports.get(port) else {
            return;
        };
        let all: Vec<Key<Op>> = state.tokens.values().chain(&state.quiet).copied().collect();
        for key in all {
            self.cancel_now(key);
        }
    }

    /// Takes a request out of the table and out of its queue.
    fn take_op(&mut self, key: Key<Op>) -> Option<Op> {
        let op = self.ops.remove(key)?;
        if let Some(interest) = op.request.direction()
            && let Some(queue) = self.queue(op.socket, interest)
        {
            queue.retain(|&other| other != key);
        }
        Some(op)
    }

    /// Ends all requests that wait on a socket which is going away.
    pub(crate) fn fail_waiting(&mut self, socket: Key<Socket>, kind: IoErrorKind) {
        for interest in [Interest::Readable, Interest::Writable] {
            while let Some(key) = self
                .queue(socket, interest)
                .and_then(|queue| queue.pop_front())
            {
                let Some(op) = self.ops.remove(key) else {
                    continue;
                };
                self.forget_token(&op, key);
                self.finish(op.port, op.token, failed(kind));
            }
        }
    }
}

/// A transfer without room or bytes, which waits for nobody.
const fn is_nothing(request: &Request) -> bool {
    match request {
        Request::Recv { into, .. } => into.is_empty(),
        Request::Send { from, .. } => from.is_empty(),
        _ => false,
    }
}

/// Overwrites memory that was lent to be received into: its owner must not look at it before the
/// completion says how much of it holds data.
fn poison(request: &Request) {
    const POISON: u8 = 0xDD;
    if let Request::Recv { into, extent, .. } = request {
        debug_assert!(matches!(extent, Extent::Some | Extent::All), "two extents");
        // SAFETY: the memory is lent to the host, which took the request in this turn and has
        // not completed it (I-3).
        unsafe { into.start().write_bytes(POISON, into.len()) };
    }
}

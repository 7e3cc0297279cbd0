//! Who waits for what, and when the clock jumps.
//!
//! ```text
//! a worker is awake until its turn waits; the last one to wait decides:
//!   somebody is due ──▶ nothing to do, that one is on its way
//!   something will be due ──▶ the clock jumps there, those who are due are woken
//!   nothing ever will ──▶ every waiting turn fails (in a world with outsiders: they sleep on)
//! ```

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::mem;

use super::{parts::ThreadUnpark, signals::Signals};
use crate::{
    env::{Instant, StackClass},
    request::{Completion, Outcome, RawDescriptor, RequestKind, Token},
};

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) asked: Vec<RequestKind>,
    /// Answers that tests have prepared, each for one request.
    pub(super) answers: Vec<(RequestKind, Outcome)>,
    pub(super) signals: Signals,
    /// How many random numbers were drawn.
    pub(super) drawn: u64,
    /// Workers that run and do not wait.
    awake: i32,
    outsiders: bool,
    /// Stacks in use, by class.
    pub(super) stacks: [usize; StackClass::ALL.len()],
    /// Those of abandoned fibers.
    pub(super) leaked: [usize; StackClass::ALL.len()],
    /// By port number; `None` once a port is gone.
    ports: Vec<Option<PortState>>,
}

pub(super) struct PortState {
    pub(super) unpark: Arc<ThreadUnpark>,
    pub(super) inflight: Vec<InFlight>,
    pub(super) done: VecDeque<Completion>,
    /// Until when its turn waits, while it does.
    waits: Option<Instant>,
    stuck: bool,
    /// Something may be there to read that was not when it looked.
    again: bool,
}

/// A request that has not ended.
pub(super) struct InFlight {
    pub(super) token: Token,
    pub(super) kind: RequestKind,
    pub(super) descriptor: Option<RawDescriptor>,
    /// When and how it ends by itself.
    pub(super) end: Option<(Instant, Outcome)>,
}

impl World {
    pub(super) const fn new(outsiders: bool) -> Self {
        Self {
            now: Instant::ORIGIN,
            asked: Vec::new(),
            answers: Vec::new(),
            signals: Signals::new(),
            drawn: 0,
            awake: 0,
            outsiders,
            stacks: [0; StackClass::ALL.len()],
            leaked: [0; StackClass::ALL.len()],
            ports: Vec::new(),
        }
    }

    pub(super) fn open(&mut self) -> usize {
        self.ports.push(Some(PortState {
            unpark: Arc::new(ThreadUnpark::of_this_thread()),
            inflight: Vec::new(),
            done: VecDeque::new(),
            waits: None,
            stuck: false,
            again: false,
        }));
        self.ports.len() - 1
    }

    pub(super) fn close(&mut self, port: usize) {
        self.ports[port] = None;
    }

    pub(super) fn port(&mut self, port: usize) -> &mut PortState {
        self.ports[port]
            .as_mut()
            .expect("only its owner closes a port")
    }

    pub(super) fn take_answer(&mut self, kind: RequestKind) -> Option<Outcome> {
        let position = self.answers.iter().position(|(of, _)| *of == kind)?;
        Some(self.answers.remove(position).1)
    }

    pub(super) fn complete(&mut self, kind: RequestKind, outcome: Outcome) -> bool {
        for port in self.ports.iter_mut().flatten() {
            if let Some(index) = port
                .inflight
                .iter()
                .position(|request| request.kind == kind)
            {
                port.end(index, outcome);
                port.unpark.wake();
                return true;
            }
        }
        false
    }

    /// Has the ports that read from one of `descriptors` try again.
    pub(super) fn look_again(&mut self, descriptors: &[RawDescriptor]) {
        for port in self.ports.iter_mut().flatten() {
            let reads = |request: &InFlight| {
                matches!(request.kind, RequestKind::Recv | RequestKind::Ready)
                    && request
                        .descriptor
                        .is_some_and(|on| descriptors.contains(&on))
            };
            if port.inflight.iter().any(reads) {
                port.again = true;
                port.unpark.wake();
            }
        }
    }

    /// Workers start (`+n`) or end (`-1`).
    pub(super) fn wake_count(&mut self, change: i32) {
        self.awake += change;
        self.settle();
    }

    /// Port `port` begins to wait.
    pub(super) fn wait(&mut self, port: usize, until: Instant) {
        self.port(port).waits = Some(until);
        self.wake_count(-1);
    }

    /// Whether port `port` has waited enough: `Err` when it would wait for ever.
    pub(super) fn end_wait(&mut self, port: usize) -> Option<Result<(), ()>> {
        let now = self.now;
        let state = self.port(port);
        if !state.stuck && !state.is_due(now) {
            return None;
        }
        state.waits = None;
        let stuck = mem::take(&mut state.stuck) && !state.is_due(now);
        self.awake += 1;
        Some(if stuck { Err(()) } else { Ok(()) })
    }

    fn settle(&mut self) {
        let now = self.now;
        let mut waiting = self
            .ports
            .iter_mut()
            .flatten()
            .filter(|port| port.waits.is_some());
        if self.awake > 0 || waiting.any(|port| port.stuck || port.is_due(now)) {
            return;
        }
        let next = self.ports.iter().flatten().map(PortState::next_due).min();
        match next {
            None => {}
            Some(Instant::NEVER) if self.outsiders => {}
            Some(Instant::NEVER) => {
                for port in self.ports.iter_mut().flatten() {
                    port.stuck = port.waits.is_some();
                    port.unpark.wake();
                }
            }
            Some(next) => {
                self.now = next;
                for port in self.ports.iter().flatten().filter(|port| port.is_due(next)) {
                    port.unpark.wake();
                }
            }
        }
    }
}

impl PortState {
    /// Whether to try reads again, asked once.
    pub(super) fn looks_again(&mut self) -> bool {
        mem::take(&mut self.again)
    }

    /// Moves what the clock has reached to `done`, in the order of its moments.
    pub(super) fn ripen(&mut self, now: Instant) {
        while let Some((index, outcome)) = self.first_due(now) {
            self.end(index, outcome);
        }
    }

    /// Ends the request at `index` of `inflight`.
    pub(super) fn end(&mut self, index: usize, outcome: Outcome) {
        let token = self.inflight.remove(index).token;
        self.deliver(token, outcome);
    }

    pub(super) fn deliver(&mut self, token: Token, outcome: Outcome) {
        if token != Token::QUIET {
            self.done.push_back(Completion::terminal(token, outcome));
        }
    }

    fn first_due(&self, now: Instant) -> Option<(usize, Outcome)> {
        let due = |(index, request): (usize, &InFlight)| {
            let (at, outcome) = request.end.filter(|(at, _)| *at <= now)?;
            Some((at, index, outcome))
        };
        let first = self
            .inflight
            .iter()
            .enumerate()
            .filter_map(due)
            .min_by_key(|due| due.0)?;
        Some((first.1, first.2))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.unpark.is_set() || self.again || !self.done.is_empty() || self.next_due() <= now
    }

    /// The moment at which its wait ends by itself.
    fn next_due(&self) -> Instant {
        let ends = self
            .inflight
            .iter()
            .filter_map(|request| Some(request.end?.0));
        let until = self.waits.unwrap_or(Instant::NEVER);
        ends.fold(until, Instant::min)
    }
}

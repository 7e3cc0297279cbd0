//! Completions as such: exactly one for each request, however many there are.

use alloc::{collections::VecDeque, vec::Vec};

use super::{
    bench::{Bench, NETWORK},
    rig::{Pair, Rig},
    transfers::pattern,
};
use crate::{
    env::Wait,
    request::{Extent, Interest, Outcome, RawDescriptor, Request, RequestKind, Token},
};

const MANY: usize = 2000;

pub(super) fn quiet_and_control_requests_have_no_completion(bench: &Bench<'_>) {
    bench.port(&[&[RequestKind::Nop]], |rig| {
        for _ in 0..20 {
            rig.plain_as(Token::QUIET, Request::Nop);
            rig.cancel(Token::new(1 << 20, 1));
            rig.plain(Request::CancelAllOn {
                descriptor: RawDescriptor(i32::MAX.cast_unsigned()),
            });
        }
        let token = rig.plain(Request::Nop);
        rig.finish(token);
        rig.watch();
    });
}

pub(super) fn a_quiet_close_closes(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.client, 8, Extent::Some);
        rig.close_quietly(pair.server);
        assert_eq!(rig.finish(token).done(), 0, "the end of the stream");
    });
}

pub(super) fn more_requests_than_a_queue_holds_all_complete(bench: &Bench<'_>) {
    bench.port(&[&[RequestKind::Nop]], |rig| {
        for _ in 0..3 {
            let tokens: Vec<Token> = (0..MANY).map(|_| rig.plain(Request::Nop)).collect();
            for token in tokens {
                assert_eq!(rig.finish(token).outcome, Outcome::Done(0));
            }
        }
    });
}

pub(super) fn more_waiters_than_a_queue_holds_all_complete(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Ready]], |rig| {
        let pair = rig.pair();
        let tokens: Vec<Token> = (0..MANY)
            .map(|_| rig.ready(pair.server, Interest::Readable))
            .collect();
        rig.watch();
        assert_eq!(rig.pending().len(), MANY, "nothing was sent");
        // A control request does not wait behind them.
        rig.cancel(tokens[MANY - 1]);
        assert!(
            rig.finish(tokens[MANY - 1]).is_cancelled(),
            "nothing was sent"
        );
        rig.send_all(pair.client, b"all");
        for &token in &tokens[..MANY - 1] {
            assert_eq!(rig.finish(token).outcome, Outcome::Done(0));
        }
    });
}

pub(super) fn thousands_of_waiters_can_be_cancelled_at_once(bench: &Bench<'_>) {
    let more = &[RequestKind::Ready, RequestKind::CancelAllOn];
    bench.port(&[NETWORK, more], |rig| {
        let pair = rig.pair();
        let descriptor = pair.server;
        let tokens: Vec<Token> = (0..MANY)
            .map(|_| rig.ready(descriptor, Interest::Readable))
            .collect();
        rig.turn(Wait::No);
        rig.plain(Request::CancelAllOn { descriptor });
        for token in tokens {
            assert!(rig.finish(token).is_cancelled(), "nothing was sent");
        }
    });
}

pub(super) fn drain_ends_everything_in_flight(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (one, two) = (rig.pair(), rig.pair());
        let mut tokens = alloc::vec![
            rig.recv(one.server, 64, Extent::Some),
            rig.recv(one.client, 64, Extent::All),
            rig.accept(one.listener),
            rig.send(two.client, &pattern(0, 8 << 20), Extent::All),
        ];
        if rig.env.caps().has(RequestKind::Ready) {
            tokens.extend((0..100).map(|_| rig.ready(two.client, Interest::Readable)));
        }
        rig.watch();
        rig.drain();
        for (index, token) in tokens.into_iter().enumerate() {
            let ended = rig.finish(token);
            let is_send = index == 3;
            assert!(
                is_send || ended.is_cancelled(),
                "drain ended it with {:?}",
                ended.outcome
            );
        }
        rig.drain();
    });
}

pub(super) fn a_storm_brings_one_completion_each_and_loses_no_byte(bench: &Bench<'_>) {
    for seed in 1..=4 {
        bench.port(&[NETWORK], |rig| {
            let mut storm = Storm::new(rig, seed);
            for _ in 0..600 {
                storm.step(rig);
            }
            storm.calm_down(rig);
        });
    }
}

/// Random requests, cancels and turns on a few connections, with an account of every byte.
struct Storm {
    random: u64,
    flows: Vec<Flow>,
    listener: RawDescriptor,
    others: Vec<Token>,
    past: VecDeque<Token>,
}

/// One direction of one connection.
struct Flow {
    from: RawDescriptor,
    into: RawDescriptor,
    send: Option<Token>,
    recv: Option<Token>,
    sent: usize,
    received: usize,
}

impl Storm {
    fn new(rig: &mut Rig<'_>, seed: u64) -> Self {
        let pairs: Vec<Pair> = (0..3).map(|_| rig.pair()).collect();
        let flow = |from, into| Flow {
            from,
            into,
            send: None,
            recv: None,
            sent: 0,
            received: 0,
        };
        let both = |pair: &Pair| {
            [
                flow(pair.client, pair.server),
                flow(pair.server, pair.client),
            ]
        };
        Self {
            random: seed,
            flows: pairs.iter().flat_map(both).collect(),
            listener: pairs[0].listener,
            others: Vec::new(),
            past: VecDeque::new(),
        }
    }

    /// A number below `n` (xorshift64, Marsaglia 2003).
    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).expect("31 bits") % n
    }

    fn step(&mut self, rig: &mut Rig<'_>) {
        let (at, len) = (self.below(self.flows.len()), 1 + self.below(5000));
        match self.below(12) {
            0..=2 => self.flows[at].start_send(rig, len),
            3..=5 => {
                let extent = [Extent::Some, Extent::All][self.below(2)];
                self.flows[at].start_recv(rig, len, extent);
            }
            6 => self.start_other(rig),
            7 | 8 => self.cancel(rig),
            9 => {
                let flow = &self.flows[at];
                let old = self.past.front().copied().unwrap_or(Token::QUIET);
                rig.cancel(old);
                if rig.env.caps().has(RequestKind::CancelAllOn) {
                    let descriptor = flow.into;
                    rig.plain(Request::CancelAllOn { descriptor });
                }
            }
            10 => {
                let soon = rig.env.now() + core::time::Duration::from_micros(200);
                rig.turn(Wait::Until(soon));
            }
            _ => {
                rig.turn(Wait::No);
            }
        }
        self.collect(rig);
    }

    fn start_other(&mut self, rig: &mut Rig<'_>) {
        let flow = self.below(self.flows.len());
        let descriptor = self.flows[flow].into;
        let token = match self.below(3) {
            0 if rig.env.caps().has(RequestKind::Ready) => {
                rig.ready(descriptor, Interest::Readable)
            }
            1 => rig.accept(self.listener),
            _ if rig.env.caps().has(RequestKind::Nop) => rig.plain(Request::Nop),
            _ => return,
        };
        self.others.push(token);
    }

    fn cancel(&mut self, rig: &mut Rig<'_>) {
        let pending = rig.pending();
        if !pending.is_empty() {
            let victim = pending[self.below(pending.len())];
            rig.cancel(victim);
        }
    }

    fn collect(&mut self, rig: &mut Rig<'_>) {
        for flow in &mut self.flows {
            self.past.extend(flow.collect(rig));
        }
        let past = &mut self.past;
        self.others.retain(|&token| match rig.take(token) {
            Some(_) => {
                past.push_back(token);
                false
            }
            None => true,
        });
        self.past.truncate(8);
    }

    /// Lets everything come to its end: all that was sent is received.
    fn calm_down(mut self, rig: &mut Rig<'_>) {
        if !rig.env.caps().lossless_cancel {
            return;
        }
        rig.until("the end of the storm", |rig| {
            self.collect(rig);
            let mut open = false;
            for flow in &mut self.flows {
                let over = flow.send.is_none() && flow.received >= flow.sent;
                match flow.recv {
                    // What it waits for will never come.
                    Some(recv) if over => rig.cancel(recv),
                    None if !over => flow.start_recv(rig, 8192, Extent::Some),
                    _ => {}
                }
                open |= !over || flow.recv.is_some();
            }
            !open
        });
        for flow in &self.flows {
            assert_eq!(flow.received, flow.sent, "bytes were lost or made up");
        }
    }
}

impl Flow {
    fn start_send(&mut self, rig: &mut Rig<'_>, len: usize) {
        if self.send.is_none() {
            let bytes = pattern(self.sent, len);
            self.send = Some(rig.send(self.from, &bytes, Extent::All));
        }
    }

    fn start_recv(&mut self, rig: &mut Rig<'_>, len: usize, extent: Extent) {
        if self.recv.is_none() {
            self.recv = Some(rig.recv(self.into, len, extent));
        }
    }

    /// Accounts for what has completed.
    fn collect(&mut self, rig: &mut Rig<'_>) -> Vec<Token> {
        let mut past = Vec::new();
        if let Some(ended) = self.send.and_then(|token| rig.take(token)) {
            past.extend(self.send.take());
            self.sent += if ended.is_cancelled() {
                0
            } else {
                ended.done()
            };
        }
        if let Some(ended) = self.recv.and_then(|token| rig.take(token)) {
            past.extend(self.recv.take());
            if !ended.is_cancelled() {
                assert!(ended.done() > 0, "a stream ended that nobody has closed");
                let fitting = !rig.env.caps().lossless_cancel
                    || ended.bytes == pattern(self.received, ended.bytes.len());
                assert!(
                    fitting,
                    "bytes were lost or mixed up after {}",
                    self.received
                );
                self.received += ended.bytes.len();
            }
        }
        past
    }
}

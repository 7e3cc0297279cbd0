//! Drives a port by hand: blocking calls for tests that know no scheduler.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]
#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

use core::{net::SocketAddr, ptr::NonNull, time::Duration};

use fiber_core::{
    IoErrorKind,
    env::{AfterWork, Env, Instant, Port, PortConfig, SharedEnv, Staged, TryNow, Wait, WorkerId},
    request::{
        Completion, Extent, Lent, LentMut, Outcome, RawDescriptor, Request, Shutdown, Token,
    },
};

/// A worker's port, used by one blocking call at a time.
pub struct Hand<'env> {
    pub env: &'env dyn Env,
    port: Box<dyn Port>,
    next: u32,
}

/// Runs `body` on a node's only worker.
pub fn alone(env: &SharedEnv, body: impl Fn(&mut Hand<'_>) + Sync) {
    workers(env, 1, |hand, _| body(hand));
}

/// Runs `body` on `n` workers of a node.
pub fn workers(env: &SharedEnv, n: u16, body: impl Fn(&mut Hand<'_>, WorkerId) + Sync) {
    env.run(n, &|worker| {
        let port = env.open_port(worker, &PortConfig::default()).unwrap();
        let mut hand = Hand {
            env: &**env,
            port,
            next: 0,
        };
        body(&mut hand, worker);
        AfterWork::Free
    })
    .unwrap();
}

impl Hand<'_> {
    /// One request and its outcome; the wait has no bound.
    fn one(&mut self, request: Request) -> Outcome {
        self.one_until(request, None)
            .expect("the wait has no bound")
    }

    /// One request; cancelled at `deadline`, when it answers `None`.
    fn one_until(&mut self, request: Request, deadline: Option<Instant>) -> Option<Outcome> {
        let token = Token::new(self.next, 1);
        self.next += 1;
        let mut staged = Staged::new();
        let mut out: Vec<Completion> = Vec::new();
        // SAFETY: this call returns only after the terminal completion (I-3).
        unsafe { staged.push(token, request) };
        let mut wait = deadline.map_or(Wait::Forever, Wait::Until);
        loop {
            self.port.turn(&mut staged, wait, &mut out).unwrap();
            if let Some(completion) = out.pop() {
                assert_eq!(completion.token, token);
                let cancelled = Outcome::Failed(IoErrorKind::Cancelled.into());
                return (completion.outcome != cancelled).then_some(completion.outcome);
            }
            if deadline.is_some_and(|deadline| self.env.now() >= deadline) {
                // SAFETY: a cancel lends nothing (I-3).
                unsafe { staged.push(Token::QUIET, Request::Cancel { token }) };
                wait = Wait::Forever;
            }
        }
    }

    fn now(&mut self, request: Request) -> Outcome {
        // SAFETY: what the request names lives in the caller's frame (I-3).
        match unsafe { self.port.try_now(&request) } {
            TryNow::Done(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub fn listen(&mut self, at: &str) -> Result<RawDescriptor, IoErrorKind> {
        let mut at: SocketAddr = at.parse().unwrap();
        let at = NonNull::from_mut(&mut at);
        opened(self.now(Request::Listen { at, backlog: 4 }))
    }

    pub fn accept(&mut self, descriptor: RawDescriptor) -> Result<RawDescriptor, IoErrorKind> {
        let mut peer: SocketAddr = ([0, 0, 0, 0], 0).into();
        let peer = NonNull::from_mut(&mut peer);
        opened(self.one(Request::Accept { descriptor, peer }))
    }

    pub fn connect(&mut self, to: &str) -> Result<RawDescriptor, IoErrorKind> {
        let mut to: SocketAddr = to.parse().unwrap();
        let to = NonNull::from_mut(&mut to);
        opened(self.one(Request::Connect { to }))
    }

    pub fn send(&mut self, descriptor: RawDescriptor, bytes: &[u8]) -> Result<u64, IoErrorKind> {
        let (from, extent) = (Lent::new(bytes), Extent::All);
        done(self.one(Request::Send {
            descriptor,
            from,
            extent,
        }))
    }

    pub fn recv(&mut self, descriptor: RawDescriptor) -> Result<Vec<u8>, IoErrorKind> {
        self.recv_within(descriptor, None)
            .expect("the wait has no bound")
    }

    /// `None` when nothing came in time.
    pub fn recv_within(
        &mut self,
        descriptor: RawDescriptor,
        span: Option<Duration>,
    ) -> Option<Result<Vec<u8>, IoErrorKind>> {
        let mut bytes = vec![0; 256];
        let (into, extent) = (LentMut::new(&mut bytes), Extent::Some);
        let deadline = span.map(|span| self.env.now() + span);
        let request = Request::Recv {
            descriptor,
            into,
            extent,
        };
        let count = done(self.one_until(request, deadline)?);
        Some(count.map(|count| {
            bytes.truncate(usize::try_from(count).unwrap());
            bytes
        }))
    }

    /// Receives exactly `len` bytes, less at the end of the stream.
    pub fn recv_all(
        &mut self,
        descriptor: RawDescriptor,
        len: usize,
    ) -> Result<Vec<u8>, IoErrorKind> {
        let mut bytes = vec![0; len];
        let (into, extent) = (LentMut::new(&mut bytes), Extent::All);
        let count = done(self.one(Request::Recv {
            descriptor,
            into,
            extent,
        }))?;
        bytes.truncate(usize::try_from(count).unwrap());
        Ok(bytes)
    }

    pub fn shutdown(
        &mut self,
        descriptor: RawDescriptor,
        how: Shutdown,
    ) -> Result<u64, IoErrorKind> {
        done(self.now(Request::Shutdown { descriptor, how }))
    }

    pub fn duplicate(&mut self, descriptor: RawDescriptor) -> Result<RawDescriptor, IoErrorKind> {
        opened(self.now(Request::Duplicate { descriptor }))
    }

    pub fn close(&mut self, descriptor: RawDescriptor) {
        assert_eq!(self.one(Request::Close { descriptor }), Outcome::Done(0));
    }

    pub fn sleep(&mut self, span: Duration) {
        let until = self.env.now() + span;
        while self.env.now() < until {
            let (mut staged, mut out) = (Staged::new(), Vec::new());
            self.port
                .turn(&mut staged, Wait::Until(until), &mut out)
                .unwrap();
            assert!(out.is_empty());
        }
    }

    /// One turn that does not wait.
    pub fn yield_now(&mut self) {
        let (mut staged, mut out) = (Staged::new(), Vec::new());
        self.port.turn(&mut staged, Wait::No, &mut out).unwrap();
    }

    /// Waits for nothing in particular, for ever.
    pub fn wait_forever(&mut self) {
        let (mut staged, mut out) = (Staged::new(), Vec::new());
        self.port
            .turn(&mut staged, Wait::Forever, &mut out)
            .unwrap();
    }

    /// Connects, however often it takes.
    pub fn connect_at_last(&mut self, to: &str) -> RawDescriptor {
        loop {
            match self.connect(to) {
                Ok(connection) => return connection,
                Err(_) => self.sleep(Duration::from_millis(10)),
            }
        }
    }
}

fn opened(outcome: Outcome) -> Result<RawDescriptor, IoErrorKind> {
    match outcome {
        Outcome::Opened(descriptor) => Ok(descriptor),
        Outcome::Failed(error) => Err(error.kind()),
        Outcome::Done(_) => panic!("it should have opened something"),
    }
}

fn done(outcome: Outcome) -> Result<u64, IoErrorKind> {
    match outcome {
        Outcome::Done(count) => Ok(count),
        Outcome::Failed(error) => Err(error.kind()),
        Outcome::Opened(_) => panic!("it should not have opened anything"),
    }
}

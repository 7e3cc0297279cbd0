//! Drives one port by hand, for what the general laws do not look at.

extern crate alloc;

use alloc::sync::Arc;
use core::{
    net::{Ipv4Addr, SocketAddr},
    ptr::NonNull,
    time::Duration,
};

use fiber_core::{
    env::{Env, Port, PortConfig, Staged, TryNow, TurnInfo, Wait, WorkerId},
    request::{Completion, End, Extent, Lent, LentMut, Outcome, RawDescriptor, Request, Token},
};
use host_linux::{Config, Io, Linux};

/// A host on io_uring.
pub(crate) fn ring() -> Arc<Linux> {
    Linux::new(Config::default().io(Io::Ring)).expect("a ring")
}

/// A host on epoll.
pub(crate) fn poll() -> Arc<Linux> {
    Linux::new(Config::default().io(Io::Poll)).expect("a poller")
}

/// A port and what goes through it.
pub(crate) struct Rig {
    port: Box<dyn Port>,
    staged: Staged,
    pub(crate) out: Vec<Completion>,
    next: u32,
}

impl Rig {
    pub(crate) fn new(env: &dyn Env) -> Self {
        let port = env.open_port(WorkerId(0), &PortConfig::default());
        Self {
            port: port.expect("a port"),
            staged: Staged::new(),
            out: Vec::with_capacity(64),
            next: 0,
        }
    }

    /// Stages a request whose memory lives as long as the program, or until its completion.
    pub(crate) fn stage(&mut self, request: Request) -> Token {
        self.next += 1;
        let token = Token::new(self.next % 64, self.next);
        // SAFETY: the tests lend leaked memory, or memory that outlives the wait (I-3).
        unsafe { self.staged.push(token, request) };
        token
    }

    pub(crate) fn turn(&mut self, wait: Wait) -> TurnInfo {
        let turned = self.port.turn(&mut self.staged, wait, &mut self.out);
        turned.expect("the port works")
    }

    /// Turns until this request is over.
    pub(crate) fn finish(&mut self, token: Token) -> Outcome {
        loop {
            let found = self.out.iter().position(|end| end.token == token);
            if let Some(index) = found {
                return self.out.swap_remove(index).outcome;
            }
            self.turn(Wait::Forever);
        }
    }

    pub(crate) fn now(&mut self, request: &Request) -> TryNow {
        // SAFETY: the tests' memory outlives the call (I-3).
        unsafe { self.port.try_now(request) }
    }

    pub(crate) fn drain(&mut self) {
        let drained = self.port.drain(Duration::from_secs(5), &mut self.out);
        drained.expect("sockets can be cancelled");
    }

    pub(crate) fn listen(&mut self) -> (RawDescriptor, SocketAddr) {
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = self.now(&Request::Listen {
            at: NonNull::from_ref(&address),
            backlog: 16,
        });
        let listener = opened(&listener);
        self.now(&Request::Address {
            descriptor: listener,
            end: End::Local,
            into: NonNull::from_mut(&mut address),
        });
        (listener, address)
    }

    /// Both ends of a new connection.
    pub(crate) fn pair(&mut self) -> (RawDescriptor, RawDescriptor) {
        let (listener, to) = self.listen();
        let mut peer = to;
        let accept = self.stage(Request::Accept {
            descriptor: listener,
            peer: NonNull::from_mut(&mut peer),
        });
        let connect = self.stage(Request::Connect {
            to: NonNull::from_ref(&to),
        });
        let client = self.finish(connect);
        let server = self.finish(accept);
        self.close(listener);
        match (client, server) {
            (Outcome::Opened(client), Outcome::Opened(server)) => (client, server),
            other => panic!("no connection: {other:?}"),
        }
    }

    pub(crate) fn close(&mut self, descriptor: RawDescriptor) {
        let token = self.stage(Request::Close { descriptor });
        assert_eq!(self.finish(token), Outcome::Done(0));
    }

    pub(crate) fn recv(&mut self, descriptor: RawDescriptor, into: &'static mut [u8]) -> Token {
        self.stage(Request::Recv {
            descriptor,
            into: LentMut::new(into),
            extent: Extent::Some,
        })
    }

    pub(crate) fn send(&mut self, descriptor: RawDescriptor, from: &'static [u8]) -> Token {
        self.stage(Request::Send {
            descriptor,
            from: Lent::new(from),
            extent: Extent::All,
        })
    }
}

/// Memory that may be lent for ever.
pub(crate) fn leaked(bytes: usize) -> &'static mut [u8] {
    Box::leak(vec![0; bytes].into_boxed_slice())
}

pub(crate) fn opened(answer: &TryNow) -> RawDescriptor {
    match answer {
        TryNow::Done(Outcome::Opened(descriptor)) => *descriptor,
        other => panic!("nothing was opened: {other:?}"),
    }
}

//! The epoll driver: what is ready, for the core's shim to build on.
//!
//! Each worker has a poller of its own, edge-triggered. A descriptor is registered once, in both
//! directions, by the first request that has to wait; after that waiting costs no system call.
//!
//! A stream that gave fewer bytes than there was room for is empty, and whatever comes is an event
//! of its own; so the next request that may wait for some waits for that one, without a call that
//! would find nothing. Once an event has told of more than bytes (the end of the stream, an error,
//! urgent bytes) every receive asks the system: what was told then is not told again.
//!
//! Descriptor numbers are reused, also behind a poller's back when another worker closes one: one
//! of another host perhaps, for the numbers are the process's. So every close is counted, per
//! number and for the whole process, and a registration is good only as long as the count stands.

extern crate alloc;

use alloc::sync::Arc;
use core::{
    iter,
    net::SocketAddr,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};
use std::sync::OnceLock;

use fiber_core::{
    IoError,
    before_io::{AfterOverBefore, Attempt, BeforeIo, Event, Polled},
    env::{EnvError, HostFault, Instant, TryNow, Unpark, Wait},
    request::{Interest, Outcome, RawDescriptor, Request},
};

use crate::{
    clock,
    errno::Errno,
    immediate,
    sys::{
        epoll::{Epoll, Events},
        event,
        socket::{self, Blocking, fd},
    },
    wake::Wake,
};

/// Opens one worker's port.
pub(crate) fn open() -> Result<AfterOverBefore<PollPort>, EnvError> {
    POLLING.store(true, Ordering::Relaxed);
    let remedy = "raise `ulimit -n`, or close some descriptors";
    let failed = |call, remedy| move |errno: Errno| EnvError::new(call, errno.0, remedy);
    let epoll = Epoll::new().map_err(failed("epoll_create", remedy))?;
    let wake = Wake::new(libc::EFD_NONBLOCK).map_err(failed("eventfd", remedy))?;
    let watched = epoll.watch_bell(wake.fd());
    watched.map_err(failed("epoll_ctl", "raise fs.epoll.max_user_watches"))?;
    Ok(AfterOverBefore::new(PollPort {
        epoll,
        events: Events::new(),
        watched: Vec::new(),
        wake: Arc::new(wake),
    }))
}

static CLOSES: Closes = Closes::new();
/// Whether there ever was a poller in this process.
static POLLING: AtomicBool = AtomicBool::new(false);

/// Tells the pollers of this process, if there are any, that a ring is about to close a number
/// that they may know.
pub(crate) fn closed_elsewhere(descriptor: RawDescriptor) {
    // Whoever had it registered made its poller first, and has left the descriptor before it is
    // closed: that is seen here.
    if POLLING.load(Ordering::Relaxed) {
        CLOSES.add(descriptor);
    }
}

/// How often each descriptor number has been closed in this process: in parts that are twice as
/// long as the one before and are made when one of their numbers is closed, so that nobody who
/// looks takes a lock, which all workers would share.
struct Closes([OnceLock<Box<[AtomicU32]>>; PARTS]);

/// So many parts count every number.
const PARTS: usize = u32::BITS as usize + 1;

impl Closes {
    const fn new() -> Self {
        Self([const { OnceLock::new() }; PARTS])
    }

    /// The part that counts the closes of `descriptor`, how long that is, and where in it.
    fn place(descriptor: RawDescriptor) -> (usize, usize, usize) {
        let number = descriptor.0 as usize + 1;
        let part = number.ilog2();
        let len = 1 << part;
        (part as usize, len, number - len)
    }

    /// The count, never 0.
    fn of(&self, descriptor: RawDescriptor) -> u32 {
        let (part, _, at) = Self::place(descriptor);
        let count = self.0[part].get().map(|counts| &counts[at]);
        count.map_or(0, |count| count.load(Ordering::Acquire)) | 1 << 31
    }

    /// Counts a close that is about to happen.
    fn add(&self, descriptor: RawDescriptor) {
        let (part, len, at) = Self::place(descriptor);
        let none = || iter::repeat_with(AtomicU32::default).take(len).collect();
        self.0[part].get_or_init(none)[at].fetch_add(1, Ordering::Release);
    }
}

/// One worker's poller.
pub(crate) struct PollPort {
    epoll: Epoll,
    events: Events,
    /// By descriptor number.
    watched: Vec<Watched>,
    wake: Arc<Wake>,
}

/// What is known of a descriptor.
#[derive(Clone, Copy, Default)]
struct Watched {
    /// The count of closes at which it was registered here; 0: never.
    closes: u32,
    input: Input,
}

/// What a receive would meet.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Input {
    /// It has to be tried.
    #[default]
    Unknown,
    /// Nothing: the last one took all there was, and no event has come since.
    Empty,
    /// More than bytes, perhaps; it is tried every time.
    Special,
}

// SAFETY: memory named by a request is touched only by the plain calls behind `attempt` and
// `connect`, which have returned before this does (I-3).
unsafe impl BeforeIo for PollPort {
    unsafe fn try_now(&mut self, request: &Request, under_way: Option<RawDescriptor>) -> Attempt {
        match *request {
            Request::Connect { to } => match under_way {
                // SAFETY: the caller's promise (I-3).
                None => unsafe { begin_connect(to) },
                Some(descriptor) => end_connect(descriptor),
            },
            _ => {
                if let Request::Close { descriptor } = *request {
                    CLOSES.add(descriptor);
                }
                // SAFETY: the caller's promise (I-3).
                match unsafe { immediate::attempt(request, Blocking::No) } {
                    TryNow::Done(outcome) => {
                        self.note(request, outcome);
                        Attempt::Done(outcome)
                    }
                    TryNow::WouldBlock(_) => Attempt::WouldBlock,
                    TryNow::NotPossible => Attempt::NotPossible,
                }
            }
        }
    }

    fn would_block(&self, request: &Request) -> bool {
        let Request::Recv { descriptor, .. } = *request else {
            return false;
        };
        let watched = self.watched.get(descriptor.0 as usize);
        watched.is_some_and(|watched| {
            watched.input == Input::Empty && watched.closes == CLOSES.of(descriptor)
        })
    }

    fn arm(&mut self, descriptor: RawDescriptor, _interest: Interest) -> Result<(), IoError> {
        let closes = CLOSES.of(descriptor);
        let index = descriptor.0 as usize;
        if self.watched.len() <= index {
            self.watched.resize(index + 1, Watched::default());
        }
        if self.watched[index].closes != closes {
            self.epoll.watch(fd(descriptor))?;
            let input = Input::Unknown;
            self.watched[index] = Watched { closes, input };
        }
        Ok(())
    }

    fn forget(&mut self, descriptor: RawDescriptor) {
        let watched = self.watched.get_mut(descriptor.0 as usize);
        let Some(watched) = watched else {
            return;
        };
        if core::mem::take(watched).closes == CLOSES.of(descriptor) {
            // A duplicate may keep the file open, which would keep the registration too.
            let _ = self.epoll.leave(fd(descriptor));
        }
    }

    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> Result<Polled, HostFault> {
        let mut limit = timeout(wait);
        let may_sleep = !limit.is_zero();
        let asleep = may_sleep && self.wake.fall_asleep();
        // Refused sleep means that an unpark came first.
        let mut unparked = may_sleep && !asleep;
        if !asleep {
            limit = Duration::ZERO;
        }
        let mut calls = 0;
        let waited = loop {
            calls += 1;
            let part = punctual(limit);
            let waited = self.epoll.wait(&mut self.events, part);
            if part == limit || waited.is_err() || !self.events.is_empty() {
                break waited;
            }
            limit = timeout(wait);
        };
        if asleep {
            unparked = self.wake.rise();
        }
        waited.map_err(|errno| HostFault::new("epoll_wait", errno.0))?;
        let bell = self.wake.fd();
        for happened in self.events.iter().filter(|happened| happened.fd != bell) {
            let descriptor = RawDescriptor(happened.fd.cast_unsigned());
            if happened.is_readable() {
                if let Some(watched) = self.watched.get_mut(descriptor.0 as usize) {
                    watched.input = match watched.input {
                        Input::Special => Input::Special,
                        _ if happened.is_special() => Input::Special,
                        _ => Input::Unknown,
                    };
                }
                events.push(Event {
                    descriptor,
                    interest: Interest::Readable,
                });
            }
            if happened.is_writable() {
                events.push(Event {
                    descriptor,
                    interest: Interest::Writable,
                });
            }
        }
        Ok(Polled { unparked, calls })
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.wake) as Arc<dyn Unpark>
    }
}

impl PollPort {
    /// Learns from what a request came to. A stream that is not registered is looked at when it
    /// is: nothing is learnt before.
    ///
    /// That a short receive leaves nothing holds of TCP, which all sockets here are; signals are
    /// read a byte at a time, which is never short. Datagrams would have to be left out.
    fn note(&mut self, request: &Request, outcome: Outcome) {
        let (
            Request::Recv {
                descriptor, into, ..
            },
            Outcome::Done(bytes),
        ) = (request, outcome)
        else {
            return;
        };
        let is_short = bytes > 0 && bytes < into.len() as u64;
        let Some(watched) = self.watched.get_mut(descriptor.0 as usize) else {
            return;
        };
        if is_short && watched.input == Input::Unknown && watched.closes == CLOSES.of(*descriptor) {
            watched.input = Input::Empty;
        }
    }
}

/// Makes a socket and begins to connect it.
///
/// # Safety
/// `to` can be read.
unsafe fn begin_connect(to: NonNull<SocketAddr>) -> Attempt {
    // SAFETY: the caller's promise (I-3).
    let to = unsafe { to.read() };
    let begun = socket::tcp(&to, Blocking::No).map(|socket| {
        let connected = socket::connect(&socket, &to);
        (socket, connected)
    });
    match begun {
        Ok((socket, Ok(()))) => Attempt::Done(immediate::opened(socket)),
        Ok((socket, Err(Errno(libc::EINPROGRESS | libc::EINTR)))) => {
            Attempt::Started(socket::into_raw(socket))
        }
        // The socket closes itself.
        Ok((_, Err(errno))) | Err(errno) => Attempt::Done(immediate::failed(errno)),
    }
}

/// How the connect on this descriptor went.
fn end_connect(descriptor: RawDescriptor) -> Attempt {
    let raw = fd(descriptor);
    match event::is_ready(raw, Interest::Writable) {
        Ok(false) => return Attempt::WouldBlock,
        Ok(true) => {}
        Err(errno) => return Attempt::Done(immediate::failed(errno)),
    }
    let error = socket::option(raw, (libc::SOL_SOCKET, libc::SO_ERROR));
    Attempt::Done(match error {
        Ok(0) => Outcome::Opened(descriptor),
        Ok(code) => immediate::failed(Errno(code)),
        Err(errno) => immediate::failed(errno),
    })
}

/// How long it may take; [`Duration::MAX`] is for ever.
fn timeout(wait: Wait) -> Duration {
    match wait {
        Wait::No => Duration::ZERO,
        Wait::Forever | Wait::Until(Instant::NEVER) => Duration::MAX,
        Wait::Until(deadline) => deadline.saturating_since(clock::now()),
    }
}

/// Up to this length a wait ends as late as it may, at the most.
const SHORT: Duration = Duration::from_millis(100);

/// How much of a wait of this length is waited for at once. Waits in epoll, unlike those for a
/// futex or in a ring, may end later by a thousandth of their length, by a 200th in a process that
/// is nice to others. So the end of a long one is waited for by itself.
fn punctual(limit: Duration) -> Duration {
    if limit <= SHORT || limit == Duration::MAX {
        return limit;
    }
    limit - limit / 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_is_over_only_after_a_short_one() {
        for millis in [1, 100, 101, 1000, 3_600_000] {
            let mut limit = Duration::from_millis(millis);
            let mut parts = 0;
            while punctual(limit) < limit {
                let part = punctual(limit);
                let late = (part / 200).min(Duration::from_millis(100));
                assert!(part + late < limit, "{limit:?} are over too late");
                limit -= part;
                parts += 1;
            }
            assert!(limit <= SHORT, "the last part ends in time");
            assert!(parts <= 3, "few calls: {parts}");
        }
    }
}

//! The epoll driver: what is ready, for the core's shim to build on.
//!
//! Each worker has a poller of its own, edge-triggered. A descriptor is registered once, in both
//! directions, by the first request that has to wait; after that waiting costs no system call.
//!
//! Descriptor numbers are reused, also behind a poller's back when another worker closes one: one
//! of another host perhaps, for the numbers are the process's. So every close is counted, per
//! number and for the whole process, and a registration is good only as long as the count stands.

extern crate alloc;

use alloc::sync::Arc;
use core::{
    net::SocketAddr,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};
use std::{
    io,
    os::fd::BorrowedFd,
    sync::{PoisonError, RwLock},
};

use fiber_core::{
    IoError,
    before_io::{AfterOverBefore, Attempt, BeforeIo, Event, Polled},
    env::{EnvError, HostFault, Instant, TryNow, Unpark, Wait},
    request::{Interest, Outcome, RawDescriptor, Request},
};
use polling::{Events, PollMode, Poller};

use crate::{
    clock,
    errno::Errno,
    immediate,
    sys::{
        event,
        socket::{self, Blocking, fd},
    },
    wake::Wake,
};

/// System calls that `Poller::wait` makes: set the timer, arm it, wait, reset and re-arm the
/// notifier.
const CALLS_PER_POLL: u32 = 5;

/// Opens one worker's port.
pub(crate) fn open() -> Result<AfterOverBefore<PollPort>, EnvError> {
    POLLING.store(true, Ordering::Relaxed);
    let remedy = "raise `ulimit -n`, or close some descriptors";
    let poller = Poller::new().map_err(|error| {
        let code = Errno::from(&error).0;
        EnvError::new("epoll_create", code, remedy)
    })?;
    let wake =
        Wake::new(libc::EFD_NONBLOCK).map_err(|errno| EnvError::new("eventfd", errno.0, remedy))?;
    let interest = polling::Event::readable(key(wake.fd()));
    // SAFETY: the poller is dropped before the eventfd can be closed: `PollPort` declares it
    // first, and epoll forgets closed descriptors by itself (I-3).
    unsafe { poller.add_with_mode(wake.fd(), interest, PollMode::Edge) }.map_err(|error| {
        let code = Errno::from(&error).0;
        EnvError::new("epoll_ctl", code, "raise fs.epoll.max_user_watches")
    })?;
    Ok(AfterOverBefore::new(PollPort {
        poller,
        events: Events::new(),
        registered: Vec::new(),
        wake: Arc::new(wake),
    }))
}

static CLOSES: Closes = Closes(RwLock::new(Vec::new()));
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

/// How often each descriptor number has been closed in this process.
struct Closes(RwLock<Vec<AtomicU32>>);

impl Closes {
    /// The count, never 0.
    fn of(&self, descriptor: RawDescriptor) -> u32 {
        let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(descriptor.0 as usize);
        count.map_or(0, |count| count.load(Ordering::Acquire)) | 1 << 31
    }

    /// Counts a close that is about to happen.
    fn add(&self, descriptor: RawDescriptor) {
        let index = descriptor.0 as usize;
        {
            let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = counts.get(index) {
                count.fetch_add(1, Ordering::Release);
                return;
            }
        }
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if counts.len() <= index {
            counts.resize_with(index + 1, AtomicU32::default);
        }
        counts[index].fetch_add(1, Ordering::Release);
    }
}

/// One worker's poller.
pub(crate) struct PollPort {
    poller: Poller,
    events: Events,
    /// For each descriptor number, the count of closes at which it was registered here; 0: never.
    registered: Vec<u32>,
    wake: Arc<Wake>,
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
                    TryNow::Done(outcome) => Attempt::Done(outcome),
                    TryNow::WouldBlock(_) => Attempt::WouldBlock,
                    TryNow::NotPossible => Attempt::NotPossible,
                }
            }
        }
    }

    fn arm(&mut self, descriptor: RawDescriptor, _interest: Interest) -> Result<(), IoError> {
        let count = CLOSES.of(descriptor);
        let index = descriptor.0 as usize;
        if self.registered.len() <= index {
            self.registered.resize(index + 1, 0);
        }
        if self.registered[index] == count {
            return Ok(());
        }
        self.register(descriptor)
            .map_err(|error| Errno::from(&error))?;
        self.registered[index] = count;
        Ok(())
    }

    fn forget(&mut self, descriptor: RawDescriptor) {
        let registered = self.registered.get_mut(descriptor.0 as usize);
        let Some(registered) = registered else {
            return;
        };
        if core::mem::take(registered) == CLOSES.of(descriptor) {
            // SAFETY: the number is open: the shim forgets before it closes (I-4).
            let source = unsafe { BorrowedFd::borrow_raw(fd(descriptor)) };
            // A duplicate may keep the file open, which would keep the registration too.
            let _ = self.poller.delete(source);
        }
    }

    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> Result<Polled, HostFault> {
        let timeout = timeout(wait);
        let may_sleep = timeout != Some(Duration::ZERO);
        let asleep = may_sleep && self.wake.fall_asleep();
        // Refused sleep means that an unpark came first.
        let mut unparked = may_sleep && !asleep;
        let timeout = if asleep {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.events.clear();
        let waited = self.poller.wait(&mut self.events, timeout);
        if asleep {
            unparked = self.wake.rise();
        }
        waited.map_err(|error| HostFault::new("epoll_wait", Errno::from(&error).0))?;
        let bell = key(self.wake.fd());
        for ready in self.events.iter().filter(|ready| ready.key != bell) {
            let descriptor = u32::try_from(ready.key).expect("registered as a descriptor");
            let descriptor = RawDescriptor(descriptor);
            let both = [
                (ready.readable, Interest::Readable),
                (ready.writable, Interest::Writable),
            ];
            let happened = both.into_iter().filter(|(happened, _)| *happened);
            events.extend(happened.map(|(_, interest)| Event {
                descriptor,
                interest,
            }));
        }
        Ok(Polled {
            unparked,
            calls: CALLS_PER_POLL,
        })
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.wake) as Arc<dyn Unpark>
    }
}

impl PollPort {
    fn register(&self, descriptor: RawDescriptor) -> io::Result<()> {
        let raw = fd(descriptor);
        let interest = polling::Event::all(key(raw));
        // SAFETY: the shim forgets a descriptor before it closes it, and epoll drops the ones
        // that other workers close (I-4).
        let added = unsafe { self.poller.add_with_mode(raw, interest, PollMode::Edge) };
        match added {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // SAFETY: a request waits on the number, so it is open (I-4).
                let source = unsafe { BorrowedFd::borrow_raw(raw) };
                // Registering again reports readiness again.
                self.poller
                    .modify_with_mode(source, interest, PollMode::Edge)
            }
            added => added,
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

fn timeout(wait: Wait) -> Option<Duration> {
    match wait {
        Wait::No => Some(Duration::ZERO),
        Wait::Forever | Wait::Until(Instant::NEVER) => None,
        Wait::Until(deadline) => Some(deadline.saturating_since(clock::now())),
    }
}

fn key(fd: std::os::fd::RawFd) -> usize {
    usize::try_from(fd).expect("descriptors are not negative")
}

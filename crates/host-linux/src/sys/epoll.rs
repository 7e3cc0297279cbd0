//! Readiness of many descriptors at once.

extern crate alloc;

use alloc::{boxed::Box, vec};
use core::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{Result, check};
use crate::errno::Errno;

/// What is told of a descriptor: that there is something to read or room to write, that its peer
/// has gone, urgent bytes; each when it happens, and once for all that holds as it is added.
const EVERYTHING: libc::c_int =
    libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;

/// How many events one wait may tell of; the others are told by the next.
const EVENTS: usize = 1024;

/// Whether this kernel, or who watches over us, knows no times below a millisecond.
static COARSE: AtomicBool = AtomicBool::new(false);

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: takes numbers only; hosts alone call the system (I-1).
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: just opened, owned by nobody else (I-1).
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `fd`, in both directions and edge-triggered, until it is closed. One that is watched
    /// already is told of anew.
    pub(crate) fn watch(&self, fd: RawFd) -> Result<()> {
        match self.control(libc::EPOLL_CTL_ADD, fd, EVERYTHING) {
            Err(Errno(libc::EEXIST)) => self.control(libc::EPOLL_CTL_MOD, fd, EVERYTHING),
            added => added,
        }
    }

    /// Watches an `fd` that rings: only for what is there to read, as it has always room to write
    /// and a wait would end for that.
    pub(crate) fn watch_bell(&self, fd: RawFd) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN | libc::EPOLLET)
    }

    /// Watches `fd` no more.
    pub(crate) fn leave(&self, fd: RawFd) -> Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0)
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, flags: libc::c_int) -> Result<()> {
        let mut event = libc::epoll_event {
            events: flags.cast_unsigned(),
            u64: u64::from(fd.cast_unsigned()),
        };
        // SAFETY: one event, on this frame for the length of the call (I-3).
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits until there is an event, for so long at the most, [`Duration::MAX`] for ever. May
    /// return early, with none.
    pub(crate) fn wait(&self, events: &mut Events, limit: Duration) -> Result<()> {
        events.happened = 0;
        let happened = match limit {
            // The older call is known everywhere, and does these as well.
            Duration::MAX => self.wait_coarsely(events, -1),
            Duration::ZERO => self.wait_coarsely(events, 0),
            limit => self.wait_until(events, limit),
        };
        let happened = match happened {
            Err(Errno(libc::EINTR)) => 0,
            happened => happened?,
        };
        events.happened = usize::try_from(happened).expect("checked not to be negative");
        Ok(())
    }

    fn wait_until(&self, events: &mut Events, limit: Duration) -> Result<libc::c_int> {
        if !COARSE.load(Ordering::Relaxed) {
            match self.wait_finely(events, limit) {
                Err(Errno(libc::ENOSYS | libc::EPERM)) => COARSE.store(true, Ordering::Relaxed),
                happened => return happened,
            }
        }
        let millis = limit.as_nanos().div_ceil(1_000_000);
        self.wait_coarsely(
            events,
            libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX),
        )
    }

    fn wait_coarsely(&self, events: &mut Events, millis: libc::c_int) -> Result<libc::c_int> {
        let (epoll, into, room) = (self.0.as_raw_fd(), events.room.as_mut_ptr(), events.count());
        // SAFETY: there is room for so many, for the length of the call (I-3).
        check(unsafe { libc::epoll_wait(epoll, into, room, millis) })
    }

    fn wait_finely(&self, events: &mut Events, limit: Duration) -> Result<libc::c_int> {
        let limit = libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(limit.subsec_nanos()),
        };
        let (epoll, into, room) = (self.0.as_raw_fd(), events.room.as_mut_ptr(), events.count());
        let mask = ptr::null::<libc::sigset_t>();
        // SAFETY: there is room for so many, and the time is on this frame, for the length of the
        // call; no mask is read (I-3).
        let happened = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll,
                into,
                room,
                &raw const limit,
                mask,
                size_of::<u64>(),
            )
        };
        check(libc::c_int::try_from(happened).expect("at most as many as there is room for"))
    }
}

/// What a wait has told, and the room for it.
pub(crate) struct Events {
    room: Box<[libc::epoll_event]>,
    happened: usize,
}

impl Events {
    pub(crate) fn new() -> Self {
        let nothing = libc::epoll_event { events: 0, u64: 0 };
        Self {
            room: vec![nothing; EVENTS].into(),
            happened: 0,
        }
    }

    fn count(&self) -> libc::c_int {
        libc::c_int::try_from(self.room.len()).expect("a small number")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.happened == 0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Happened> {
        self.room[..self.happened].iter().map(|event| Happened {
            fd: RawFd::try_from(event.u64).expect("watched by its number"),
            flags: event.events.cast_signed(),
        })
    }
}

/// What happened to one descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) fd: RawFd,
    flags: libc::c_int,
}

impl Happened {
    pub(crate) const fn is_readable(self) -> bool {
        self.has(libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP) || self.is_over()
    }

    pub(crate) const fn is_writable(self) -> bool {
        self.has(libc::EPOLLOUT) || self.is_over()
    }

    /// Whether reading may meet more than bytes that were not there before: the end of the stream,
    /// an error, urgent bytes.
    pub(crate) const fn is_special(self) -> bool {
        self.has(libc::EPOLLPRI | libc::EPOLLRDHUP) || self.is_over()
    }

    const fn is_over(self) -> bool {
        self.has(libc::EPOLLERR | libc::EPOLLHUP)
    }

    const fn has(self, any_of: libc::c_int) -> bool {
        self.flags & any_of != 0
    }
}

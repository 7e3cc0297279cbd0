//! What never waits, and single attempts at what might: plain calls, the same for both drivers.

use core::{net::SocketAddr, ptr::NonNull};
use std::os::fd::{AsRawFd, OwnedFd};

use fiber_core::{
    IoError, IoErrorKind,
    env::TryNow,
    request::{End, Extent, Interest, Outcome, RawDescriptor, Request, Shutdown, SocketOption},
};

use crate::{
    errno::Errno,
    signals,
    sys::{
        self, event,
        socket::{self, Blocking, fd},
    },
};

/// Tries `request` with plain calls that do not wait.
///
/// # Safety
/// Memory named by `request` is valid for the length of the call.
pub(crate) unsafe fn attempt(request: &Request, blocking: Blocking) -> TryNow {
    let result = match *request {
        Request::Nop => Ok(Outcome::Done(0)),
        Request::Ready {
            descriptor,
            interest,
        } => match event::is_ready(fd(descriptor), interest) {
            Ok(false) => return TryNow::WouldBlock(interest),
            ready => ready.map(|_| Outcome::Done(0)),
        },
        // Half of it might be done, which this answer could not say.
        Request::Recv {
            extent: Extent::All,
            ..
        }
        | Request::Send {
            extent: Extent::All,
            ..
        } => return TryNow::NotPossible,
        Request::Recv {
            descriptor, into, ..
        } => {
            // SAFETY: the caller's promise (I-3).
            done(unsafe { socket::recv_now(fd(descriptor), into) })
        }
        Request::Send {
            descriptor, from, ..
        } => {
            // SAFETY: the caller's promise (I-3).
            done(unsafe { socket::send_now(fd(descriptor), from) })
        }
        Request::RecvVectored {
            descriptor,
            into,
            count,
        } => {
            // SAFETY: the caller's promise (I-3).
            done(unsafe { socket::recv_vectored_now(fd(descriptor), into.as_ptr(), count) })
        }
        Request::SendVectored {
            descriptor,
            from,
            count,
        } => {
            // SAFETY: the caller's promise (I-3).
            done(unsafe { socket::send_vectored_now(fd(descriptor), from.as_ptr(), count) })
        }
        Request::Accept { descriptor, peer } => {
            // SAFETY: the caller's promise (I-3).
            unsafe { accept(descriptor, peer, blocking) }
        }
        Request::Close { descriptor } => {
            signals::closing(descriptor);
            // SAFETY: the core closes a descriptor once, when nothing uses it any more (I-4).
            unsafe { socket::close(fd(descriptor)) }.map(|()| Outcome::Done(0))
        }
        // SAFETY: the caller's promise (I-3).
        _ if request.is_immediate() => return TryNow::Done(unsafe { now(request, blocking) }),
        _ => return TryNow::NotPossible,
    };
    match result {
        Ok(outcome) => TryNow::Done(outcome),
        Err(Errno(libc::EAGAIN)) => match request.direction() {
            Some(interest) => TryNow::WouldBlock(interest),
            None => TryNow::Done(failed(Errno(libc::EAGAIN))),
        },
        Err(errno) => TryNow::Done(failed(errno)),
    }
}

/// Does an immediate request.
///
/// # Safety
/// Memory named by `request` is valid for the length of the call.
pub(crate) unsafe fn now(request: &Request, blocking: Blocking) -> Outcome {
    let result = match *request {
        Request::Listen { at, backlog } => {
            // SAFETY: the caller's promise (I-3).
            let at = unsafe { at.read() };
            listen(&at, backlog, blocking).map(opened)
        }
        Request::Shutdown { descriptor, how } => {
            let how = match how {
                Shutdown::Read => libc::SHUT_RD,
                Shutdown::Write => libc::SHUT_WR,
                Shutdown::Both => libc::SHUT_RDWR,
            };
            socket::shutdown(fd(descriptor), how).map(|()| Outcome::Done(0))
        }
        // Signals are told to the descriptor that was opened for them, and to no other.
        Request::Duplicate { descriptor } if signals::is_open(descriptor) => {
            Err(Errno(libc::EOPNOTSUPP))
        }
        Request::Duplicate { descriptor } => socket::duplicate(fd(descriptor)).map(opened),
        Request::Address {
            descriptor,
            end,
            into,
        } => {
            // SAFETY: the caller's promise (I-3).
            unsafe { address(descriptor, end, into) }
        }
        Request::SetOption {
            descriptor,
            option,
            value,
        } => set_option(descriptor, option, value),
        Request::ReadOption { descriptor, option } => read_option(descriptor, option),
        Request::OpenSignals { set } => {
            return signals::open(set).map_or_else(Outcome::Failed, Outcome::Opened);
        }
        Request::RaiseSignal { signal } => signals::raise(signal).map(|()| Outcome::Done(0)),
        _ => return Outcome::Failed(IoErrorKind::Unsupported.into()),
    };
    result.unwrap_or_else(failed)
}

/// A new descriptor, handed over with the duty to close it.
pub(crate) fn opened(descriptor: OwnedFd) -> Outcome {
    Outcome::Opened(socket::into_raw(descriptor))
}

pub(crate) fn failed(errno: Errno) -> Outcome {
    Outcome::Failed(IoError::from(errno))
}

/// Closes what nobody wants.
pub(crate) fn discard(descriptor: RawDescriptor) {
    signals::closing(descriptor);
    // SAFETY: it was opened for a request whose completion nobody takes, so nobody knows it (I-4).
    let _ = unsafe { socket::close(fd(descriptor)) };
}

fn done(moved: sys::Result<usize>) -> sys::Result<Outcome> {
    moved.map(|bytes| Outcome::Done(bytes as u64))
}

/// Accepts a connection if one waits.
///
/// # Safety
/// `peer` can be written to.
unsafe fn accept(
    listener: RawDescriptor,
    peer: NonNull<SocketAddr>,
    blocking: Blocking,
) -> sys::Result<Outcome> {
    // On a listener that blocks, only ask when a connection waits. Should another thread take it
    // in between, the listener's receive timeout ends the call: see `listen`.
    if blocking == Blocking::Yes && !event::is_ready(fd(listener), Interest::Readable)? {
        return Err(Errno(libc::EAGAIN));
    }
    let (connection, address) = socket::accept(fd(listener), blocking)?;
    if let Some(address) = address.to_socket_addr() {
        // SAFETY: the caller's promise (I-3).
        unsafe { peer.write(address) };
    }
    Ok(opened(connection))
}

/// Binds as std does, and listens.
fn listen(at: &SocketAddr, backlog: u32, blocking: Blocking) -> sys::Result<OwnedFd> {
    let listener = socket::tcp(at, blocking)?;
    let raw = listener.as_raw_fd();
    let on: libc::c_int = 1;
    socket::set_option(raw, (libc::SOL_SOCKET, libc::SO_REUSEADDR), on)?;
    if blocking == Blocking::Yes {
        // Bounds a plain `accept` whose connection was taken by another thread; io_uring's own
        // attempts never wait in the call, so they do not see it.
        let moment = libc::timeval {
            tv_sec: 0,
            tv_usec: 1,
        };
        socket::set_option(raw, (libc::SOL_SOCKET, libc::SO_RCVTIMEO), moment)?;
    }
    socket::bind(&listener, at)?;
    socket::listen(&listener, backlog)?;
    Ok(listener)
}

/// Reads one end's address.
///
/// # Safety
/// `into` can be written to.
unsafe fn address(
    descriptor: RawDescriptor,
    end: End,
    into: NonNull<SocketAddr>,
) -> sys::Result<Outcome> {
    let raw = match end {
        End::Local => socket::local_address(fd(descriptor))?,
        End::Peer => socket::peer_address(fd(descriptor))?,
    };
    let address = raw.to_socket_addr().ok_or(Errno(libc::EAFNOSUPPORT))?;
    // SAFETY: the caller's promise (I-3).
    unsafe { into.write(address) };
    Ok(Outcome::Done(0))
}

fn set_option(descriptor: RawDescriptor, option: SocketOption, value: u32) -> sys::Result<Outcome> {
    let value = libc::c_int::try_from(value).map_err(|_| Errno(libc::EINVAL))?;
    let name = match option {
        SocketOption::NoDelay => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        SocketOption::Ttl => ttl(descriptor)?,
        _ => return Err(Errno(libc::ENOPROTOOPT)),
    };
    socket::set_option(fd(descriptor), name, value)?;
    Ok(Outcome::Done(0))
}

fn read_option(descriptor: RawDescriptor, option: SocketOption) -> sys::Result<Outcome> {
    let name = match option {
        SocketOption::NoDelay => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        SocketOption::Ttl => ttl(descriptor)?,
        SocketOption::Error => (libc::SOL_SOCKET, libc::SO_ERROR),
        _ => return Err(Errno(libc::ENOPROTOOPT)),
    };
    let value = socket::option(fd(descriptor), name)?;
    Ok(Outcome::Done(u64::from(value.unsigned_abs())))
}

/// The hop limit has a name in each family.
fn ttl(descriptor: RawDescriptor) -> sys::Result<(libc::c_int, libc::c_int)> {
    let family = socket::option(fd(descriptor), (libc::SOL_SOCKET, libc::SO_DOMAIN))?;
    Ok(if family == libc::AF_INET6 {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS)
    } else {
        (libc::IPPROTO_IP, libc::IP_TTL)
    })
}

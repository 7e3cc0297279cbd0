//! Sockets: the calls behind the requests.

use core::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use fiber_core::request::{Lent, LentMut};

use super::{Result, check, check_size, uninterrupted};
use crate::address::RawAddress;

/// Whether calls on a socket may wait.
///
/// io_uring waits by itself and wants sockets that could block; a poller wants ones that cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// Calls wait.
    Yes,
    /// Calls answer `EAGAIN`.
    No,
}

impl Blocking {
    pub(crate) const fn flags(self) -> libc::c_int {
        match self {
            Self::Yes => libc::SOCK_CLOEXEC,
            Self::No => libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        }
    }
}

/// Makes a TCP socket for addresses of this family.
pub(crate) fn tcp(address: &SocketAddr, blocking: Blocking) -> Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | blocking.flags();
    // SAFETY: takes numbers only (I-1).
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: just opened, owned by nobody else (I-1).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes two connected sockets.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors, on this frame (I-3).
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: just opened, owned by nobody else (I-1).
    let first = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: as above (I-1).
    let second = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    Ok((first, second))
}

pub(crate) fn bind(socket: &OwnedFd, address: &SocketAddr) -> Result<()> {
    let raw = RawAddress::from(address);
    // SAFETY: the address is on this frame for the length of the call (I-3).
    check(unsafe { libc::bind(socket.as_raw_fd(), raw.as_ptr(), raw.len) })?;
    Ok(())
}

pub(crate) fn listen(socket: &OwnedFd, backlog: u32) -> Result<()> {
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: takes numbers only (I-1).
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Starts or makes a connection, depending on whether the socket blocks. Not repeated after a
/// signal: the kernel goes on connecting by itself.
pub(crate) fn connect(socket: &OwnedFd, address: &SocketAddr) -> Result<()> {
    let raw = RawAddress::from(address);
    // SAFETY: the address is on this frame for the length of the call (I-3).
    check(unsafe { libc::connect(socket.as_raw_fd(), raw.as_ptr(), raw.len) })?;
    Ok(())
}

pub(crate) fn accept(listener: RawFd, blocking: Blocking) -> Result<(OwnedFd, RawAddress)> {
    let mut peer = RawAddress::room();
    let flags = blocking.flags();
    let fd = uninterrupted(|| {
        peer.clear();
        let (address, len) = (peer.as_mut_ptr(), &raw mut peer.len);
        // SAFETY: the address is on this frame for the length of the call (I-3).
        check(unsafe { libc::accept4(listener, address, len, flags) })
    })?;
    // SAFETY: just opened, owned by nobody else (I-1).
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, peer))
}

/// Receives without waiting.
///
/// # Safety
/// `into` is lent for the length of the call.
pub(crate) unsafe fn recv_now(socket: RawFd, into: LentMut) -> Result<usize> {
    let (start, bytes) = (into.start().as_ptr().cast(), into.len());
    uninterrupted(|| {
        // SAFETY: the caller's promise (I-3).
        check_size(unsafe { libc::recv(socket, start, bytes, libc::MSG_DONTWAIT) })
    })
}

/// Looks at what could be received, and leaves it there; never waits. Async-signal-safe.
pub(crate) fn peek(socket: RawFd, into: &mut [u8]) -> Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let (start, bytes) = (into.as_mut_ptr().cast(), into.len());
    // SAFETY: the slice is borrowed for the length of the call (I-3).
    uninterrupted(|| check_size(unsafe { libc::recv(socket, start, bytes, flags) }))
}

/// Sends without waiting.
///
/// # Safety
/// `from` is lent for the length of the call.
pub(crate) unsafe fn send_now(socket: RawFd, from: Lent) -> Result<usize> {
    let (start, bytes) = (from.start().as_ptr().cast(), from.len());
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    uninterrupted(|| {
        // SAFETY: the caller's promise (I-3).
        check_size(unsafe { libc::send(socket, start, bytes, flags) })
    })
}

/// Receives into several buffers without waiting.
///
/// # Safety
/// `into` names `count` buffers, lent for the length of the call like the memory they name.
pub(crate) unsafe fn recv_vectored_now(
    socket: RawFd,
    into: *const LentMut,
    count: u32,
) -> Result<usize> {
    let mut message = message(into.cast(), count);
    uninterrupted(|| {
        // SAFETY: the caller's promise (I-3).
        check_size(unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_DONTWAIT) })
    })
}

/// Sends from several buffers without waiting.
///
/// # Safety
/// `from` names `count` buffers, lent for the length of the call like the memory they name.
pub(crate) unsafe fn send_vectored_now(
    socket: RawFd,
    from: *const Lent,
    count: u32,
) -> Result<usize> {
    let message = message(from.cast(), count);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    uninterrupted(|| {
        // SAFETY: the caller's promise (I-3).
        check_size(unsafe { libc::sendmsg(socket, &raw const message, flags) })
    })
}

const _: () = assert!(
    size_of::<Lent>() == size_of::<libc::iovec>()
        && size_of::<LentMut>() == size_of::<libc::iovec>(),
    "lent memory is laid out as the kernel wants it"
);

/// A message of these buffers and nothing else.
pub(crate) fn message(buffers: *const libc::iovec, count: u32) -> libc::msghdr {
    // SAFETY: a C structure of integers and pointers, for which zeros mean nothing there (I-3).
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = buffers.cast_mut();
    message.msg_iovlen = count as usize;
    message
}

pub(crate) fn shutdown(socket: RawFd, how: libc::c_int) -> Result<()> {
    // SAFETY: takes numbers only (I-1).
    check(unsafe { libc::shutdown(socket, how) })?;
    Ok(())
}

pub(crate) fn duplicate(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: takes numbers only (I-1).
    let fd = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: just opened, owned by nobody else (I-1).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn local_address(socket: RawFd) -> Result<RawAddress> {
    let mut address = RawAddress::room();
    let (start, len) = (address.as_mut_ptr(), &raw mut address.len);
    // SAFETY: the address is on this frame for the length of the call (I-3).
    check(unsafe { libc::getsockname(socket, start, len) })?;
    Ok(address)
}

pub(crate) fn peer_address(socket: RawFd) -> Result<RawAddress> {
    let mut address = RawAddress::room();
    let (start, len) = (address.as_mut_ptr(), &raw mut address.len);
    // SAFETY: the address is on this frame for the length of the call (I-3).
    check(unsafe { libc::getpeername(socket, start, len) })?;
    Ok(address)
}

/// Sets an option whose value is a C structure.
pub(crate) fn set_option<T: Copy>(
    socket: RawFd,
    (level, name): (libc::c_int, libc::c_int),
    value: T,
) -> Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    let value = &raw const value;
    // SAFETY: the value is on this frame for the length of the call (I-3).
    check(unsafe { libc::setsockopt(socket, level, name, value.cast(), len) })?;
    Ok(())
}

/// Reads an option whose value is a number.
pub(crate) fn option(
    socket: RawFd,
    (level, name): (libc::c_int, libc::c_int),
) -> Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("four bytes");
    let start = (&raw mut value).cast();
    // SAFETY: the value is on this frame for the length of the call (I-3).
    check(unsafe { libc::getsockopt(socket, level, name, start, &raw mut len) })?;
    Ok(value)
}

/// Closes a descriptor. The number is free afterwards, whatever the answer.
///
/// # Safety
/// Nobody else uses or owns `fd`.
pub(crate) unsafe fn close(fd: RawFd) -> Result<()> {
    // SAFETY: the caller's promise (I-3).
    check(unsafe { libc::close(fd) })?;
    Ok(())
}

/// The number as the core carries it, with the duty to close it.
pub(crate) fn into_raw(fd: OwnedFd) -> fiber_core::request::RawDescriptor {
    let raw = fd.into_raw_fd();
    fiber_core::request::RawDescriptor(u32::try_from(raw).expect("descriptors are not negative"))
}

/// The number as the kernel wants it.
pub(crate) const fn fd(descriptor: fiber_core::request::RawDescriptor) -> RawFd {
    descriptor.0.cast_signed()
}

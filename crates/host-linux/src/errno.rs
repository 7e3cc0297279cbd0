//! The operating system's error numbers, and what they mean to every host alike.

use std::io;

use fiber_core::{IoError, IoErrorKind};

/// An error number of Linux, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    /// What the last failed call of this thread left behind.
    pub(crate) fn last() -> Self {
        Self::from(&io::Error::last_os_error())
    }

    /// The portable kind.
    pub(crate) const fn kind(self) -> IoErrorKind {
        match self.0 {
            libc::ENOENT => IoErrorKind::NotFound,
            libc::EPERM | libc::EACCES => IoErrorKind::PermissionDenied,
            libc::ECONNREFUSED => IoErrorKind::ConnectionRefused,
            libc::ECONNRESET => IoErrorKind::ConnectionReset,
            libc::ECONNABORTED => IoErrorKind::ConnectionAborted,
            libc::ENOTCONN => IoErrorKind::NotConnected,
            libc::EISCONN => IoErrorKind::AlreadyConnected,
            libc::EADDRINUSE => IoErrorKind::AddrInUse,
            libc::EADDRNOTAVAIL => IoErrorKind::AddrNotAvailable,
            libc::EHOSTUNREACH | libc::EHOSTDOWN => IoErrorKind::HostUnreachable,
            libc::ENETUNREACH | libc::ENETDOWN => IoErrorKind::NetworkUnreachable,
            libc::EPIPE | libc::ESHUTDOWN => IoErrorKind::BrokenPipe,
            libc::ETIMEDOUT | libc::ETIME => IoErrorKind::TimedOut,
            libc::EAGAIN => IoErrorKind::WouldBlock,
            libc::EINVAL | libc::EDESTADDRREQ | libc::EMSGSIZE | libc::EFAULT | libc::ENOTSOCK => {
                IoErrorKind::InvalidInput
            }
            libc::EINTR => IoErrorKind::Interrupted,
            libc::ENOSYS
            | libc::EOPNOTSUPP
            | libc::EAFNOSUPPORT
            | libc::EPROTONOSUPPORT
            | libc::ENOPROTOOPT => IoErrorKind::Unsupported,
            libc::ENOMEM | libc::ENOBUFS => IoErrorKind::OutOfMemory,
            libc::EMFILE | libc::ENFILE => IoErrorKind::TooManyDescriptors,
            libc::ECANCELED => IoErrorKind::Cancelled,
            libc::EBADF => IoErrorKind::Closed,
            _ => IoErrorKind::Other,
        }
    }
}

impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(0))
    }
}

impl From<Errno> for IoError {
    fn from(errno: Errno) -> Self {
        Self::new(errno.kind(), errno.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_keeps_its_number_beside_its_kind() {
        for code in 1..134 {
            let error = IoError::from(Errno(code));
            assert_eq!(error.code(), code);
            assert_eq!(error.kind(), Errno(code).kind());
        }
    }

    #[test]
    fn the_errors_that_servers_match_on_have_kinds_of_their_own() {
        let expected = [
            (libc::ECONNREFUSED, IoErrorKind::ConnectionRefused),
            (libc::ECONNRESET, IoErrorKind::ConnectionReset),
            (libc::EPIPE, IoErrorKind::BrokenPipe),
            (libc::EADDRINUSE, IoErrorKind::AddrInUse),
            (libc::EWOULDBLOCK, IoErrorKind::WouldBlock),
            (libc::EMFILE, IoErrorKind::TooManyDescriptors),
            (libc::ECANCELED, IoErrorKind::Cancelled),
            (libc::EXDEV, IoErrorKind::Other),
        ];
        for (code, kind) in expected {
            assert_eq!(Errno(code).kind(), kind, "error number {code}");
        }
    }
}

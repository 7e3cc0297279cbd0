//! Streams as `std::io` knows them, and errors as `std::io::Error`.

use std::io;

use fiber_core::IoErrorKind;

use crate::{error::Error, stream::TcpStream};

impl io::Read for &TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.receive(into)?)
    }

    fn read_vectored(&mut self, into: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(self.receive_vectored(into.iter_mut().map(|slice| &mut **slice))?)
    }

    fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        Ok(self.receive_exact(into)?)
    }
}

impl io::Read for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }

    fn read_vectored(&mut self, into: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(into)
    }

    fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        (&*self).read_exact(into)
    }
}

impl io::Write for &TcpStream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(self.send(from)?)
    }

    fn write_vectored(&mut self, from: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.send_vectored(from.iter().map(|slice| &**slice))?)
    }

    fn write_all(&mut self, from: &[u8]) -> io::Result<()> {
        Ok(self.send_all(from)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Write for TcpStream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        (&*self).write(from)
    }

    fn write_vectored(&mut self, from: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(from)
    }

    fn write_all(&mut self, from: &[u8]) -> io::Result<()> {
        (&*self).write_all(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(standard_kind(error.kind()), error)
    }
}

/// The kind that std would give. Never `Interrupted`: std's loops would then try again for ever.
/// A closed or stale descriptor is `Other`: nothing that servers shrug off and retry may hide it.
fn standard_kind(kind: IoErrorKind) -> io::ErrorKind {
    match kind {
        IoErrorKind::NotFound => io::ErrorKind::NotFound,
        IoErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        IoErrorKind::ConnectionRefused => io::ErrorKind::ConnectionRefused,
        IoErrorKind::ConnectionReset => io::ErrorKind::ConnectionReset,
        IoErrorKind::ConnectionAborted => io::ErrorKind::ConnectionAborted,
        IoErrorKind::NotConnected => io::ErrorKind::NotConnected,
        IoErrorKind::AddrInUse => io::ErrorKind::AddrInUse,
        IoErrorKind::AddrNotAvailable => io::ErrorKind::AddrNotAvailable,
        IoErrorKind::HostUnreachable => io::ErrorKind::HostUnreachable,
        IoErrorKind::NetworkUnreachable => io::ErrorKind::NetworkUnreachable,
        IoErrorKind::BrokenPipe => io::ErrorKind::BrokenPipe,
        IoErrorKind::TimedOut => io::ErrorKind::TimedOut,
        IoErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
        IoErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
        IoErrorKind::UnexpectedEof => io::ErrorKind::UnexpectedEof,
        IoErrorKind::Unsupported => io::ErrorKind::Unsupported,
        IoErrorKind::OutOfMemory => io::ErrorKind::OutOfMemory,
        _ => io::ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use fiber_core::IoError;

    use super::*;

    #[test]
    fn the_original_error_stays_inside_of_stds() {
        let error = Error::from(IoError::new(IoErrorKind::ConnectionRefused, 111));
        let standard = io::Error::from(error);
        assert_eq!(standard.kind(), io::ErrorKind::ConnectionRefused);
        let inside = standard
            .get_ref()
            .and_then(|inside| inside.downcast_ref::<Error>());
        assert_eq!(inside, Some(&error));
    }

    #[test]
    fn nothing_is_interrupted_or_would_be_retried_by_accept_loops() {
        let kinds = [
            IoErrorKind::Interrupted,
            IoErrorKind::Closed,
            IoErrorKind::Stale,
        ];
        for kind in kinds {
            assert_eq!(
                io::Error::from(Error::from(kind)).kind(),
                io::ErrorKind::Other
            );
        }
    }
}

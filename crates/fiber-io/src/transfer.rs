//! Reading and writing without std: the traits, and how slices become requests.

use fiber_core::{
    IoErrorKind, io,
    request::{Extent, Lent, LentMut},
};

use crate::{error::Error, stream::TcpStream};

/// How many slices one vectored call takes; more are left for the next call, as a short transfer.
const SLICES: usize = 64;

/// `std::io::Read` for code without std. Import this one or std's, not both.
pub trait Read {
    /// Reads some bytes; 0 is the end of the stream, unless `into` is empty. What lies behind them
    /// in `into` may have been overwritten, also when it fails.
    ///
    /// # Suspends
    /// Until a byte has come.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds, with nothing read; bytes that have come are returned first.
    ///
    /// # Errors
    /// `TimedOut` at the limit of time, `Closed` when the stream is closed meanwhile, and what the
    /// host reports.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Error>;

    /// [`read`](Self::read) into several slices, in order.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_vectored(&mut self, into: &mut [&mut [u8]]) -> Result<usize, Error>;

    /// Fills `into`.
    ///
    /// # Suspends
    /// Until all bytes have come.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; bytes that had come are lost with it.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends before, else as [`read`](Self::read); how much of
    /// `into` was filled then is not told.
    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Error>;
}

/// `std::io::Write` for code without std. Import this one or std's, not both.
pub trait Write {
    /// Writes some bytes and gives how many.
    ///
    /// # Suspends
    /// While the connection takes none.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds, with nothing written; a count of bytes is returned first.
    ///
    /// # Errors
    /// `BrokenPipe` or `ConnectionReset` when the peer is gone, `TimedOut` at the limit of time,
    /// `Closed` when the stream is closed meanwhile, and what the host reports.
    fn write(&mut self, from: &[u8]) -> Result<usize, Error>;

    /// [`write`](Self::write) from several slices, in order.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_vectored(&mut self, from: &[&[u8]]) -> Result<usize, Error>;

    /// Writes all of `from`.
    ///
    /// # Suspends
    /// Until the connection has taken every byte.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; a part may have been written.
    ///
    /// # Errors
    /// As [`write`](Self::write), also when a part was written; how much is not told.
    fn write_all(&mut self, from: &[u8]) -> Result<(), Error>;
}

impl Read for &TcpStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        self.receive(into)
    }

    fn read_vectored(&mut self, into: &mut [&mut [u8]]) -> Result<usize, Error> {
        self.receive_vectored(into.iter_mut().map(|slice| &mut **slice))
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.receive_exact(into)
    }
}

impl Read for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        self.receive(into)
    }

    fn read_vectored(&mut self, into: &mut [&mut [u8]]) -> Result<usize, Error> {
        self.receive_vectored(into.iter_mut().map(|slice| &mut **slice))
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.receive_exact(into)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, from: &[u8]) -> Result<usize, Error> {
        self.send(from)
    }

    fn write_vectored(&mut self, from: &[&[u8]]) -> Result<usize, Error> {
        self.send_vectored(from.iter().copied())
    }

    fn write_all(&mut self, from: &[u8]) -> Result<(), Error> {
        self.send_all(from)
    }
}

impl Write for TcpStream {
    fn write(&mut self, from: &[u8]) -> Result<usize, Error> {
        self.send(from)
    }

    fn write_vectored(&mut self, from: &[&[u8]]) -> Result<usize, Error> {
        self.send_vectored(from.iter().copied())
    }

    fn write_all(&mut self, from: &[u8]) -> Result<(), Error> {
        self.send_all(from)
    }
}

/// The one implementation behind this crate's traits and std's.
impl TcpStream {
    pub(crate) fn receive(&self, into: &mut [u8]) -> Result<usize, Error> {
        if into.is_empty() {
            return Ok(0);
        }
        let deadline = self.read_limit.deadline();
        Ok(io::recv(self.id(), into, Extent::Some, deadline)?)
    }

    pub(crate) fn receive_exact(&self, into: &mut [u8]) -> Result<(), Error> {
        let deadline = self.read_limit.deadline();
        let mut rest = into;
        // Once is the rule. A short transfer was stopped by something: the next one says by what.
        while !rest.is_empty() {
            match io::recv(self.id(), rest, Extent::All, deadline)? {
                0 => return Err(IoErrorKind::UnexpectedEof.into()),
                received => rest = &mut rest[received..],
            }
        }
        Ok(())
    }

    pub(crate) fn receive_vectored<'a>(
        &self,
        into: impl Iterator<Item = &'a mut [u8]>,
    ) -> Result<usize, Error> {
        let mut lent = [const { LentMut::new(&mut []) }; SLICES];
        let mut count = 0;
        for (place, slice) in lent.iter_mut().zip(into.filter(|slice| !slice.is_empty())) {
            *place = LentMut::new(slice);
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        let deadline = self.read_limit.deadline();
        // SAFETY: the slices are borrowed exclusively for 'a, which outlives this call (I-3).
        Ok(unsafe { io::recv_vectored(self.id(), &mut lent[..count], deadline) }?)
    }

    pub(crate) fn send(&self, from: &[u8]) -> Result<usize, Error> {
        if from.is_empty() {
            return Ok(0);
        }
        let deadline = self.write_limit.deadline();
        Ok(io::send(self.id(), from, Extent::Some, deadline)?)
    }

    pub(crate) fn send_all(&self, from: &[u8]) -> Result<(), Error> {
        let deadline = self.write_limit.deadline();
        let mut rest = from;
        // Once is the rule. A short transfer was stopped by something: the next one says by what.
        while !rest.is_empty() {
            match io::send(self.id(), rest, Extent::All, deadline)? {
                0 => return Err(IoErrorKind::BrokenPipe.into()),
                sent => rest = &rest[sent..],
            }
        }
        Ok(())
    }

    pub(crate) fn send_vectored<'a>(
        &self,
        from: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, Error> {
        let mut lent = [const { Lent::new(&[]) }; SLICES];
        let mut count = 0;
        for (place, slice) in lent.iter_mut().zip(from.filter(|slice| !slice.is_empty())) {
            *place = Lent::new(slice);
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        let deadline = self.write_limit.deadline();
        // SAFETY: the slices are borrowed for 'a, which outlives this call (I-3).
        Ok(unsafe { io::send_vectored(self.id(), &lent[..count], deadline) }?)
    }
}

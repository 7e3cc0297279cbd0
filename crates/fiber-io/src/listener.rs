//! A TCP socket that listens.

use core::{iter::FusedIterator, mem::ManuallyDrop, net::SocketAddr, time::Duration};

use fiber_core::{
    Id, io,
    request::{End, Interest, SocketOption},
};

use crate::{
    address::{ToSocketAddrs, each_address},
    error::Error,
    limit::Limit,
    operation::{self, AcceptOperation, ReadyOperation},
    stream::{TcpStream, take_error},
};

/// How many connections may wait for an accept; hosts take what they can.
const BACKLOG: u32 = 4096;

/// A TCP socket that listens: `std::net::TcpListener` on fibers.
///
/// Several fibers, on any workers, may accept from one listener. Dropping it stops the listening
/// from wherever it is dropped, without waiting.
///
/// # Examples
/// ```no_run
/// use fiber_io::TcpListener;
///
/// # fn on_a_fiber() -> Result<(), fiber_io::Error> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// for stream in listener.incoming() {
///     drop(stream?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpListener {
    id: Id,
    accept_limit: Limit,
}

impl TcpListener {
    /// Listens at the first of the addresses that can be bound; port 0 asks for a free port.
    ///
    /// # Errors
    /// The last address's: `AddrInUse`, `AddrNotAvailable`, …; `NoRuntime` when the caller is not
    /// on a worker.
    pub fn bind(at: impl ToSocketAddrs) -> Result<Self, Error> {
        each_address(at, |address| {
            Ok(Self::from_id(io::listen(address, BACKLOG)?))
        })
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// `Stale` when the runtime has ended.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(io::address(self.id, End::Local)?)
    }

    /// Makes another handle for the same socket, which closes when the last one is dropped. The new
    /// handle starts with a copy of the limit of time.
    ///
    /// # Errors
    /// `TooManyDescriptors` at a limit.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            id: io::duplicate(self.id)?,
            accept_limit: self.accept_limit.clone(),
        })
    }

    /// Accepts a connection.
    ///
    /// # Suspends
    /// Until one is there.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds; a connection that was accepted at that moment is returned first.
    ///
    /// # Errors
    /// `TimedOut` at the limit of time, `Closed` when the listener is closed meanwhile,
    /// `TooManyDescriptors` at a limit, with the connection closed, and what the host reports.
    pub fn accept(&self) -> Result<(TcpStream, SocketAddr), Error> {
        let (id, peer) = io::accept(self.id, self.accept_limit.deadline())?;
        Ok((TcpStream::from_id(id), peer))
    }

    /// Accepts a connection that waits already; `None` when there is none. Never suspends.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub fn try_accept(&self) -> Result<Option<(TcpStream, SocketAddr)>, Error> {
        let accepted = io::try_accept(self.id)?;
        Ok(accepted.map(|(id, peer)| (TcpStream::from_id(id), peer)))
    }

    /// The operation that accepts a connection. If another arm of its choice wins, none was
    /// accepted: the connection waits for whoever asks next. No limit of time counts: give the
    /// choice an arm for that.
    ///
    /// # Errors
    /// What it gives is an error as [`TcpListener::accept`]'s.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn accept_operation(&self) -> AcceptOperation {
        operation::accept(self.id)
    }

    /// The operation that waits until a connection is there, and leaves it there: another fiber may
    /// be faster to accept it.
    ///
    /// # Errors
    /// What it gives is an error as [`TcpStream::readable_operation`]'s.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn acceptable_operation(&self) -> ReadyOperation {
        operation::ready(self.id, Interest::Readable)
    }

    /// The connections as they come, without end.
    pub const fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Limits the time of each accept through this handle; `None` is no limit. Std has no such
    /// limit.
    ///
    /// # Errors
    /// `InvalidInput` when it is zero.
    pub fn set_accept_timeout(&self, limit: Option<Duration>) -> Result<(), Error> {
        self.accept_limit.set(limit)
    }

    /// The limit of time of accepts.
    ///
    /// # Errors
    /// None; the shape is that of the streams' limits.
    pub fn accept_timeout(&self) -> Result<Option<Duration>, Error> {
        Ok(self.accept_limit.span())
    }

    /// Sets the hop limit of packets sent.
    ///
    /// # Errors
    /// As the host reports.
    pub fn set_ttl(&self, ttl: u32) -> Result<(), Error> {
        Ok(io::set_option(self.id, SocketOption::Ttl, ttl)?)
    }

    /// The hop limit of packets sent.
    ///
    /// # Errors
    /// As the host reports.
    pub fn ttl(&self) -> Result<u32, Error> {
        Ok(io::read_option(self.id, SocketOption::Ttl)?)
    }

    /// Takes the error that the socket has pending.
    ///
    /// # Errors
    /// As the host reports.
    pub fn take_error(&self) -> Result<Option<Error>, Error> {
        take_error(self.id)
    }

    /// The socket's id.
    pub const fn id(&self) -> Id {
        self.id
    }

    /// Takes charge of the listening socket that `id` names: it is closed when this is dropped. An
    /// id that names none is answered with `Stale` by every call.
    pub fn from_id(id: Id) -> Self {
        Self {
            id,
            accept_limit: Limit::default(),
        }
    }

    /// Gives up charge of the socket, which stays open.
    pub fn into_id(self) -> Id {
        ManuallyDrop::new(self).id
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        // A failure means that it was closed through its id, or that its runtime has ended.
        let _ = io::close(self.id);
    }
}

/// The connections of a listener; see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'listener> {
    listener: &'listener TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = Result<TcpStream, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

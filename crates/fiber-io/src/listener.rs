//! A TCP socket that listens.

use core::{iter::FusedIterator, net::SocketAddr, time::Duration};

use fiber_core::{
    Id, Namespace, Stale, io,
    process::Owner,
    request::{End, Interest, SocketOption},
};

use crate::{
    address::{ToSocketAddrs, each_address},
    error::Error,
    handle::{Handle, NotTransferred},
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
    id: Handle,
    accept_limit: Limit,
}

impl TcpListener {
    /// Listens at the first of the addresses that can be bound; port 0 asks for a free port.
    ///
    /// # Errors
    /// The last address's: `AddrInUse`, `AddrNotAvailable`, …; `NoRuntime` when the caller is not
    /// on a worker.
    pub fn bind(at: impl ToSocketAddrs) -> Result<Self, Error> {
        each_address(at, |address| Ok(Self::new(io::listen(address, BACKLOG)?)))
    }

    /// The address at which it listens.
    ///
    /// # Errors
    /// `Stale` when the runtime has ended.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(io::address(self.id(), End::Local)?)
    }

    /// Makes another handle for the same socket, which closes when the last one is dropped. The new
    /// handle starts with a copy of the limit of time.
    ///
    /// # Errors
    /// `TooManyDescriptors` at a limit.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            id: Handle::new(io::duplicate(self.id())?),
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
        let (id, peer) = io::accept(self.id(), self.accept_limit.deadline())?;
        Ok((TcpStream::new(id), peer))
    }

    /// Accepts a connection that waits already; `None` when there is none. Never suspends.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub fn try_accept(&self) -> Result<Option<(TcpStream, SocketAddr)>, Error> {
        let accepted = io::try_accept(self.id())?;
        Ok(accepted.map(|(id, peer)| (TcpStream::new(id), peer)))
    }

    /// The operation that accepts a connection. If another arm of its choice wins, none was
    /// accepted: the connection waits for whoever asks next. No limit of time counts: give the
    /// choice an arm for that.
    ///
    /// # Errors
    /// What it gives is an error as [`TcpListener::accept`]'s.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn accept_operation(&self) -> AcceptOperation {
        operation::accept(self.id())
    }

    /// The operation that waits until a connection is there, and leaves it there: another fiber may
    /// be faster to accept it.
    ///
    /// # Errors
    /// What it gives is an error as [`TcpStream::readable_operation`]'s.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn acceptable_operation(&self) -> ReadyOperation {
        operation::ready(self.id(), Interest::Readable)
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
        Ok(io::set_option(self.id(), SocketOption::Ttl, ttl)?)
    }

    /// The hop limit of packets sent.
    ///
    /// # Errors
    /// As the host reports.
    pub fn ttl(&self) -> Result<u32, Error> {
        Ok(io::read_option(self.id(), SocketOption::Ttl)?)
    }

    /// Takes the error that the socket has pending.
    ///
    /// # Errors
    /// As the host reports.
    pub fn take_error(&self) -> Result<Option<Error>, Error> {
        take_error(self.id())
    }

    /// The id, by which it is known everywhere. It stays in charge of what that names.
    pub const fn id(&self) -> Id {
        self.id.id()
    }

    /// Takes charge of the socket that `id` names: it is closed when this is dropped. As
    /// std's `from_raw_fd`, but any number may be offered.
    ///
    /// # Errors
    /// When `id` names nothing, nothing any more, or something else.
    pub fn from_id(id: Id) -> Result<Self, Stale> {
        Handle::from_id(id, Namespace::LISTENER).map(Self::of)
    }

    /// Gives up charge of the socket, which stays open until its process ends. As std's
    /// `into_raw_fd`.
    pub fn into_id(self) -> Id {
        self.id.into_id()
    }

    /// Makes another handle for the socket, as [`TcpListener::try_clone`], that belongs to another
    /// process, or to the runtime's first one, `None`: it stays open when the own process ends.
    ///
    /// # Errors
    /// As [`dup_to`](fiber_core::id::dup_to).
    pub fn dup_to(&self, to: &impl Owner) -> Result<Self, Error> {
        Ok(Self {
            id: self.id.dup_to(to)?,
            accept_limit: self.accept_limit.clone(),
        })
    }

    /// Gives the socket to another process, or to the runtime's first one, `None`: it stays open
    /// when the own process ends, and is closed when that one does. The handle that this gives is
    /// for a fiber of that process, the old id is stale.
    ///
    /// # Suspends
    /// As [`transfer_to`](fiber_core::id::transfer_to).
    ///
    /// # Errors
    /// As [`transfer_to`](fiber_core::id::transfer_to), with the handle as it was.
    pub fn transfer_to(self, to: &impl Owner) -> Result<Self, NotTransferred<Self>> {
        let Self { id, accept_limit } = self;
        let with = |id| Self { id, accept_limit };
        match id.transfer_to(to) {
            Ok(id) => Ok(with(id)),
            Err((id, error)) => Err(NotTransferred::new(with(id), error)),
        }
    }

    pub(crate) fn new(id: Id) -> Self {
        Self::of(Handle::new(id))
    }

    fn of(id: Handle) -> Self {
        Self {
            id,
            accept_limit: Limit::default(),
        }
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

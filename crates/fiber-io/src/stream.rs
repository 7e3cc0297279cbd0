//! A TCP connection.

use core::{net::SocketAddr, time::Duration};

use fiber_core::{
    Id, IoError, IoErrorKind, Namespace, Stale, io,
    process::Owner,
    request::{End, Interest, Shutdown, SocketOption},
};

use crate::{
    address::{ToSocketAddrs, each_address},
    error::Error,
    handle::{Handle, NotTransferred},
    limit::{self, Limit},
    operation::{self, ReadyOperation},
};

/// A TCP connection: `std::net::TcpStream` on fibers.
///
/// It may be shared and sent: one fiber can read while another writes, on any worker. Dropping it
/// closes the connection, on a fiber, on a plain thread, or after its runtime has ended; the drop
/// never waits. Whoever is blocked on it then (through [`TcpStream::from_id`]) gets `Closed`.
///
/// # Examples
/// ```no_run
/// use fiber_io::{Read, TcpStream, Write};
///
/// # fn on_a_fiber() -> Result<(), fiber_io::Error> {
/// let mut stream = TcpStream::connect("127.0.0.1:7")?;
/// stream.write_all(b"hello")?;
/// let mut echoed = [0; 5];
/// stream.read_exact(&mut echoed)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpStream {
    id: Handle,
    pub(crate) read_limit: Limit,
    pub(crate) write_limit: Limit,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Suspends
    /// Until a connection stands or all have failed.
    ///
    /// # Errors
    /// The last address's: `ConnectionRefused`, `HostUnreachable`, …; `NoRuntime` when the caller
    /// is not on a fiber.
    pub fn connect(to: impl ToSocketAddrs) -> Result<Self, Error> {
        each_address(to, |address| Ok(Self::new(io::connect(address, None)?)))
    }

    /// [`TcpStream::connect`] to one address, for `limit` at the most.
    ///
    /// # Errors
    /// `TimedOut`; `InvalidInput` when `limit` is zero; else as [`TcpStream::connect`].
    pub fn connect_timeout(to: &SocketAddr, limit: Duration) -> Result<Self, Error> {
        let deadline = limit::after(limit::checked(limit)?);
        Ok(Self::new(io::connect(*to, deadline)?))
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// `NotConnected`, or `Stale` when the runtime has ended.
    pub fn peer_addr(&self) -> Result<SocketAddr, Error> {
        Ok(io::address(self.id(), End::Peer)?)
    }

    /// The address of this end.
    ///
    /// # Errors
    /// `Stale` when the runtime has ended.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(io::address(self.id(), End::Local)?)
    }

    /// Ends reading, writing or both, for every handle of this connection. Blocked readers see the
    /// end of the stream.
    ///
    /// # Errors
    /// `NotConnected` when the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        Ok(io::shutdown(self.id(), how)?)
    }

    /// Makes another handle for the same connection, which closes when the last one is dropped.
    /// The new handle starts with a copy of the limits of time.
    ///
    /// # Errors
    /// `TooManyDescriptors` at a limit.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            id: Handle::new(io::duplicate(self.id())?),
            read_limit: self.read_limit.clone(),
            write_limit: self.write_limit.clone(),
        })
    }

    /// Limits the time of each read through this handle; `None` is no limit. A read that has
    /// reached it fails with `TimedOut`, having read nothing.
    ///
    /// # Errors
    /// `InvalidInput` when it is zero.
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> Result<(), Error> {
        self.read_limit.set(limit)
    }

    /// Limits the time of each write through this handle; `None` is no limit. A write that has
    /// reached it fails with `TimedOut`.
    ///
    /// # Errors
    /// `InvalidInput` when it is zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> Result<(), Error> {
        self.write_limit.set(limit)
    }

    /// The limit of time of reads.
    ///
    /// # Errors
    /// None; the shape is std's.
    pub fn read_timeout(&self) -> Result<Option<Duration>, Error> {
        Ok(self.read_limit.span())
    }

    /// The limit of time of writes.
    ///
    /// # Errors
    /// None; the shape is std's.
    pub fn write_timeout(&self) -> Result<Option<Duration>, Error> {
        Ok(self.write_limit.span())
    }

    /// Sends small writes at once instead of collecting them (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As the host reports.
    pub fn set_nodelay(&self, nodelay: bool) -> Result<(), Error> {
        Ok(io::set_option(
            self.id(),
            SocketOption::NoDelay,
            u32::from(nodelay),
        )?)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// As the host reports.
    pub fn nodelay(&self) -> Result<bool, Error> {
        Ok(io::read_option(self.id(), SocketOption::NoDelay)? != 0)
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

    /// Waits until a read would not block; the read's limit of time counts.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Errors
    /// As a read's.
    pub fn readable(&self) -> Result<(), Error> {
        let deadline = self.read_limit.deadline();
        Ok(io::ready(self.id(), Interest::Readable, deadline)?)
    }

    /// Waits until a write would not block; the write's limit of time counts.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Errors
    /// As a write's.
    pub fn writable(&self) -> Result<(), Error> {
        let deadline = self.write_limit.deadline();
        Ok(io::ready(self.id(), Interest::Writable, deadline)?)
    }

    /// Reads what has come already; `None` when nothing has, `Some(0)` at the end of the stream.
    /// Never suspends.
    ///
    /// # Errors
    /// As a read's.
    pub fn try_read(&self, into: &mut [u8]) -> Result<Option<usize>, Error> {
        if into.is_empty() {
            return Ok(Some(0));
        }
        Ok(io::try_recv(self.id(), into)?)
    }

    /// Writes what the connection takes now, and gives how much; `None` when it takes nothing.
    /// Never suspends.
    ///
    /// # Errors
    /// As a write's.
    pub fn try_write(&self, from: &[u8]) -> Result<Option<usize>, Error> {
        if from.is_empty() {
            return Ok(Some(0));
        }
        Ok(io::try_send(self.id(), from)?)
    }

    /// The operation that waits until a read would not block: for a choice, or for a fiber that
    /// holds no stack until then. It takes no bytes, so that an arm that loses leaves them where
    /// they are; whoever has won reads with [`TcpStream::try_read`], since somebody else may have
    /// been faster. No limit of time counts: give the choice an arm for that.
    ///
    /// It borrows nothing. When the stream is closed while it waits it gives `Closed`.
    ///
    /// # Errors
    /// What it gives is an error when the stream is closed, `ForeignRuntime` on a fiber of another
    /// runtime than the one that opened it, `NoRuntime` on a plain thread, `TooManyRequests` when
    /// its worker has too many requests in flight. An error of the connection is readiness: the
    /// read tells it.
    ///
    /// # Examples
    /// Connections that are echoed, and that hold no stack while they are idle:
    /// ```
    /// use fiber_io::{TcpListener, TcpStream};
    /// use fiber_sched::spawn_when;
    /// # use fiber_io::{Read, Write};
    ///
    /// /// Answers what has come, and waits for more as a fiber that has not started.
    /// fn echo(stream: TcpStream) {
    ///     drop(spawn_when(stream.readable_operation(), move |ready| {
    ///         ready?;
    ///         let mut bytes = [0; 1024];
    ///         match stream.try_read(&mut bytes)? {
    ///             Some(0) => return Ok(()),
    ///             Some(count) => (&stream).write_all(&bytes[..count])?,
    ///             None => {}
    ///         }
    ///         echo(stream);
    ///         Ok::<(), fiber_io::Error>(())
    ///     }));
    /// }
    ///
    /// # fn main_fiber() -> Result<(), fiber_io::Error> {
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut client = TcpStream::connect(listener.local_addr()?)?;
    /// echo(listener.accept()?.0);
    /// for message in [b"hello", b"world"] {
    ///     let mut echoed = [0; 5];
    ///     client.write_all(message)?;
    ///     client.read_exact(&mut echoed)?;
    ///     assert_eq!(&echoed, message);
    /// }
    /// # Ok(())
    /// # }
    /// # let linux = host_linux::Linux::new(host_linux::Config::default()).unwrap();
    /// # fiber_sched::Runtime::builder(linux).run(main_fiber).unwrap().unwrap();
    /// ```
    #[must_use = "an operation does nothing until it is performed"]
    pub fn readable_operation(&self) -> ReadyOperation {
        operation::ready(self.id(), Interest::Readable)
    }

    /// The operation that waits until a write would not block; otherwise as
    /// [`TcpStream::readable_operation`], with [`TcpStream::try_write`].
    ///
    /// # Errors
    /// What it gives is an error as [`TcpStream::readable_operation`]'s.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn writable_operation(&self) -> ReadyOperation {
        operation::ready(self.id(), Interest::Writable)
    }

    /// The id, by which it is known everywhere. It stays in charge of what that names.
    pub const fn id(&self) -> Id {
        self.id.id()
    }

    /// Takes charge of the connection that `id` names: it is closed when this is dropped. As
    /// std's `from_raw_fd`, but any number may be offered.
    ///
    /// # Errors
    /// When `id` names nothing, nothing any more, or something else.
    pub fn from_id(id: Id) -> Result<Self, Stale> {
        Handle::from_id(id, Namespace::STREAM).map(Self::of)
    }

    /// Gives up charge of the connection, which stays open until its process ends. As std's
    /// `into_raw_fd`.
    pub fn into_id(self) -> Id {
        self.id.into_id()
    }

    /// Makes another handle for the connection, as [`TcpStream::try_clone`], that belongs to
    /// another process, or to the runtime's first one, `None`: it stays open when the own process
    /// ends.
    ///
    /// # Errors
    /// As [`dup_to`](fiber_core::id::dup_to).
    pub fn dup_to(&self, to: &impl Owner) -> Result<Self, Error> {
        Ok(Self {
            id: self.id.dup_to(to)?,
            read_limit: self.read_limit.clone(),
            write_limit: self.write_limit.clone(),
        })
    }

    /// Gives the connection to another process, or to the runtime's first one, `None`: it stays
    /// open when the own process ends, and is closed when that one does. The handle that this gives
    /// is for a fiber of that process, the old id is stale.
    ///
    /// # Suspends
    /// As [`transfer_to`](fiber_core::id::transfer_to).
    ///
    /// # Errors
    /// As [`transfer_to`](fiber_core::id::transfer_to), with the handle as it was.
    pub fn transfer_to(self, to: &impl Owner) -> Result<Self, NotTransferred<Self>> {
        let Self {
            id,
            read_limit,
            write_limit,
        } = self;
        let with = |id| Self {
            id,
            read_limit,
            write_limit,
        };
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
            read_limit: Limit::default(),
            write_limit: Limit::default(),
        }
    }
}

/// What a socket has pending, as the host numbers it.
pub(crate) fn take_error(id: Id) -> Result<Option<Error>, Error> {
    let code = io::read_option(id, SocketOption::Error)?;
    let code = i32::try_from(code).unwrap_or(i32::MAX);
    Ok((code != 0).then(|| IoError::new(IoErrorKind::Other, code).into()))
}

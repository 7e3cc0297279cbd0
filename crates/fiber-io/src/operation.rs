//! What can be waited for in a choice, or before a fiber starts: readiness, a connection, a signal.
//!
//! An arm that loses has taken nothing. So bytes of a stream are never an arm: wait until the
//! stream is ready, then [`TcpStream::try_read`].

use core::net::SocketAddr;

use fiber_core::{
    Id, IoError, IoErrorKind, io,
    operation::{Operation, Wrap},
    request::Interest,
    signal::Signal,
};

use crate::{error::Error, stream::TcpStream};

/// Waits until a read, a write or an accept would not block; see
/// [`TcpStream::readable_operation`].
pub type ReadyOperation = Wrap<io::ReadyOperation, fn(Result<(), IoError>) -> Result<(), Error>>;

/// Accepts a connection; see [`TcpListener::accept_operation`](crate::TcpListener).
pub type AcceptOperation = Wrap<
    io::AcceptOperation,
    fn(Result<(Id, SocketAddr), IoError>) -> Result<(TcpStream, SocketAddr), Error>,
>;

/// Takes a signal; see [`Signals::wait_operation`](crate::signal::Signals::wait_operation).
pub type SignalOperation =
    Wrap<io::RecvByteOperation, fn(Result<Option<u8>, IoError>) -> Result<Signal, Error>>;

pub(crate) fn ready(id: Id, interest: Interest) -> ReadyOperation {
    io::ready_operation(id, interest).wrap(|ready| Ok(ready?))
}

pub(crate) fn accept(id: Id) -> AcceptOperation {
    io::accept_operation(id).wrap(|accepted| {
        let (id, peer) = accepted?;
        Ok((TcpStream::new(id), peer))
    })
}

pub(crate) fn signal(id: Id) -> SignalOperation {
    io::recv_byte_operation(id).wrap(|number| match number? {
        None => Err(IoErrorKind::Closed.into()),
        // Hosts tell of those that were asked for.
        Some(number) => Signal::from_number(number).ok_or_else(|| IoErrorKind::Other.into()),
    })
}

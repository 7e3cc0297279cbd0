//! The acceptor: it takes connections in, and has nothing that would be lost with it.
//!
//! It is a process of its own, which a supervisor starts again. The listener is not its own, and
//! what it has accepted is given away before anything else can happen to it.

use alloc::sync::Arc;
use core::{net::SocketAddr, time::Duration};

use fiber::{
    IoErrorKind, Process,
    io::{Error, TcpListener, TcpStream},
    sync::{Latch, channel::Sender},
};

use crate::Cache;

/// How long the acceptor rests when no descriptor is left, rather than ask again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Somebody who has connected, and is nobody's business yet.
pub(super) struct Newcomer {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
}

/// What an acceptor needs; there may be several, one after the other.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) cache: Arc<Cache>,
    /// Whose the connections are to be until each has its process.
    pub(super) owner: Option<Process>,
    pub(super) door: Sender<Newcomer>,
    /// Opened when nobody comes any more.
    pub(super) closed: Arc<Latch>,
}

impl Acceptor {
    /// Accepts until the listener is closed, or nobody takes what comes.
    ///
    /// # Errors
    /// When accepting fails for good.
    pub(super) fn accept(&self) -> Result<(), Error> {
        let mut shortage = false;
        loop {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    IoErrorKind::Closed | IoErrorKind::Stale => {
                        self.closed.open();
                        return Ok(());
                    }
                    IoErrorKind::TooManyDescriptors | IoErrorKind::OutOfMemory => {
                        self.pause(&error, shortage);
                        shortage = true;
                        continue;
                    }
                    // The client was gone before we had its connection.
                    IoErrorKind::ConnectionAborted | IoErrorKind::ConnectionReset => continue,
                    _ => return Err(error),
                },
            };
            if shortage {
                tracing::info!("accepting again");
                shortage = false;
            }
            // Before it waits for anything: the acceptor may be killed there.
            let stream = match stream.transfer_to(&self.owner) {
                Ok(stream) => stream,
                Err(refused) => {
                    let error = refused.error();
                    tracing::warn!(%error, "a connection is closed: there is no id for it");
                    continue;
                }
            };
            if self.door.send(Newcomer { stream, peer }).is_err() {
                return Ok(());
            }
        }
    }

    fn pause(&self, error: &Error, again: bool) {
        if !again {
            tracing::warn!(
                %error,
                "cannot accept: new connections wait until others have ended; \
                 raise the limit of open files (LimitNOFILE, ulimit -n)"
            );
        }
        self.cache.server().count_accept_pause();
        fiber::sleep(PAUSE);
    }
}

//! A drain: nobody new is let in, who is served leaves with whole answers.
//!
//! The acceptor and every connection hold a [`Presence`]; when the last is gone, so are they all.
//! A connection looks at it after each batch, and a quiet one is in a list, to be woken.

use alloc::{collections::BTreeSet, sync::Arc};
use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fiber::{
    Id,
    core::{io, request::Shutdown},
    id,
    io::{TcpListener, TcpStream},
    sync::{
        Mutex,
        channel::{self, Receiver, RecvTimeoutError, Sender},
    },
};

use crate::sync::lock;

/// Requests that arrive so soon after the beginning of a drain are still answered: the ones that
/// were already on their way through the system.
const LAST_CALL: Duration = Duration::from_millis(100);

/// Ends what [`serve`](super::serve) has begun.
#[derive(Debug)]
pub struct Drain {
    listener: Id,
    shared: Arc<Shared>,
    everybody: Receiver<()>,
}

/// Somebody who is there; see [`Drain`].
#[derive(Clone, Debug)]
pub struct Presence {
    shared: Arc<Shared>,
    _here: Sender<()>,
}

#[derive(Debug)]
struct Shared {
    /// When the last call is over, in nanoseconds of the runtime's clock; 0 until there is one.
    last_call: AtomicU64,
    quiet: Mutex<Quiet>,
}

/// Who waits for a client that has been silent for a while.
#[derive(Debug, Default)]
struct Quiet {
    is_draining: bool,
    /// In order: who is woken first must be the same in each run of a simulated world.
    connections: BTreeSet<Id>,
}

impl Drain {
    /// The drain of what serves `listener`, and the first presence: the acceptor's.
    #[must_use]
    pub fn of(listener: &TcpListener) -> (Self, Presence) {
        let shared = Arc::new(Shared {
            last_call: AtomicU64::new(0),
            quiet: Mutex::new(Quiet::default()),
        });
        let (here, everybody) = channel::bounded(1);
        let drain = Self {
            listener: listener.id(),
            shared: Arc::clone(&shared),
            everybody,
        };
        let presence = Presence {
            shared,
            _here: here,
        };
        (drain, presence)
    }

    /// Stops the listening and wakes who is quiet; the others notice by themselves. A second call
    /// does nothing.
    pub fn begin(&self) {
        let over = fiber::time::now() + LAST_CALL;
        let woken = {
            let mut quiet = lock(&self.shared.quiet);
            if quiet.is_draining {
                return;
            }
            quiet.is_draining = true;
            self.shared
                .last_call
                .store(over.as_nanos().max(1), Ordering::Relaxed);
            quiet.connections.clone()
        };
        // It fails if the acceptor has ended with an error, and closed it.
        let _ = id::close(self.listener);
        for connection in woken {
            // One that has ended meanwhile is stale.
            let _ = io::shutdown(connection, Shutdown::Read);
        }
    }

    /// Waits until everybody has gone, for `limit` at the most; says whether they have.
    ///
    /// # Suspends
    /// Until then.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        // Nobody ever sends anything: the channel ends with its last sender.
        self.everybody.recv_timeout(limit) == Err(RecvTimeoutError::Closed)
    }
}

impl Presence {
    /// Whether nobody new is let in any more.
    pub(super) fn is_draining(&self) -> bool {
        self.shared.last_call.load(Ordering::Relaxed) != 0
    }

    /// Whether no further requests are to be read.
    pub(super) fn is_last_call_over(&self) -> bool {
        let over = self.shared.last_call.load(Ordering::Relaxed);
        over != 0 && fiber::time::now().as_nanos() >= over
    }

    /// Lets a drain wake whoever waits for `stream` while the result lives; `None` if there is one
    /// already.
    pub(super) fn quiet(&self, stream: &TcpStream) -> Option<QuietGuard<'_>> {
        let mut quiet = lock(&self.shared.quiet);
        if quiet.is_draining {
            return None;
        }
        quiet.connections.insert(stream.id());
        Some(QuietGuard {
            shared: &self.shared,
            connection: stream.id(),
        })
    }
}

/// A connection that is quiet.
pub(super) struct QuietGuard<'a> {
    shared: &'a Shared,
    connection: Id,
}

impl Drop for QuietGuard<'_> {
    fn drop(&mut self) {
        lock(&self.shared.quiet)
            .connections
            .remove(&self.connection);
    }
}

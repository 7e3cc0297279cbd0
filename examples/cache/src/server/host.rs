//! The host: it gives everybody who comes a process of their own.
//!
//! It lives where the connections are to be children, which is not the acceptor's process: they
//! outlive that.

use alloc::sync::Arc;
use core::time::Duration;
use std::io::{self, Write};

use fiber::{
    Process, StackClass, choose,
    io::{NotTransferred, TcpListener, TcpStream},
    sync::{
        Latch,
        channel::{self, Sender},
    },
};

use super::{
    Failure, Mistake, Presence, Service,
    acceptor::{Acceptor, Newcomer},
    connection,
    supervise::supervise,
};
use crate::Cache;

/// A connection's stack: its frames are few, and a program without optimisation needs more.
pub(super) const STACK: StackClass = if cfg!(debug_assertions) {
    StackClass::K256
} else {
    StackClass::K64
};

/// How long a connection that is cancelled has to unwind, which takes no time at all: it waits for
/// nobody then.
const GRACE: Duration = Duration::from_secs(1);

/// How long a client may take to be told that it is not served.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a client is told that is one too many; memcached's words.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// So many refused connections wait to be told why; the others are closed without a word, so that
/// nobody waits for a client.
pub const REFUSALS_MAX: usize = 64;

/// So many have been accepted and have no process yet; the others wait in the system's backlog.
const NEWCOMERS_MAX: usize = 64;

/// Where a server listens.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "two doors")]
pub struct Listeners {
    /// For clients.
    pub clients: TcpListener,
    /// For the operator: `processes` and `kill`. Whoever can connect here can do anything.
    pub admin: Option<TcpListener>,
}

/// Accepts and serves connections until `listeners.clients` is closed, by [`Drain::begin`] for
/// one. They are processes, children of the caller's. So is a supervisor, which starts the
/// acceptor and what serves operators again if they are killed or fail.
///
/// [`Drain::begin`]: super::Drain::begin
///
/// # Suspends
/// While it waits for connections.
///
/// # Errors
/// When accepting fails again and again; a connection that fails ends alone.
pub fn serve(
    listeners: Listeners,
    cache: &Arc<Cache>,
    service: Service,
    presence: &Presence,
) -> Result<(), Failure> {
    let (door, newcomers) = channel::bounded(NEWCOMERS_MAX);
    let closed = Arc::new(Latch::new());
    let acceptor = Acceptor {
        listener: listeners.clients,
        cache: Arc::clone(cache),
        owner: Process::current(),
        door,
        closed: Arc::clone(&closed),
    };
    let supervisor = supervise(acceptor, listeners.admin)?;
    let terms = Arc::new(Terms {
        service,
        presence: presence.clone(),
    });
    let refusals = start_refusing();
    loop {
        let newcomer = choose! {
            newcomer = newcomers.recv_operation() => newcomer.ok(),
            // Those who have come before are still to be served.
            () = closed.wait_operation() => newcomers.try_recv().ok(),
            _ = supervisor.process().end_operation() => None,
        };
        match newcomer {
            Some(newcomer) => host(newcomer, cache, &terms, &refusals),
            None if closed.try_wait() => break,
            // The door was the supervisor's.
            None => return Err(Failure::GivenUp(supervisor.process().monitor().wait())),
        }
    }
    cache.server().stop_accepting();
    Ok(())
}

/// What all connections share, rather than have on their stacks.
struct Terms {
    service: Service,
    presence: Presence,
}

/// Gives somebody who has come a process.
fn host(
    Newcomer { stream, peer }: Newcomer,
    cache: &Arc<Cache>,
    terms: &Arc<Terms>,
    refusals: &Sender<TcpStream>,
) {
    let Some(open) = Open::new(cache) else {
        // A full queue closes the connection without a word.
        let _ = refusals.try_send(stream);
        return;
    };
    let terms = Arc::clone(terms);
    let limits = terms.service.client;
    let process = Process::builder()
        .name(format!("conn {peer}"))
        .fibers_max(limits.fibers)
        .ids_max(limits.ids)
        .stack_bytes_max(limits.stack_bytes)
        .stack(STACK)
        .grace(GRACE);
    // Nobody waits for its end: a panic in it is logged, and ends that connection alone.
    let spawned = process.spawn(move || attend(stream, open, &terms));
    if let Err(error) = spawned {
        tracing::warn!(%peer, %error, "a connection is closed: there is no process for it");
    }
}

/// A connection's whole life, in its process.
// What happens once or never has frames of its own, for a connection is to touch one page of stack.
fn attend(stream: TcpStream, open: Open, terms: &Terms) {
    let Some(stream) = take_over(stream) else {
        return;
    };
    let Terms { service, presence } = terms;
    if let Err(error) = connection::attend(&stream, open.cache(), service, presence) {
        tell_end(&error);
        if service.mistake == Mistake::ForgetsWhoLeaves {
            core::mem::forget(open);
        }
    }
}

/// Makes the connection the calling process's own.
#[inline(never)]
fn take_over(stream: TcpStream) -> Option<TcpStream> {
    let taken = stream.transfer_to(&Process::current());
    taken.map_err(tell_limit).ok()
}

#[cold]
#[inline(never)]
fn tell_limit(refused: NotTransferred<TcpStream>) {
    let error = refused.error();
    tracing::warn!(%error, "a connection is refused");
    let words = format!("SERVER_ERROR {error}\r\n");
    refuse(&refused.into_handle(), words.as_bytes());
}

#[cold]
#[inline(never)]
fn tell_end(error: &io::Error) {
    tracing::debug!(%error, "connection ended");
}

/// Starts the fiber that tells clients that they are too many; it ends with the sender.
fn start_refusing() -> Sender<TcpStream> {
    let (refusals, refused) = channel::bounded(REFUSALS_MAX);
    drop(fiber::spawn(move || {
        for stream in refused.iter() {
            refuse(&stream, TOO_MANY);
        }
    }));
    refusals
}

/// Tells a client why it is not served. A new connection has room for it, so this waits only for
/// clients that are broken.
pub(super) fn refuse(mut stream: &TcpStream, why: &[u8]) {
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let _ = stream.write_all(why);
}

/// One counted connection; counted out in whatever way its process ends.
struct Open(Arc<Cache>);

impl Open {
    fn new(cache: &Arc<Cache>) -> Option<Self> {
        cache
            .server()
            .try_open_connection()
            .then(|| Self(Arc::clone(cache)))
    }

    fn cache(&self) -> &Cache {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.server().close_connection();
    }
}

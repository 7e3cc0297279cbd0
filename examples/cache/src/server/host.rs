//! The host: it gives everybody who comes a process of their own.
//!
//! It lives where the connections are to be children, which is not the acceptor's process: they
//! outlive that.

use alloc::sync::Arc;
use core::time::Duration;
use std::io::Write;

use fiber::{
    FiberBuilder, Priority, Process, SpawnError, StackClass,
    io::{TcpListener, TcpStream},
    sync::channel::{self, Receiver, Sender},
};

use super::{
    Failure, Mistake, Presence, Service,
    acceptor::{Acceptor, Newcomer},
    connection,
    keep::keep,
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

/// Accepts and serves connections until `listener` is closed, by [`Drain::begin`] for one. They
/// are processes, children of the caller's. So is the acceptor, which is started again when it is
/// killed or panics.
///
/// [`Drain::begin`]: super::Drain::begin
///
/// # Suspends
/// While it waits for connections.
///
/// # Errors
/// When accepting fails for good, or again and again; a connection that fails ends alone.
pub fn serve(
    listener: TcpListener,
    cache: &Arc<Cache>,
    service: Service,
    presence: &Presence,
) -> Result<(), Failure> {
    let (door, newcomers) = channel::bounded(NEWCOMERS_MAX);
    let (its_own, is_here) = (Arc::clone(cache), presence.clone());
    let host = move || host(&newcomers, &its_own, service, &is_here);
    // Before the connections, as the acceptor: with thousands of them at work, a newcomer would
    // else wait until each has had its turn.
    let host = FiberBuilder::new().priority(Priority::High).spawn(host);
    let host = host.map_err(Failure::Spawn)?;
    let (its_own, owner) = (Arc::clone(cache), Process::current());
    let listener = Arc::new(listener);
    let accept = move || {
        let acceptor = Acceptor {
            listener: &listener,
            server: its_own.server(),
            owner: &owner,
            door: &door,
        };
        acceptor.accept()
    };
    let acceptor = Process::builder().name("acceptor").priority(Priority::High);
    // The door closes with the last acceptor, and then the host goes.
    let accepted = keep(&acceptor, accept);
    cache.server().stop_accepting();
    // It is cancelled only together with this fiber.
    let _ = host.join();
    accepted?.map_err(Failure::Accept)
}

/// Hosts who comes, until nobody can any more.
fn host(newcomers: &Receiver<Newcomer>, cache: &Arc<Cache>, service: Service, presence: &Presence) {
    let refusals = start_refusing();
    for Newcomer { stream, peer } in newcomers.iter() {
        let Some(open) = Open::new(cache) else {
            // A full queue closes the connection without a word.
            let _ = refusals.try_send(stream);
            continue;
        };
        let presence = presence.clone();
        let limits = service.client;
        let process = Process::builder()
            .name(format!("conn {peer}"))
            .fibers_max(limits.fibers)
            .ids_max(limits.ids)
            .stack_bytes_max(limits.stack_bytes)
            .stack(STACK)
            .grace(GRACE);
        // Nobody waits for its end: a panic in it is logged, and ends that connection alone.
        let spawned = process.spawn(move || attend(stream, open, service, &presence));
        if let Err(error) = spawned {
            tracing::warn!(%peer, %error, "a connection is closed: there is no process for it");
            if matches!(error, SpawnError::Ended | SpawnError::ProcessEnded) {
                return;
            }
        }
    }
}

/// A connection's whole life, in its process.
fn attend(stream: TcpStream, open: Open, service: Service, presence: &Presence) {
    let stream = match stream.transfer_to(&Process::current()) {
        Ok(stream) => stream,
        Err(refused) => {
            let error = refused.error();
            tracing::warn!(%error, "a connection is refused");
            let words = format!("SERVER_ERROR {error}\r\n");
            return refuse(&refused.into_handle(), words.as_bytes());
        }
    };
    if let Err(error) = connection::attend(&stream, open.cache(), service, presence) {
        tracing::debug!(%error, "connection ended");
        if service.mistake == Mistake::ForgetsWhoLeaves {
            core::mem::forget(open);
        }
    }
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

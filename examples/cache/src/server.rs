//! The server: one fiber that accepts, one fiber a connection, plain blocking code.
//!
//! It knows no host: the binary runs it on Linux, the simulation on simulated nodes.

use alloc::sync::Arc;
use core::time::Duration;
use std::io::{Read, Write};

use fiber::{
    FiberBuilder, IoErrorKind,
    io::{TcpListener, TcpStream},
};

use crate::{Cache, Limits, Progress, Seconds, Session, recycle};

/// How long the acceptor rests when no descriptor is left, rather than ask again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client is told that is one too many; memcached's words.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// How connections are served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Service {
    limits: Limits,
    planted_mistake: bool,
}

impl Service {
    /// Sessions with these limits.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            planted_mistake: false,
        }
    }

    /// Answers before the store is updated, for the simulation that has to notice.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_planted_mistake(self) -> Self {
        Self {
            planted_mistake: true,
            ..self
        }
    }

    fn session(self) -> Session {
        if self.planted_mistake {
            Session::with_planted_mistake(self.limits)
        } else {
            Session::new(self.limits)
        }
    }
}

/// The time of day, as the runtime has it.
#[must_use]
pub fn now() -> Seconds {
    Seconds::from_unix(fiber::time::wall().since_unix().as_secs())
}

/// Accepts and serves connections until `listener` is closed.
///
/// # Suspends
/// While it waits for connections.
///
/// # Errors
/// When accepting fails for good; a connection that fails ends alone.
pub fn serve(
    listener: &TcpListener,
    cache: &Arc<Cache>,
    service: Service,
) -> Result<(), fiber::io::Error> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => match error.kind() {
                IoErrorKind::Closed | IoErrorKind::Stale => return Ok(()),
                IoErrorKind::TooManyDescriptors | IoErrorKind::OutOfMemory => {
                    tracing::warn!(%error, "cannot accept: pausing");
                    fiber::sleep(PAUSE);
                    continue;
                }
                // The client was gone before we had its connection.
                IoErrorKind::ConnectionAborted | IoErrorKind::ConnectionReset => continue,
                _ => return Err(error),
            },
        };
        let Some(open) = Open::new(cache) else {
            refuse(&stream);
            continue;
        };
        let spawned = FiberBuilder::new().spawn(move || {
            let cache = open.cache();
            if let Err(error) = attend(&stream, cache, service.session()) {
                tracing::debug!(%error, "connection ended");
            }
        });
        // Detached: a panic in it is logged, and ends that connection alone.
        drop(spawned.expect("the acceptor runs on a fiber"));
    }
}

/// Serves one client until it leaves.
fn attend(mut stream: &TcpStream, cache: &Cache, mut session: Session) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = Vec::new();
    loop {
        let count = stream.read(session.space())?;
        if count == 0 {
            return Ok(());
        }
        session.filled(count);
        loop {
            let progress = session.process(cache, now(), &mut out);
            if !out.is_empty() {
                stream.write_all(&out)?;
                recycle(&mut out);
            }
            session.apply_late_updates(cache, now());
            match progress {
                Progress::Flush => {}
                Progress::Read => break,
                Progress::Close => return Ok(()),
            }
        }
    }
}

/// Tells a client that it is one too many. It is not waited for.
fn refuse(mut stream: &TcpStream) {
    let _ = stream.set_write_timeout(Some(PAUSE));
    let _ = stream.write_all(TOO_MANY);
}

/// One counted connection; counted out in whatever way its fiber ends.
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

//! The server: one fiber that accepts, one fiber a connection, plain blocking code.
//!
//! It knows no host: the binary runs it on Linux, the simulation on simulated nodes.
//!
//! ```text
//! operate ── signal ──▶ Drain: closes the listener, wakes who is quiet, waits
//!    └─ serve: accepts ─┬─ connection::attend, a fiber each: read, answer, write
//!                       └─ refuse: one fiber for all that are one too many
//! ```

mod connection;
mod drain;
mod operate;

use alloc::sync::Arc;
use core::time::Duration;
use std::io::Write;

use fiber::{
    FiberBuilder, IoErrorKind, StackClass,
    io::{TcpListener, TcpStream},
    sync::channel::{self, Sender},
};

pub use self::{
    drain::{Drain, Presence},
    operate::{Ending, SIGNALS, operate},
};
use crate::{Cache, Limits, Seconds, Session};

/// How long the acceptor rests when no descriptor is left, rather than ask again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client is told that is one too many; memcached's words.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// So many refused connections wait to be told why; the others are closed without a word, so that
/// the acceptor never waits for a client.
pub const REFUSALS_MAX: usize = 64;

/// A connection's stack: its frames are few, and a program without optimisation needs more.
const STACK: StackClass = if cfg!(debug_assertions) {
    StackClass::K256
} else {
    StackClass::K64
};

/// How connections are served.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    limits: Limits,
    idle_timeout: Option<Duration>,
    write_timeout: Duration,
    mistake: Mistake,
}

/// What is wrong with a server on purpose, for the simulation that has to find it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a list for tests")]
pub enum Mistake {
    /// Nothing.
    #[default]
    None,
    /// It answers before the store is updated.
    AnswersEarly,
    /// A drain closes while an answer is under way.
    DrainCutsAnswers,
    /// The time of silence is counted from the connection's start.
    IdleFromTheStart,
    /// Who is closed for a reason, as for being idle, is never counted out.
    ForgetsWhoLeaves,
    /// What was evicted stays counted, until nothing fits any more.
    ForgetsEvicted,
}

impl Mistake {
    /// Every mistake, and none.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::AnswersEarly,
        Self::DrainCutsAnswers,
        Self::IdleFromTheStart,
        Self::ForgetsWhoLeaves,
        Self::ForgetsEvicted,
    ];

    /// The flag that plants it, with a space behind.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::None => "",
            Self::AnswersEarly => "--answers-early ",
            Self::DrainCutsAnswers => "--drain-cuts-answers ",
            Self::IdleFromTheStart => "--idle-from-the-start ",
            Self::ForgetsWhoLeaves => "--forgets-who-leaves ",
            Self::ForgetsEvicted => "--forgets-evicted ",
        }
    }
}

impl Service {
    /// Sessions with these limits, which may be idle for any time and whose clients have a minute
    /// to take a part of an answer.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            idle_timeout: None,
            write_timeout: Duration::from_mins(1),
            mistake: Mistake::None,
        }
    }

    /// Closes connections that have been silent for so long; `None` is never.
    #[must_use]
    pub const fn idle_timeout(self, idle_timeout: Option<Duration>) -> Self {
        Self {
            idle_timeout,
            ..self
        }
    }

    /// Closes connections that take no byte of an answer for so long.
    #[must_use]
    pub const fn write_timeout(self, write_timeout: Duration) -> Self {
        Self {
            write_timeout,
            ..self
        }
    }

    /// Makes a mistake, for the simulation that has to notice.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_mistake(self, mistake: Mistake) -> Self {
        Self { mistake, ..self }
    }

    fn session(self) -> Session {
        if self.mistake == Mistake::AnswersEarly {
            Session::with_planted_mistake(self.limits)
        } else {
            Session::new(self.limits)
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

/// The time of day, as the runtime has it.
#[must_use]
pub fn now() -> Seconds {
    Seconds::from_unix(fiber::time::wall().since_unix().as_secs())
}

/// Accepts and serves connections until `listener` is closed, by [`Drain::begin`] for one.
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
    presence: &Presence,
) -> Result<(), fiber::io::Error> {
    let refusals = start_refusing();
    let mut shortage = false;
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => match error.kind() {
                IoErrorKind::Closed | IoErrorKind::Stale => {
                    cache.server().stop_accepting();
                    return Ok(());
                }
                IoErrorKind::TooManyDescriptors | IoErrorKind::OutOfMemory => {
                    if !shortage {
                        tracing::warn!(
                            %error,
                            "cannot accept: new connections wait until others have ended; \
                             raise the limit of open files (LimitNOFILE, ulimit -n)"
                        );
                    }
                    shortage = true;
                    cache.server().count_accept_pause();
                    fiber::sleep(PAUSE);
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
        let Some(open) = Open::new(cache) else {
            // A full queue closes the connection without a word.
            let _ = refusals.try_send(stream);
            continue;
        };
        let presence = presence.clone();
        // It stays where it starts, and lives long: where there is room, not just here.
        let spawned = FiberBuilder::new().stack(STACK).spawn_any(move || {
            let cache = open.cache();
            if let Err(error) = connection::attend(&stream, cache, service, &presence) {
                tracing::debug!(%error, "connection ended");
                if service.mistake == Mistake::ForgetsWhoLeaves {
                    core::mem::forget(open);
                }
            }
        });
        // Detached: a panic in it is logged, and ends that connection alone.
        drop(spawned.expect("the acceptor runs on a fiber"));
    }
}

/// Starts the fiber that tells clients that they are too many; it ends with the sender.
fn start_refusing() -> Sender<TcpStream> {
    let (refusals, refused) = channel::bounded(REFUSALS_MAX);
    drop(fiber::spawn(move || {
        for stream in refused.iter() {
            refuse(&stream);
        }
    }));
    refusals
}

/// Tells a client that it is one too many. A new connection has room for it, so this waits only
/// for clients that are broken.
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

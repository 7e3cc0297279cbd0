//! One connection: reads, answers, writes, until the client leaves or has to.
//!
//! ```text
//!          a batch is answered
//!        ┌──────────────────────┐
//!        ▼                      │
//!     lively ── bytes ──▶ answering ── drain, last call over ──▶ lingering ─▶ closed
//!      │   ▲                    ▲
//!      │   └── bytes ──┐        └── the last bytes of a drain
//!      └─ QUIET ──▶ quiet ── idle timeout, or nothing there at a drain ─────▶ closed
//! ```
//!
//! A lively connection lends the host its buffer. One that has said nothing for a while is quiet:
//! it gives its buffers back and waits for readiness only, so that it costs a page of stack.

use core::time::Duration;
use std::io::{Error, ErrorKind, Read, Result, Write};

use fiber::{
    Instant,
    io::{Shutdown, TcpStream},
};

use super::{Mistake, Presence, Service, now};
use crate::{Cache, Progress, Session, recycle};

/// After so much silence a connection is quiet.
const QUIET: Duration = Duration::from_millis(200);

/// How long a connection that is over stays for a client that neither closes it nor says anything.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one client until it leaves, or has been idle for too long, or the server drains.
pub(super) fn attend(
    stream: &TcpStream,
    cache: &Cache,
    service: &Service,
    presence: &Presence,
) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(service.write_timeout))?;
    let mut connection = Connection {
        stream,
        cache,
        service,
        presence,
        session: None,
        out: Vec::new(),
        started: fiber::time::now(),
    };
    while connection.receive()? > 0 {
        if connection.answer()? == Progress::Close {
            return Ok(());
        }
        if presence.is_last_call_over() {
            return connection.linger();
        }
    }
    Ok(())
}

struct Connection<'a> {
    stream: &'a TcpStream,
    cache: &'a Cache,
    service: &'a Service,
    presence: &'a Presence,
    /// `None` while nothing is under way that a new one would not know of.
    session: Option<Box<Session>>,
    out: Vec<u8>,
    started: Instant,
}

impl Connection<'_> {
    fn session(&mut self) -> &mut Session {
        let service = self.service;
        let session = || Box::new(service.session());
        self.session.get_or_insert_with(session)
    }

    // The frames of its steps lie over each other on the stack, of which a connection is to touch
    // one page: so none of them is merged into the caller's, which stays.

    /// Reads what comes next; 0 is the end, also that of a quiet connection in a drain.
    #[inline(never)]
    fn receive(&mut self) -> Result<usize> {
        let limit = self.service.idle_timeout;
        let lively = limit.map_or(QUIET, |limit| limit.min(QUIET));
        loop {
            self.make_idle_mistake()?;
            self.stream.set_read_timeout(Some(lively))?;
            let mut stream = self.stream;
            match stream.read(self.session().space()) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Ok(count) => {
                    self.session().filled(count);
                    return Ok(count);
                }
                failed => return failed,
            }
            if self.session().release() {
                self.session = None;
            }
            self.out = Vec::new();
            if self.presence.is_draining() {
                return Ok(0);
            }
            self.be_quiet(limit.map(|limit| limit - lively))?;
        }
    }

    /// Waits, without buffers, until the client says something, for as long as it still may not.
    #[inline(never)]
    fn be_quiet(&self, rest: Option<Duration>) -> Result<()> {
        if rest == Some(Duration::ZERO) {
            return Err(self.kick());
        }
        self.stream.set_read_timeout(rest)?;
        let Some(_quiet) = self.presence.quiet(self.stream) else {
            // A drain has begun meanwhile: the next read says what there still is.
            return Ok(());
        };
        match self.stream.readable().map_err(Error::from) {
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(self.kick()),
            result => result,
        }
    }

    /// Counts a client that was silent for too long.
    fn kick(&self) -> Error {
        self.cache.server().count_idle_kick();
        Error::new(ErrorKind::TimedOut, "the client was idle for too long")
    }

    fn make_idle_mistake(&self) -> Result<()> {
        let is_old = |limit| fiber::time::now().saturating_since(self.started) > limit;
        if self.service.mistake == Mistake::IdleFromTheStart
            && self.service.idle_timeout.is_some_and(is_old)
        {
            return Err(self.kick());
        }
        Ok(())
    }

    /// Answers everything that is complete.
    #[inline(never)]
    fn answer(&mut self) -> Result<Progress> {
        loop {
            let progress = self.carry_out();
            self.send()?;
            self.update_late();
            if progress != Progress::Flush {
                return Ok(progress);
            }
        }
    }

    #[inline(never)]
    fn carry_out(&mut self) -> Progress {
        let mut out = core::mem::take(&mut self.out);
        let cache = self.cache;
        let progress = self.session().process(cache, now(), &mut out);
        self.out = out;
        progress
    }

    #[inline(never)]
    fn update_late(&mut self) {
        let cache = self.cache;
        self.session().apply_late_updates(cache, now());
    }

    /// Writes the replies. The limit of time counts anew with each part that the client takes.
    #[inline(never)]
    fn send(&mut self) -> Result<()> {
        let mut stream = self.stream;
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            let mistaken = self.service.mistake == Mistake::DrainCutsAnswers;
            if mistaken && self.presence.is_draining() {
                let part = &rest[..rest.len() / 2];
                stream.write_all(part)?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            match stream.write(rest)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                sent => rest = &rest[sent..],
            }
        }
        recycle(&mut self.out);
        Ok(())
    }

    /// Ends our half and waits for the client to end its own, dropping what it still says: a close
    /// over unread bytes would take back answers that are on their way.
    #[inline(never)]
    fn linger(mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_timeout(Some(LINGER))?;
        let mut stream = self.stream;
        loop {
            match stream.read(self.session().space()) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

//! One connection's side of the protocol, without the connection.
//!
//! The owner of the connection reads into [`Session::space`], says how much came with
//! [`Session::filled`], and lets [`Session::process`] answer everything that is complete, so
//! that a batch of pipelined requests costs one read and one write:
//!
//! ```text
//! loop {
//!     let count = connection.read(session.space())?;      // 0: the client has gone
//!     session.filled(count);
//!     loop {
//!         let progress = session.process(&cache, now, &mut out);
//!         connection.write_all(&out)?; recycle(&mut out);
//!         match progress { Flush => continue, Read => break, Close => return }
//!     }
//! }
//! ```
//!
//! What a client can make a session hold is bounded: a line of 2 KiB (64 KiB if it is a list of
//! keys), one value that may be stored, and `out_bytes` of replies plus one value. A longer line
//! is answered with an error once and then dropped as it arrives, up to its end; a value that is
//! too large is dropped as it arrives; in both cases the next command is not lost.
//!
//! A state is left only when all its bytes have arrived:
//!
//! ```text
//!            ┌──────────────▶ Line ◀─────────────┐
//!            │   get   ┌───────┼───────┬─────────┤
//!            │         ▼       ▼       ▼         ▼
//!            └───── Values   Body  SkipValue  SkipLine
//! ```

mod body;
#[cfg(test)]
mod bound_tests;
mod execute;
mod input;
mod late;
mod meta;
#[cfg(test)]
mod meta_tests;
mod storing;
#[cfg(test)]
mod tests;

use self::body::Body;
use self::execute::{Next, Turn, answer_values, run_line};
use self::input::Input;
use self::late::LateUpdates;
use self::storing::finish_body;
use crate::cache::Cache;
use crate::protocol::{ValueLine, reply};
use crate::store::Access;
use crate::time::Seconds;

/// What bounds a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest line that is not a list of keys, without its line feed.
    pub line_bytes: usize,
    /// The longest line of a `get` or one of its kin, without its line feed.
    pub keys_line_bytes: usize,
    /// From this many bytes of replies on, they must be sent before the next is made.
    pub out_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 2 << 10,
            keys_line_bytes: 64 << 10,
            out_bytes: 256 << 10,
        }
    }
}

/// Why [`Session::process`] came back. In each case the replies so far are to be sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever drives a session must handle every case"
)]
pub enum Progress {
    /// Everything that was complete is answered: read more.
    Read,
    /// There are enough replies for now: send them, then process on before reading.
    Flush,
    /// The client said goodbye: send what is left and close.
    Close,
}

/// What one client has said and is owed.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    input: Input,
    state: State,
    /// How many buffered bytes are known to hold no line feed.
    searched: usize,
    /// How many bytes must be buffered before the current command can go on.
    needed: usize,
    late: LateUpdates,
    /// How many bytes have come since they were counted last.
    read_bytes: usize,
}

#[derive(Debug)]
pub(crate) enum State {
    /// Between commands.
    Line,
    /// In the middle of answering a `get`, whose line is still at the front of the input.
    Values { keys: KeysLeft, line: ValueLine },
    /// Receiving a value that does not fit in the input buffer.
    Body(Box<Body>),
    /// Dropping a value that may not be stored, with its line end.
    SkipValue { missing: usize },
    /// Dropping the rest of a line that was too long.
    SkipLine,
}

/// The part of a `get` line that is still to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysLeft {
    pub(crate) at: usize,
    /// Where the keys end, and where the next line begins.
    pub(crate) end: usize,
    pub(crate) line_bytes: usize,
    pub(crate) access: Access,
}

impl Session {
    /// A session for a client that has not said anything.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            input: Input::new(),
            state: State::Line,
            searched: 0,
            needed: 0,
            late: LateUpdates::off(),
            read_bytes: 0,
        }
    }

    /// Where the next bytes of the connection are to be put; never empty.
    ///
    /// A long value is read straight into the allocation that will be stored.
    pub fn space(&mut self) -> &mut [u8] {
        match &mut self.state {
            State::Body(body) if body.wants_direct_reads() && self.input.bytes().is_empty() => {
                body.space()
            }
            _ => self.input.space(),
        }
    }

    /// Takes `count` bytes that were put at the front of the [`space`](Self::space) given last.
    ///
    /// # Panics
    ///
    /// If there was less space than that.
    pub fn filled(&mut self, count: usize) {
        self.read_bytes += count;
        match &mut self.state {
            State::Body(body) if body.wants_direct_reads() && self.input.bytes().is_empty() => {
                body.filled(count);
            }
            _ => self.input.filled(count),
        }
    }

    /// Gives back what memory an empty buffer holds: the next bytes may be long in coming. Says
    /// whether nothing is under way, so that a new session would do as well.
    pub fn release(&mut self) -> bool {
        self.input.release();
        matches!(self.state, State::Line)
            && self.input.bytes().is_empty()
            && self.late.is_empty()
            && self.read_bytes == 0
    }

    /// Carries out every complete command and appends the replies to `out`, which is bounded:
    /// see [`Progress`].
    pub fn process(&mut self, cache: &Cache, now: Seconds, out: &mut Vec<u8>) -> Progress {
        let read = core::mem::take(&mut self.read_bytes);
        cache.server.count_bytes_read(read);
        let waiting = out.len();
        let progress = self.process_all(&mut Turn { cache, now, out });
        cache.server.count_bytes_written(out.len() - waiting);
        progress
    }

    fn process_all(&mut self, turn: &mut Turn<'_>) -> Progress {
        loop {
            if turn.out.len() >= self.limits.out_bytes {
                return Progress::Flush;
            }
            let next = match &mut self.state {
                State::Line => self.next_line(turn),
                State::Values { keys, line } => {
                    answer_values(self.input.bytes(), keys, *line, &self.limits, turn)
                }
                State::Body(_) => self.next_body_bytes(turn),
                State::SkipValue { missing } => {
                    let dropped = self.input.bytes().len().min(*missing);
                    self.input.consume(dropped);
                    *missing -= dropped;
                    if *missing == 0 {
                        Next::Done { consumed: 0 }
                    } else {
                        Next::Starved
                    }
                }
                State::SkipLine => self.drop_line(),
            };
            match next {
                Next::Done { consumed } => self.enter(State::Line, consumed),
                Next::Enter { state, consumed } => self.enter(state, consumed),
                Next::Needs { buffered } => {
                    self.needed = buffered;
                    return Progress::Read;
                }
                Next::Starved => return Progress::Read,
                Next::OutFull => return Progress::Flush,
                Next::Close => return Progress::Close,
            }
        }
    }

    fn enter(&mut self, state: State, consumed: usize) {
        self.input.consume(consumed);
        self.state = state;
        self.searched = 0;
        self.needed = 0;
    }

    fn next_line(&mut self, turn: &mut Turn<'_>) -> Next {
        let buffered = self.input.bytes();
        if buffered.len() < self.needed {
            return Next::Starved;
        }
        let found = buffered[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n');
        let end = found.map(|at| self.searched + at);
        let line = &buffered[..end.unwrap_or(buffered.len())];
        if is_too_long(line, &self.limits) {
            turn.out.extend_from_slice(reply::LINE_TOO_LONG);
            // Up to the end of this line, whether it is here already or not.
            return Next::Enter {
                state: State::SkipLine,
                consumed: line.len(),
            };
        }
        let Some(end) = end else {
            self.searched = buffered.len();
            return Next::Starved;
        };
        // A value may still be missing; the line is then found again at once.
        self.searched = end;
        run_line(
            &buffered[..=end],
            &buffered[end + 1..],
            turn,
            &mut self.late,
        )
    }

    #[inline(never)]
    fn next_body_bytes(&mut self, turn: &mut Turn<'_>) -> Next {
        let State::Body(body) = &mut self.state else {
            unreachable!("the caller has just seen a body");
        };
        let taken = body.take_from(self.input.bytes());
        self.input.consume(taken);
        if body.missing() > 0 {
            return Next::Starved;
        }
        let Some(&ending) = self.input.bytes().first_chunk::<2>() else {
            return Next::Starved;
        };
        let State::Body(body) = core::mem::replace(&mut self.state, State::Line) else {
            unreachable!("the state has not changed since");
        };
        finish_body(*body, ending, turn, &mut self.late);
        Next::Done { consumed: 2 }
    }

    fn drop_line(&mut self) -> Next {
        let buffered = self.input.bytes();
        match buffered.iter().position(|&byte| byte == b'\n') {
            Some(end) => Next::Done { consumed: end + 1 },
            None => {
                let dropped = buffered.len();
                self.input.consume(dropped);
                Next::Starved
            }
        }
    }
}

/// Empties a buffer of replies that have been sent. It keeps its memory for the next batch,
/// unless an unusually large reply made it grow.
pub fn recycle(out: &mut Vec<u8>) {
    const BYTES_KEPT: usize = 32 << 10;
    out.clear();
    out.shrink_to(BYTES_KEPT);
}

/// Whether `line`, of which the end may be missing, is longer than its kind may be.
///
/// What kind it is, its first bytes tell, so the answer does not depend on how the line arrived.
fn is_too_long(line: &[u8], limits: &Limits) -> bool {
    let Some(front) = line.get(..limits.line_bytes) else {
        return false;
    };
    let words = front.trim_ascii_start();
    let lists_keys = |name: &[u8]| words.starts_with(name);
    let lists: [&[u8]; 4] = [b"get ", b"gets ", b"gat ", b"gats "];
    let bytes_max = if lists.into_iter().any(lists_keys) {
        limits.keys_line_bytes
    } else {
        limits.line_bytes
    };
    line.len() > bytes_max
}

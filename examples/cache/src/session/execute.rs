//! Carrying out commands: what each one does to the cache and what it answers.

use super::late::LateUpdates;
use super::{KeysLeft, Limits, State, meta, storing};
use crate::cache::Cache;
use crate::protocol::{
    Command, Decimal, Direction, Reply, Tokens, VERSION, ValueLine, parse, reply,
};
use crate::stats;
use crate::store::{Access, Count, Counted, Found, Item};
use crate::time::{Expiry, Seconds};

/// How a session goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// The command is finished, and so are its first `consumed` bytes of the input.
    Done { consumed: usize },
    /// The command goes on in another state.
    Enter { state: State, consumed: usize },
    /// The command can go on when the input holds so many bytes.
    Needs { buffered: usize },
    /// Bytes are missing, and nobody knows how many.
    Starved,
    /// The replies have to be sent before the command can go on.
    OutFull,
    /// The connection is to be closed.
    Close,
}

/// What commands work on: the cache, the time of this batch, and where replies go.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) now: Seconds,
    pub(crate) out: &'a mut Vec<u8>,
}

/// Carries out `line`, which includes its line end; `rest` is what is buffered behind it.
// Apart, as what it calls: a session's frames lie on the stack of its connection, where only what
// is under way together is to lie.
#[inline(never)]
pub(crate) fn run_line(
    line: &[u8],
    rest: &[u8],
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) -> Next {
    let text = line
        .strip_suffix(b"\n")
        .expect("a line ends with a line feed");
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let consumed = line.len();
    match parse(text) {
        Err(rejection) => {
            reply::answer(turn.out, rejection.reply, rejection.line);
            if rejection.swallowed > 0 {
                let missing = rejection.swallowed;
                return Next::Enter {
                    state: State::SkipValue { missing },
                    consumed,
                };
            }
        }
        Ok(Command::Retrieve {
            keys_at,
            line,
            exptime,
        }) => {
            let expiry = exptime.map(|exptime| Expiry::from_exptime(exptime, turn.now));
            let keys = KeysLeft {
                at: keys_at,
                end: text.len(),
                line_bytes: consumed,
                access: expiry.map_or(Access::Get, Access::Touch),
            };
            return Next::Enter {
                state: State::Values { keys, line },
                consumed: 0,
            };
        }
        Ok(Command::Store(header)) => {
            return storing::run_classic(&header, consumed, rest, turn, late);
        }
        Ok(Command::MetaSet(command, value_bytes)) => {
            return storing::run_meta(&command, value_bytes, consumed, rest, turn, late);
        }
        Ok(Command::Quit) => return Next::Close,
        Ok(command) => run_simple(&command, turn),
    }
    Next::Done { consumed }
}

/// Carries out a command that is one line and leaves the session as it was.
#[inline(never)]
fn run_simple(command: &Command<'_>, turn: &mut Turn<'_>) {
    let store = &turn.cache.store;
    match *command {
        Command::Retrieve { .. } | Command::Store(_) | Command::MetaSet(..) | Command::Quit => {
            unreachable!("they change the session: see `run_line`")
        }
        Command::MetaGet(ref command) => meta::get(command, turn),
        Command::MetaDelete(ref command) => meta::delete(command, turn),
        Command::MetaArithmetic(ref command) => meta::arithmetic(command, turn),
        Command::MetaDebug(ref key) => meta::debug(key, turn),
        Command::MetaNoop => turn.out.extend_from_slice(reply::META_NOOP),
        Command::Delete { key, reply } => {
            let line = match store.delete(key, turn.now) {
                Found::Yes => reply::DELETED,
                Found::No => reply::NOT_FOUND,
            };
            reply::answer(turn.out, reply, line);
        }
        Command::Arithmetic {
            direction,
            key,
            delta,
            reply,
        } => count(direction, key, delta, reply, turn),
        Command::Touch {
            key,
            exptime,
            reply,
        } => {
            let expiry = Expiry::from_exptime(exptime, turn.now);
            let line = match store.read(key, Access::Touch(expiry), turn.now, |_| {}) {
                Found::Yes => reply::TOUCHED,
                Found::No => reply::NOT_FOUND,
            };
            reply::answer(turn.out, reply, line);
        }
        Command::Stats { topic } => stats::answer(topic, turn.cache, turn.now, turn.out),
        Command::Version => {
            turn.out.extend_from_slice(b"VERSION ");
            turn.out.extend_from_slice(VERSION.as_bytes());
            turn.out.extend_from_slice(b"\r\n");
        }
        Command::FlushAll { delay, reply } => {
            turn.cache.server.count_flush();
            store.flush(flush_time(delay, turn.now), turn.now);
            reply::answer(turn.out, reply, reply::OK);
        }
        // How much is logged is decided when the server starts; the command is accepted because
        // clients expect that it always is.
        Command::Verbosity { reply } => reply::answer(turn.out, reply, reply::OK),
    }
}

/// Answers the keys that are left of a `get`, as far as the replies may grow.
#[inline(never)]
pub(crate) fn answer_values(
    buffered: &[u8],
    keys: &mut KeysLeft,
    line: ValueLine,
    limits: &Limits,
    turn: &mut Turn<'_>,
) -> Next {
    let mut tokens = Tokens::starting_at(&buffered[..keys.end], keys.at);
    loop {
        if turn.out.len() >= limits.out_bytes {
            keys.at = tokens.position();
            return Next::OutFull;
        }
        let Some(key) = tokens.next() else {
            turn.out.extend_from_slice(reply::END);
            return Next::Done {
                consumed: keys.line_bytes,
            };
        };
        turn.cache.store.read(key, keys.access, turn.now, |item| {
            append_value(item, line, turn.out);
        });
    }
}

/// Appends `VALUE <key> <flags> <bytes> [<unique>]`, and the value.
fn append_value(item: &Item, line: ValueLine, out: &mut Vec<u8>) {
    let numbers_bytes_max = 64;
    out.reserve(item.key().len() + item.value().len() + numbers_bytes_max);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(item.key());
    out.push(b' ');
    out.extend_from_slice(Decimal::new(u64::from(item.flags)).as_bytes());
    out.push(b' ');
    out.extend_from_slice(Decimal::from_usize(item.value().len()).as_bytes());
    if line == ValueLine::WithUnique {
        out.push(b' ');
        out.extend_from_slice(Decimal::new(item.unique).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(item.value());
    out.extend_from_slice(b"\r\n");
}

#[inline(never)]
fn count(direction: Direction, key: &[u8], delta: u64, reply: Reply, turn: &mut Turn<'_>) {
    let count = Count {
        direction,
        delta,
        compare: None,
        new_unique: None,
        creates: None,
        binary_key: false,
        is_meta: false,
    };
    let out = &mut *turn.out;
    let report = |_: &mut Item, number: u64, _: bool| {
        reply::answer(out, reply, Decimal::new(number).as_bytes());
    };
    let line: &[u8] = match turn.cache.store.count(key, &count, turn.now, report) {
        Counted::Done => b"\r\n",
        Counted::NotFound | Counted::Exists => reply::NOT_FOUND,
        Counted::NotANumber => reply::NON_NUMERIC,
        Counted::OutOfMemory => reply::OUT_OF_MEMORY,
    };
    reply::answer(turn.out, reply, line);
}

/// When a flush is due: the delay is read like an expiry time, but zero is now.
fn flush_time(delay: i64, now: Seconds) -> Seconds {
    if delay <= 0 {
        now
    } else {
        Expiry::from_exptime(delay, now).moment().max(now)
    }
}

//! Carrying out commands: what each one does to the cache and what it answers.

use super::body::Body;
use super::late::LateUpdates;
use super::{KeysLeft, Limits, State};
use crate::cache::Cache;
use crate::protocol::{
    Command, Decimal, Direction, Header, Reply, StoreVerb, Tokens, VERSION, ValueLine, parse, reply,
};
use crate::stats;
use crate::store::{Attributes, Counted, Found, Item, StoreOutcome, Value};
use crate::time::{Expiry, Seconds};

/// Up to this length a value is awaited in the input buffer and copied from there, over the old
/// value where that is as long. A longer one gets an allocation of its own.
const BUFFERED_VALUE_BYTES_MAX: usize = 8 << 10;

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
        Err(rejection) => reply::answer(turn.out, rejection.reply, rejection.line),
        Ok(Command::Retrieve { keys_at, line }) => {
            let keys = KeysLeft {
                at: keys_at,
                end: text.len(),
                line_bytes: consumed,
            };
            return Next::Enter {
                state: State::Values { keys, line },
                consumed: 0,
            };
        }
        Ok(Command::Store(header)) => {
            return run_store(&header, consumed, rest, turn, late);
        }
        Ok(Command::Quit) => return Next::Close,
        Ok(command) => run_simple(&command, turn),
    }
    Next::Done { consumed }
}

/// Carries out a command that is one line and leaves the session as it was.
fn run_simple(command: &Command<'_>, turn: &mut Turn<'_>) {
    let store = &turn.cache.store;
    match *command {
        Command::Retrieve { .. } | Command::Store(_) | Command::Quit => {
            unreachable!("they change the session: see `run_line`")
        }
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
            let line = match store.touch(key, expiry, turn.now) {
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
            store.flush(flush_time(delay, turn.now), turn.now);
            reply::answer(turn.out, reply, reply::OK);
        }
        // How much is logged is decided when the server starts; the command is accepted because
        // clients expect that it always is.
        Command::Verbosity { reply } => reply::answer(turn.out, reply, reply::OK),
    }
}

fn run_store(
    header: &Header<'_>,
    line_bytes: usize,
    rest: &[u8],
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) -> Next {
    let Header {
        verb,
        key,
        flags,
        exptime,
        value_bytes,
        reply,
    } = *header;
    let block_bytes = value_bytes + b"\r\n".len();
    if value_bytes > turn.cache.config.value_bytes_max {
        turn.cache.store.refuse_too_large(verb, key);
        reply::answer(turn.out, reply, reply::TOO_LARGE);
        return Next::Enter {
            state: State::SkipValue {
                missing: block_bytes,
            },
            consumed: line_bytes,
        };
    }
    let attributes = Attributes {
        flags,
        expiry: Expiry::from_exptime(exptime, turn.now),
    };
    if value_bytes > BUFFERED_VALUE_BYTES_MAX {
        let state = State::Body(Box::new(Body::new(header, attributes)));
        return Next::Enter {
            state,
            consumed: line_bytes,
        };
    }
    let Some(block) = rest.get(..block_bytes) else {
        return Next::Needs {
            buffered: line_bytes + block_bytes,
        };
    };
    let (value, ending) = block.split_at(value_bytes);
    if ending == b"\r\n" {
        let value = Value::Borrowed(value);
        store(verb, key, attributes, value, reply, turn, late);
    } else {
        reply::answer(turn.out, reply, reply::BAD_DATA_CHUNK);
    }
    Next::Done {
        consumed: line_bytes + block_bytes,
    }
}

/// Stores a long value that is complete, if the line end behind it is where it should be.
pub(crate) fn finish_body(
    body: Body,
    ending: [u8; 2],
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) {
    let (verb, attributes, reply) = (body.verb, body.attributes, body.reply);
    if ending != *b"\r\n" {
        reply::answer(turn.out, reply, reply::BAD_DATA_CHUNK);
        return;
    }
    let (key, value) = body.into_value();
    store(
        verb,
        &key,
        attributes,
        Value::Owned(value),
        reply,
        turn,
        late,
    );
}

fn store(
    verb: StoreVerb,
    key: &[u8],
    attributes: Attributes,
    value: Value<'_>,
    reply: Reply,
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) {
    let Some(value) = late.postpone(verb, key, attributes, value) else {
        reply::answer(turn.out, reply, reply::STORED);
        return;
    };
    let line = match turn
        .cache
        .store
        .store(verb, key, attributes, value, turn.now)
    {
        StoreOutcome::Stored => reply::STORED,
        StoreOutcome::NotStored => reply::NOT_STORED,
        StoreOutcome::Exists => reply::EXISTS,
        StoreOutcome::NotFound => reply::NOT_FOUND,
        StoreOutcome::OutOfMemory => reply::OUT_OF_MEMORY_STORING,
    };
    reply::answer(turn.out, reply, line);
}

/// Answers the keys that are left of a `get`, as far as the replies may grow.
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
        turn.cache
            .store
            .read(key, turn.now, |item| append_value(item, line, turn.out));
    }
}

/// Appends `VALUE <key> <flags> <bytes> [<unique>]`, and the value.
fn append_value(item: &Item, line: ValueLine, out: &mut Vec<u8>) {
    let numbers_bytes_max = 64;
    out.reserve(item.key.len() + item.value.len() + numbers_bytes_max);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(&item.key);
    out.push(b' ');
    out.extend_from_slice(Decimal::new(u64::from(item.flags)).as_bytes());
    out.push(b' ');
    out.extend_from_slice(Decimal::from_usize(item.value.len()).as_bytes());
    if line == ValueLine::WithUnique {
        out.push(b' ');
        out.extend_from_slice(Decimal::new(item.unique).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&item.value);
    out.extend_from_slice(b"\r\n");
}

fn count(direction: Direction, key: &[u8], delta: u64, reply: Reply, turn: &mut Turn<'_>) {
    let line = match turn.cache.store.count(direction, key, delta, turn.now) {
        Counted::Now(number) => {
            reply::answer(turn.out, reply, Decimal::new(number).as_bytes());
            b"\r\n"
        }
        Counted::NotFound => reply::NOT_FOUND,
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

//! Storage commands: a line, then a data block, then one answer.

use super::State;
use super::body::Body;
use super::execute::{Next, Turn};
use super::late::LateUpdates;
use super::meta;
use crate::protocol::{Header, Meta, Reply, StoreVerb, reply};
use crate::store::{Attributes, Change, Receipt, StoreOutcome, Terms, Value};
use crate::time::Expiry;

/// Up to this length a value is awaited in the input buffer and copied from there, over the old
/// value where that is as long. A longer one gets an allocation of its own.
const BUFFERED_VALUE_BYTES_MAX: usize = 8 << 10;

/// A storage command whose data block is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) verb: StoreVerb,
    pub(crate) key: &'a [u8],
    pub(crate) attributes: Attributes,
    pub(crate) terms: Terms,
    pub(crate) value_bytes: usize,
    pub(crate) answer: Answer<'a>,
}

/// How the client wants to be told what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer<'a> {
    Classic(Reply),
    /// With the flags of the command, unless all went well and the client is quiet.
    Meta {
        text: &'a [u8],
        quiet: bool,
    },
}

impl Answer<'_> {
    /// Answers an error. A quiet client still wants to know of those.
    fn error(self, line: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Classic(reply) => reply::answer(out, reply, line),
            Self::Meta { .. } => out.extend_from_slice(line),
        }
    }
}

/// Carries out a classic storage command.
#[inline(never)]
pub(crate) fn run_classic(
    header: &Header<'_>,
    line_bytes: usize,
    rest: &[u8],
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) -> Next {
    let incoming = Incoming {
        verb: header.verb,
        key: header.key,
        attributes: Attributes {
            flags: header.flags,
            expiry: Expiry::from_exptime(header.exptime, turn.now),
        },
        terms: Terms::default(),
        value_bytes: header.value_bytes,
        answer: Answer::Classic(header.reply),
    };
    run(&incoming, line_bytes, rest, turn, late)
}

/// Carries out `ms`.
#[inline(never)]
pub(crate) fn run_meta(
    command: &Meta<'_>,
    value_bytes: usize,
    line_bytes: usize,
    rest: &[u8],
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) -> Next {
    let flags = &command.flags;
    // A unique number makes a condition of a plain store; the others have one.
    let verb = match (flags.mode, flags.compare) {
        (Some(b'E'), _) => StoreVerb::Add,
        (Some(b'A'), _) => StoreVerb::Append,
        (Some(b'P'), _) => StoreVerb::Prepend,
        (_, Some(unique)) => StoreVerb::Cas(unique),
        (Some(b'R'), None) => StoreVerb::Replace,
        _ => StoreVerb::Set,
    };
    let creates = flags.creates.filter(|_| verb.joins());
    let exptime = creates.or(flags.exptime).unwrap_or(0);
    let incoming = Incoming {
        verb,
        key: command.key.as_bytes(),
        attributes: Attributes {
            flags: flags.client_flags,
            expiry: Expiry::from_exptime(exptime, turn.now),
        },
        terms: Terms {
            compare: flags.compare,
            new_unique: flags.new_unique,
            may_be_stale: flags.stale,
            creates: creates.is_some(),
            binary_key: command.key.is_binary(),
            is_meta: true,
        },
        value_bytes,
        answer: Answer::Meta {
            text: command.text,
            quiet: flags.quiet,
        },
    };
    run(&incoming, line_bytes, rest, turn, late)
}

fn run(
    incoming: &Incoming<'_>,
    line_bytes: usize,
    rest: &[u8],
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) -> Next {
    let value_bytes = incoming.value_bytes;
    let block_bytes = value_bytes + b"\r\n".len();
    let store = &turn.cache.store;
    if value_bytes > store.value_bytes_max() {
        store.refuse_too_large(incoming.verb, incoming.terms, incoming.key);
        incoming.answer.error(reply::TOO_LARGE, turn.out);
        return Next::Enter {
            state: State::SkipValue {
                missing: block_bytes,
            },
            consumed: line_bytes,
        };
    }
    if value_bytes > BUFFERED_VALUE_BYTES_MAX {
        return Next::Enter {
            state: State::Body(Box::new(Body::new(incoming))),
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
        store_value(incoming, Value::Borrowed(value), turn, late);
    } else {
        incoming.answer.error(reply::BAD_DATA_CHUNK, turn.out);
    }
    Next::Done {
        consumed: line_bytes + block_bytes,
    }
}

/// Stores a long value that is complete, if the line end behind it is where it should be.
pub(crate) fn finish_body(
    mut body: Body,
    ending: [u8; 2],
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) {
    if ending == *b"\r\n" {
        let value = body.take_value();
        store_value(&body.incoming(), value, turn, late);
    } else {
        let answer = body.incoming().answer;
        answer.error(reply::BAD_DATA_CHUNK, turn.out);
    }
}

fn store_value(
    incoming: &Incoming<'_>,
    value: Value<'_>,
    turn: &mut Turn<'_>,
    late: &mut LateUpdates,
) {
    let Incoming {
        verb,
        key,
        attributes,
        terms,
        answer,
        ..
    } = *incoming;
    let Some(value) = late.postpone(verb, key, attributes, value) else {
        let early = StoreOutcome::Stored(Receipt::default());
        return answer_store(early, incoming, turn);
    };
    let change = Change {
        verb,
        attributes,
        value,
        terms,
    };
    let outcome = turn.cache.store.store(key, change, turn.now);
    if outcome == StoreOutcome::OutOfMemory {
        answer.error(reply::OUT_OF_MEMORY_STORING, turn.out);
    } else {
        answer_store(outcome, incoming, turn);
    }
}

fn answer_store(outcome: StoreOutcome, incoming: &Incoming<'_>, turn: &mut Turn<'_>) {
    match incoming.answer {
        Answer::Classic(reply) => {
            let line = match outcome {
                StoreOutcome::Stored(_) => reply::STORED,
                StoreOutcome::NotStored => reply::NOT_STORED,
                StoreOutcome::Exists => reply::EXISTS,
                StoreOutcome::NotFound => reply::NOT_FOUND,
                StoreOutcome::OutOfMemory => reply::OUT_OF_MEMORY_STORING,
            };
            reply::answer(turn.out, reply, line);
        }
        Answer::Meta { text, quiet } => meta::answer_set(outcome, incoming, text, quiet, turn.out),
    }
}

//! From a command line to a command, or to the error line it earns.
//!
//! The order of the checks is memcached's, because it decides which error is answered and
//! whether `noreply` hides it: the number of words comes first and is never hidden.

use super::command::{Command, Direction, Header, Reply, StoreVerb, ValueLine};
use super::meta;
use super::number::{signed, unsigned};
use super::reply;
use super::tokens::Tokens;
use super::{ANNOUNCED_BYTES_MAX, KEY_BYTES_MAX};

/// A line that asks for nothing that can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) line: &'static [u8],
    pub(crate) reply: Reply,
    /// How much of what follows the line belongs to it all the same.
    pub(crate) swallowed: usize,
}

impl Rejection {
    pub(super) const fn loud(line: &'static [u8]) -> Self {
        Self::new(line, Reply::Wanted)
    }

    const fn new(line: &'static [u8], reply: Reply) -> Self {
        Self {
            line,
            reply,
            swallowed: 0,
        }
    }
}

/// Understands `line`, which has lost its line end.
// Its frame is gone before the command is carried out: a connection is to touch one page of stack.
#[inline(never)]
pub(crate) fn parse(line: &[u8]) -> Result<Command<'_>, Rejection> {
    let mut tokens = Tokens::new(line);
    let name = tokens.next().ok_or(Rejection::loud(reply::ERROR))?;
    match name {
        b"get" => return retrieve(tokens, ValueLine::Plain, None),
        b"gets" => return retrieve(tokens, ValueLine::WithUnique, None),
        b"gat" => return retrieve_and_touch(tokens, ValueLine::Plain),
        b"gats" => return retrieve_and_touch(tokens, ValueLine::WithUnique),
        b"mg" => return meta::get(line, tokens),
        b"ms" => return meta::set(line, tokens),
        b"md" => return meta::delete(line, tokens),
        b"ma" => return meta::arithmetic(line, tokens),
        b"me" => return meta::debug(tokens),
        b"mn" => return Ok(Command::MetaNoop),
        _ => {}
    }
    let words = Words::collect(tokens);
    match name {
        b"set" => store(&words, StoreVerb::Set),
        b"add" => store(&words, StoreVerb::Add),
        b"replace" => store(&words, StoreVerb::Replace),
        b"append" => store(&words, StoreVerb::Append),
        b"prepend" => store(&words, StoreVerb::Prepend),
        b"cas" => store(&words, StoreVerb::Cas(0)),
        b"delete" => delete(&words),
        b"incr" => arithmetic(&words, Direction::Up),
        b"decr" => arithmetic(&words, Direction::Down),
        b"touch" => touch(&words),
        b"stats" => Ok(Command::Stats {
            topic: words.as_slice().first().copied(),
        }),
        b"version" => Ok(Command::Version),
        b"flush_all" => flush_all(&words),
        b"verbosity" => verbosity(&words),
        b"quit" => Ok(Command::Quit),
        _ => Err(Rejection::loud(reply::ERROR)),
    }
}

fn retrieve_and_touch(mut words: Tokens<'_>, line: ValueLine) -> Result<Command<'_>, Rejection> {
    let exptime = words.next().ok_or(Rejection::loud(reply::ERROR))?;
    let exptime = signed(exptime).ok_or(Rejection::loud(reply::INVALID_EXPTIME))?;
    retrieve(words, line, Some(exptime))
}

fn retrieve(
    keys: Tokens<'_>,
    line: ValueLine,
    exptime: Option<i64>,
) -> Result<Command<'_>, Rejection> {
    let keys_at = keys.position();
    let mut any = false;
    // All keys are looked at before the first value is answered, so that one bad key rejects
    // the whole line even when the answer is written in pieces.
    for key in keys {
        check_key(key, Reply::Wanted)?;
        any = true;
    }
    // An expiry time without a key to give it to is not an error.
    if any || exptime.is_some() {
        Ok(Command::Retrieve {
            keys_at,
            line,
            exptime,
        })
    } else {
        Err(Rejection::loud(reply::ERROR))
    }
}

fn store<'a>(words: &Words<'a>, verb: StoreVerb) -> Result<Command<'a>, Rejection> {
    let fixed = if matches!(verb, StoreVerb::Cas(_)) {
        5
    } else {
        4
    };
    words.expect_count(fixed, fixed + 1)?;
    let reply = words.reply();
    let bad = Rejection::new(reply::BAD_FORMAT, reply);
    let list = words.as_slice();
    check_key(list[0], reply)?;
    let flags = unsigned(list[1])
        .and_then(|flags| u32::try_from(flags).ok())
        .ok_or(bad)?;
    let exptime = signed(list[2]).ok_or(bad)?;
    let value_bytes = unsigned(list[3]).and_then(|bytes| usize::try_from(bytes).ok());
    let value_bytes = value_bytes
        .filter(|&bytes| bytes <= ANNOUNCED_BYTES_MAX)
        .ok_or(bad)?;
    let verb = match verb {
        StoreVerb::Cas(_) => StoreVerb::Cas(unsigned(list[4]).ok_or(bad)?),
        other => other,
    };
    Ok(Command::Store(Header {
        verb,
        key: list[0],
        flags,
        exptime,
        value_bytes,
        reply,
    }))
}

fn delete<'a>(words: &Words<'a>) -> Result<Command<'a>, Rejection> {
    words.expect_count(1, 3)?;
    let list = words.as_slice();
    let mut reply = Reply::Wanted;
    if list.len() > 1 {
        // A zero is what is left of an argument that old clients still send.
        reply = words.reply();
        let well_formed = match list.len() {
            2 => list[1] == b"0" || reply == Reply::Suppressed,
            _ => list[1] == b"0" && reply == Reply::Suppressed,
        };
        if !well_formed {
            return Err(Rejection::new(reply::BAD_DELETE, reply));
        }
    }
    check_key(list[0], reply)?;
    Ok(Command::Delete {
        key: list[0],
        reply,
    })
}

fn arithmetic<'a>(words: &Words<'a>, direction: Direction) -> Result<Command<'a>, Rejection> {
    words.expect_count(2, 3)?;
    let reply = words.reply();
    let list = words.as_slice();
    check_key(list[0], reply)?;
    let delta = unsigned(list[1]).ok_or_else(|| Rejection::new(reply::INVALID_DELTA, reply))?;
    Ok(Command::Arithmetic {
        direction,
        key: list[0],
        delta,
        reply,
    })
}

fn touch<'a>(words: &Words<'a>) -> Result<Command<'a>, Rejection> {
    words.expect_count(2, 3)?;
    let reply = words.reply();
    let list = words.as_slice();
    check_key(list[0], reply)?;
    let exptime = signed(list[1]).ok_or_else(|| Rejection::new(reply::INVALID_EXPTIME, reply))?;
    Ok(Command::Touch {
        key: list[0],
        exptime,
        reply,
    })
}

fn flush_all<'a>(words: &Words<'a>) -> Result<Command<'a>, Rejection> {
    words.expect_count(0, 2)?;
    let reply = words.reply();
    let list = words.as_slice();
    let delay = match list {
        [] => 0,
        [_] if reply == Reply::Suppressed => 0,
        [delay, ..] => {
            signed(delay).ok_or_else(|| Rejection::new(reply::INVALID_EXPTIME, reply))?
        }
    };
    Ok(Command::FlushAll { delay, reply })
}

fn verbosity<'a>(words: &Words<'a>) -> Result<Command<'a>, Rejection> {
    words.expect_count(1, 2)?;
    let reply = words.reply();
    let level = unsigned(words.as_slice()[0]).and_then(|level| u32::try_from(level).ok());
    match level {
        Some(_) => Ok(Command::Verbosity { reply }),
        None => Err(Rejection::new(reply::BAD_FORMAT, reply)),
    }
}

/// A key is 1 to 250 bytes without white space and control characters.
pub(super) fn check_key(key: &[u8], reply: Reply) -> Result<(), Rejection> {
    let is_control = |&byte: &u8| byte <= b' ' || byte == 0x7f;
    if key.len() > KEY_BYTES_MAX || key.iter().any(is_control) {
        return Err(Rejection::new(reply::BAD_FORMAT, reply));
    }
    Ok(())
}

/// As many words as the longest command takes behind its name, and one more that shows that
/// there were too many.
const WORDS_MAX: usize = 7;

/// The words behind the command's name.
struct Words<'a> {
    list: [&'a [u8]; WORDS_MAX],
    count: usize,
}

impl<'a> Words<'a> {
    fn collect(tokens: Tokens<'a>) -> Self {
        let mut words = Self {
            list: [&[]; WORDS_MAX],
            count: 0,
        };
        for (slot, token) in words.list.iter_mut().zip(tokens) {
            *slot = token;
            words.count += 1;
        }
        words
    }

    fn as_slice(&self) -> &[&'a [u8]] {
        &self.list[..self.count]
    }

    fn expect_count(&self, min: usize, max: usize) -> Result<(), Rejection> {
        debug_assert!(max < WORDS_MAX, "one word too many must be seen");
        if (min..=max).contains(&self.count) {
            Ok(())
        } else {
            Err(Rejection::loud(reply::ERROR))
        }
    }

    /// `noreply` counts as the last word, whichever place that is.
    fn reply(&self) -> Reply {
        match self.as_slice().last() {
            Some(&b"noreply") => Reply::Suppressed,
            _ => Reply::Wanted,
        }
    }
}

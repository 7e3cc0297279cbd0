//! The meta commands: a key and flags of one letter, some with a token behind it.
//!
//! ```text
//! mg <key> <flag>*              ms <key> <length> <flag>*
//! md <key> <flag>*              ma <key> <flag>*
//! ```
//!
//! Flags that return something are answered in the order in which they were asked for, so a
//! [`Meta`] keeps the text of its flags next to what they mean.

use super::command::Command;
use super::number::{signed, unsigned};
use super::parse::{Rejection, check_key};
use super::tokens::Tokens;
use super::{ANNOUNCED_BYTES_MAX, KEY_BYTES_MAX, Reply, base64, reply};

/// The most words of a line, the command and its key included.
const WORDS_MAX: usize = 19;
/// The longest opaque token, with its letter.
const OPAQUE_BYTES_MAX: usize = 32;

/// A meta command behind its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta<'a> {
    pub(crate) key: MetaKey<'a>,
    pub(crate) flags: Flags,
    /// The flags as they were sent.
    pub(crate) text: &'a [u8],
}

/// What the flags say. Each command takes what concerns it and passes over the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `v`: return the value.
    pub(crate) value: bool,
    /// `u`: leave no trace.
    pub(crate) unseen: bool,
    /// `q`: do not answer what is expected.
    pub(crate) quiet: bool,
    /// `I`: the item is, or may become, out of date.
    pub(crate) stale: bool,
    /// `x`: take the value, leave the item.
    pub(crate) empty: bool,
    /// `C`: compare with this unique number.
    pub(crate) compare: Option<u64>,
    /// `E`: the unique number from now on.
    pub(crate) new_unique: Option<u64>,
    /// `T`: an expiry time.
    pub(crate) exptime: Option<i64>,
    /// `N`: make an item where there is none, with this expiry time.
    pub(crate) creates: Option<i64>,
    /// `R`: an item that lives less long than this is to be renewed.
    pub(crate) renew: Option<i64>,
    /// `F`: the client's flags.
    pub(crate) client_flags: u32,
    /// `M`
    pub(crate) mode: Option<u8>,
    /// `D`: how far to count.
    pub(crate) delta: Option<u64>,
    /// `J`: where to begin to count.
    pub(crate) initial: u64,
}

/// The key of a meta command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack, for one command"
)]
pub(crate) enum MetaKey<'a> {
    Plain(&'a [u8]),
    /// Sent in base64; it may be any bytes.
    Binary {
        bytes: [u8; KEY_BYTES_MAX],
        length: usize,
    },
}

impl MetaKey<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Binary { bytes, length } => &bytes[..*length],
        }
    }

    pub(crate) const fn is_binary(&self) -> bool {
        matches!(self, Self::Binary { .. })
    }
}

/// Which error line means bad flags: `md` and `ma` do not say what is wrong with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Full,
    None,
}

/// Understands `mg`, whose words behind the name are left in `words`.
pub(super) fn get<'a>(line: &'a [u8], words: Tokens<'a>) -> Result<Command<'a>, Rejection> {
    meta(line, words, reply::GET_FLAGS_TOO_LONG, Detail::Full).map(Command::MetaGet)
}

pub(super) fn delete<'a>(line: &'a [u8], words: Tokens<'a>) -> Result<Command<'a>, Rejection> {
    meta(line, words, reply::FLAGS_TOO_LONG, Detail::None).map(Command::MetaDelete)
}

pub(super) fn arithmetic<'a>(line: &'a [u8], words: Tokens<'a>) -> Result<Command<'a>, Rejection> {
    let meta = meta(line, words, reply::FLAGS_TOO_LONG, Detail::None)?;
    match meta.flags.mode {
        None | Some(b'I' | b'+' | b'D' | b'-') => Ok(Command::MetaArithmetic(meta)),
        Some(_) => Err(Rejection::loud(reply::BAD_ARITHMETIC_MODE)),
    }
}

/// Understands `ms`. An error behind the length also takes the data block that follows.
pub(super) fn set<'a>(line: &'a [u8], mut words: Tokens<'a>) -> Result<Command<'a>, Rejection> {
    let count = words.clone().count();
    let key = words.next().ok_or(Rejection::loud(reply::ERROR))?;
    check_key(key, Reply::Wanted)?;
    let length = words.next().ok_or(Rejection::loud(reply::BAD_FORMAT))?;
    if count + 1 > WORDS_MAX {
        return Err(Rejection::loud(reply::FLAGS_TOO_LONG));
    }
    let value_bytes = unsigned(length)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|&bytes| bytes <= ANNOUNCED_BYTES_MAX)
        .ok_or(Rejection::loud(reply::BAD_FORMAT))?;
    let text = &line[words.position()..];
    let understood = flags(key, text).and_then(|(key, flags)| {
        match flags.mode {
            None | Some(b'E' | b'A' | b'P' | b'R' | b'S') => {}
            Some(_) => return Err(reply::BAD_SET_MODE),
        }
        opaque_fits(text)?;
        Ok(Meta { key, flags, text })
    });
    match understood {
        Ok(meta) => Ok(Command::MetaSet(meta, value_bytes)),
        Err(line) => Err(Rejection {
            swallowed: value_bytes + b"\r\n".len(),
            ..Rejection::loud(line)
        }),
    }
}

/// Understands `me`, which takes no flag but `b`.
pub(super) fn debug<'a>(mut words: Tokens<'a>) -> Result<Command<'a>, Rejection> {
    let key = words.next().ok_or(Rejection::loud(reply::BAD_FORMAT))?;
    check_key(key, Reply::Wanted)?;
    let key = if words.next() == Some(b"b") {
        binary_key(key).ok_or(Rejection::loud(reply::BAD_FORMAT))?
    } else {
        MetaKey::Plain(key)
    };
    Ok(Command::MetaDebug(key))
}

fn meta<'a>(
    line: &'a [u8],
    mut words: Tokens<'a>,
    too_long: &'static [u8],
    detail: Detail,
) -> Result<Meta<'a>, Rejection> {
    let count = words.clone().count();
    let key = words.next().ok_or(Rejection::loud(reply::ERROR))?;
    check_key(key, Reply::Wanted)?;
    if count + 1 > WORDS_MAX {
        return Err(Rejection::loud(too_long));
    }
    let text = &line[words.position()..];
    let (key, flags) = flags(key, text).map_err(|line| match detail {
        Detail::Full => Rejection::loud(line),
        Detail::None => Rejection::loud(reply::BAD_FLAG),
    })?;
    opaque_fits(text).map_err(Rejection::loud)?;
    Ok(Meta { key, flags, text })
}

fn opaque_fits(text: &[u8]) -> Result<(), &'static [u8]> {
    let too_long = |word: &[u8]| word[0] == b'O' && word.len() > OPAQUE_BYTES_MAX;
    if Tokens::new(text).any(too_long) {
        Err(reply::OPAQUE_TOO_LONG)
    } else {
        Ok(())
    }
}

fn binary_key(text: &[u8]) -> Option<MetaKey<'static>> {
    let mut bytes = [0; KEY_BYTES_MAX];
    let length = base64::decode(text, &mut bytes)?;
    Some(MetaKey::Binary { bytes, length })
}

/// Reads the flags. A bad token does not end the reading: a flag behind it may be worse.
fn flags<'a>(key: &'a [u8], text: &[u8]) -> Result<(MetaKey<'a>, Flags), &'static [u8]> {
    let mut flags = Flags::default();
    let mut meta_key = MetaKey::Plain(key);
    let mut seen = 0_u128;
    let mut error = None;
    for word in Tokens::new(text) {
        let (letter, token) = (word[0], &word[1..]);
        let bit = 1_u128.checked_shl(u32::from(letter)).unwrap_or(0);
        if bit == 0 || seen & bit != 0 {
            return Err(reply::DUPLICATE_FLAG);
        }
        seen |= bit;
        let result = match letter {
            b'b' => match binary_key(key) {
                Some(binary) => {
                    meta_key = binary;
                    Ok(())
                }
                None => Err(reply::BAD_KEY),
            },
            b'N' => put(&mut flags.creates, signed(token)),
            b'T' => put(&mut flags.exptime, signed(token)),
            b'R' => put(&mut flags.renew, signed(token)),
            b'C' => put(&mut flags.compare, unsigned(token)),
            b'E' => put(&mut flags.new_unique, unsigned(token)),
            b'F' => match unsigned(token).and_then(|flags| u32::try_from(flags).ok()) {
                Some(number) => {
                    flags.client_flags = number;
                    Ok(())
                }
                None => Err(error.unwrap_or(reply::BAD_FORMAT)),
            },
            b'M' => match token {
                [mode] => {
                    flags.mode = Some(*mode);
                    Ok(())
                }
                _ => Err(reply::BAD_MODE_LENGTH),
            },
            b'J' => match unsigned(token) {
                Some(number) => {
                    flags.initial = number;
                    Ok(())
                }
                None => Err(reply::BAD_INITIAL),
            },
            b'D' => put(&mut flags.delta, unsigned(token)).map_err(|_| reply::BAD_DELTA),
            other => switch(&mut flags, other),
        };
        match result {
            Err(line) if line == reply::BAD_FLAG_LETTER => return Err(line),
            Err(line) => error = Some(line),
            Ok(()) => {}
        }
    }
    match error {
        None => Ok((meta_key, flags)),
        Some(line) => Err(line),
    }
}

fn put<T>(slot: &mut Option<T>, token: Option<T>) -> Result<(), &'static [u8]> {
    *slot = token;
    match slot {
        Some(_) => Ok(()),
        None => Err(reply::BAD_TOKEN),
    }
}

/// The flags that take no token, or one that is read when they are answered.
fn switch(flags: &mut Flags, letter: u8) -> Result<(), &'static [u8]> {
    match letter {
        b'v' => flags.value = true,
        b'u' => flags.unseen = true,
        b'q' => flags.quiet = true,
        b'I' => flags.stale = true,
        b'x' => flags.empty = true,
        // To be returned, or meant for a proxy in between.
        b'c' | b'f' | b'h' | b'k' | b'l' | b's' | b't' | b'O' | b'P' | b'L' => {}
        _ => return Err(reply::BAD_FLAG_LETTER),
    }
    Ok(())
}

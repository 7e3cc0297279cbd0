//! Carrying out meta commands, and writing their answers.
//!
//! An answer is a code of two letters and then, in the order of the question, the flags that
//! return something.

use super::execute::Turn;
use super::storing::Incoming;
use crate::protocol::{Decimal, Direction, Flags, Meta, MetaKey, Tokens, encode_base64, reply};
use crate::store::{
    Access, Count, Counted, Found, Item, Look, Mark, Removal, Removed, StoreOutcome,
};
use crate::time::{Expiry, Seconds};

/// Carries out `mg`.
#[inline(never)]
pub(crate) fn get(command: &Meta<'_>, turn: &mut Turn<'_>) {
    let Meta { key, flags, text } = command;
    let now = turn.now;
    let expiry = |exptime: i64| Expiry::from_exptime(exptime, now);
    let look = Look {
        access: flags
            .exptime
            .map_or(Access::Get, |exptime| Access::Touch(expiry(exptime))),
        unseen: flags.unseen,
        creates: flags.creates.is_some(),
        new_unique: flags.new_unique,
        binary_key: key.is_binary(),
    };
    let out = &mut *turn.out;
    let found = turn
        .cache
        .store
        .look(key.as_bytes(), &look, now, |item, is_new| {
            answer_hit(item, is_new, flags, text, now, out);
        });
    if found == Found::No && !flags.quiet {
        miss(b"EN", command, out);
    }
}

/// Answers an item that `mg` has found or made, and changes it as the flags say.
fn answer_hit(
    item: &mut Item,
    is_new: bool,
    flags: &Flags,
    text: &[u8],
    now: Seconds,
    out: &mut Vec<u8>,
) {
    // Who has this value already does not need it again.
    let with_value = flags.value && flags.compare != Some(item.unique);
    if with_value {
        out.extend_from_slice(b"VA ");
        out.extend_from_slice(Decimal::from_usize(item.value().len()).as_bytes());
    } else {
        out.extend_from_slice(b"HD");
    }
    let expiry = |exptime: Option<i64>| Expiry::from_exptime(exptime.unwrap_or(0), now);
    let mut won = false;
    for word in Tokens::new(text) {
        match word[0] {
            b'T' => item.expiry = expiry(flags.exptime),
            b'N' if is_new => {
                item.expiry = expiry(flags.creates);
                won = true;
            }
            b'R' => {
                let renew_below = expiry(flags.renew);
                let ends = item.expiry != Expiry::NEVER && renew_below != Expiry::NEVER;
                won |= ends && !is_new && item.expiry < renew_below && !item.is(Mark::TokenSent);
            }
            b's' => number(b's', Decimal::from_usize(item.value().len()), out),
            b't' => time_left(item.expiry, now, out),
            b'c' => number(b'c', Decimal::new(item.unique), out),
            b'f' => number(b'f', Decimal::new(u64::from(item.flags)), out),
            b'l' => number(b'l', Decimal::new(now.since(item.accessed)), out),
            b'h' => number(b'h', Decimal::new(item.is(Mark::Fetched).into()), out),
            b'k' => returned_key(item.key(), item.is(Mark::BinaryKey), out),
            b'O' => opaque(word, out),
            _ => {}
        }
    }
    if item.is(Mark::TokenSent) {
        out.extend_from_slice(b" Z");
    }
    if item.is(Mark::Stale) {
        out.extend_from_slice(b" X");
        won |= !item.is(Mark::TokenSent);
    }
    if won {
        out.extend_from_slice(b" W");
        item.mark(Mark::TokenSent);
    }
    out.extend_from_slice(b"\r\n");
    if with_value {
        out.extend_from_slice(item.value());
        out.extend_from_slice(b"\r\n");
    }
}

/// Answers what came of `ms`.
pub(crate) fn answer_set(
    outcome: StoreOutcome,
    incoming: &Incoming<'_>,
    text: &[u8],
    quiet: bool,
    out: &mut Vec<u8>,
) {
    let (code, unique, value_bytes) = match outcome {
        StoreOutcome::Stored(_) if quiet => return,
        StoreOutcome::Stored(receipt) => (b"HD", receipt.unique, receipt.value_bytes),
        StoreOutcome::Exists => (b"EX", 0, incoming.value_bytes),
        StoreOutcome::NotFound => (b"NF", 0, incoming.value_bytes),
        StoreOutcome::NotStored | StoreOutcome::OutOfMemory => (b"NS", 0, incoming.value_bytes),
    };
    out.extend_from_slice(code);
    for word in Tokens::new(text) {
        match word[0] {
            b'k' => returned_key(incoming.key, incoming.terms.binary_key, out),
            b'c' => number(b'c', Decimal::new(unique), out),
            b's' => number(b's', Decimal::from_usize(value_bytes), out),
            b'O' => opaque(word, out),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Carries out `md`.
#[inline(never)]
pub(crate) fn delete(command: &Meta<'_>, turn: &mut Turn<'_>) {
    let Meta { key, flags, .. } = command;
    let removal = Removal {
        compare: flags.compare,
        new_unique: flags.new_unique,
        stale: flags.stale,
        empty: flags.empty,
        flags: flags.client_flags,
        expiry: flags
            .exptime
            .map(|exptime| Expiry::from_exptime(exptime, turn.now)),
    };
    let code = match turn.cache.store.remove(key.as_bytes(), &removal, turn.now) {
        Removed::Yes if flags.quiet => return,
        Removed::Yes => b"HD",
        Removed::NotFound => b"NF",
        Removed::Exists => b"EX",
    };
    miss(code, command, turn.out);
}

/// Carries out `ma`.
#[inline(never)]
pub(crate) fn arithmetic(command: &Meta<'_>, turn: &mut Turn<'_>) {
    let Meta { key, flags, .. } = command;
    let now = turn.now;
    let count = Count {
        direction: match flags.mode {
            Some(b'D' | b'-') => Direction::Down,
            _ => Direction::Up,
        },
        delta: flags.delta.unwrap_or(1),
        compare: flags.compare,
        new_unique: flags.new_unique,
        creates: flags.creates.map(|_| flags.initial),
        binary_key: key.is_binary(),
        is_meta: true,
    };
    let before = turn.out.len();
    let out = &mut *turn.out;
    let report = |item: &mut Item, counted: u64, is_new: bool| {
        answer_count(item, counted, is_new, command, now, out);
    };
    match turn.cache.store.count(key.as_bytes(), &count, now, report) {
        Counted::Done if flags.quiet => turn.out.truncate(before),
        Counted::Done => {}
        Counted::NotFound => miss(b"NF", command, turn.out),
        Counted::Exists => miss(b"EX", command, turn.out),
        Counted::NotANumber => turn.out.extend_from_slice(reply::NON_NUMERIC),
        Counted::OutOfMemory if flags.creates.is_some() => {
            turn.out.extend_from_slice(reply::OUT_OF_MEMORY_CREATING);
        }
        Counted::OutOfMemory => turn.out.extend_from_slice(reply::OUT_OF_MEMORY),
    }
}

fn answer_count(
    item: &mut Item,
    counted: u64,
    is_new: bool,
    command: &Meta<'_>,
    now: Seconds,
    out: &mut Vec<u8>,
) {
    let Meta { key, flags, text } = command;
    let decimal = Decimal::new(counted);
    let digits = decimal.as_bytes();
    if flags.value {
        out.extend_from_slice(b"VA ");
        out.extend_from_slice(Decimal::from_usize(digits.len()).as_bytes());
    } else {
        out.extend_from_slice(b"HD");
    }
    let expiry = |exptime: Option<i64>| Expiry::from_exptime(exptime.unwrap_or(0), now);
    for word in Tokens::new(text) {
        match word[0] {
            b'T' => item.expiry = expiry(flags.exptime),
            b'N' if is_new => item.expiry = expiry(flags.creates),
            b't' => time_left(item.expiry, now, out),
            b'c' => number(b'c', Decimal::new(item.unique), out),
            b'k' => returned_key(key.as_bytes(), key.is_binary(), out),
            b'O' => opaque(word, out),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    if flags.value {
        out.extend_from_slice(digits);
        out.extend_from_slice(b"\r\n");
    }
}

/// Carries out `me`.
#[inline(never)]
pub(crate) fn debug(key: &MetaKey<'_>, turn: &mut Turn<'_>) {
    let (now, out) = (turn.now, &mut *turn.out);
    let found = turn.cache.store.inspect(key.as_bytes(), now, |item| {
        out.extend_from_slice(b"ME ");
        if item.is(Mark::BinaryKey) {
            encode_base64(item.key(), out);
        } else {
            out.extend_from_slice(item.key());
        }
        out.extend_from_slice(b" exp=");
        append_time_left(item.expiry, now, out);
        for (name, number) in [
            ("la", Decimal::new(now.since(item.accessed))),
            ("cas", Decimal::new(item.unique)),
        ] {
            pair(name, number.as_bytes(), out);
        }
        let fetched: &[u8] = if item.is(Mark::Fetched) {
            b"yes"
        } else {
            b"no"
        };
        pair("fetch", fetched, out);
        // There is one class: every item has a block of its own size.
        pair("cls", b"1", out);
        pair("size", Decimal::from_usize(item.size()).as_bytes(), out);
        out.extend_from_slice(b"\r\n");
    });
    if found == Found::No {
        turn.out.extend_from_slice(b"EN\r\n");
    }
}

/// Answers a code with what identifies the question.
fn miss(code: &[u8], command: &Meta<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(code);
    for word in Tokens::new(command.text) {
        match word[0] {
            b'k' => returned_key(command.key.as_bytes(), command.key.is_binary(), out),
            b'O' => opaque(word, out),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn number(letter: u8, number: Decimal, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b' ', letter]);
    out.extend_from_slice(number.as_bytes());
}

fn time_left(expiry: Expiry, now: Seconds, out: &mut Vec<u8>) {
    out.extend_from_slice(b" t");
    append_time_left(expiry, now, out);
}

fn append_time_left(expiry: Expiry, now: Seconds, out: &mut Vec<u8>) {
    match expiry.seconds_left(now) {
        None => out.extend_from_slice(b"-1"),
        Some(seconds) => out.extend_from_slice(Decimal::new(seconds).as_bytes()),
    }
}

/// Returns a key as it was sent. One of any bytes is marked by a flag of its own.
fn returned_key(key: &[u8], is_binary: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b" k");
    if is_binary {
        encode_base64(key, out);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(key);
    }
}

fn opaque(word: &[u8], out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(word);
}

fn pair(name: &str, value: &[u8], out: &mut Vec<u8>) {
    for part in [b" ", name.as_bytes(), b"=", value] {
        out.extend_from_slice(part);
    }
}

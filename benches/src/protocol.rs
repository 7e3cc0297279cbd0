//! What the servers of peers speak, as plain code without input and output: so they differ in
//! nothing but their loops.
//!
//! The protocol of the cache is a small part of memcached's: `get` of one key, and `set`. That is
//! all that the load asks for, and the least that anybody would write, in one map under one lock.
//! Ours is measured with the whole example.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What a program may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every program matches on it")]
pub enum Protocol {
    /// What comes goes back.
    Echo,
    /// A cache: memcached's text protocol.
    Mc,
}

impl Protocol {
    /// As programs are told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Mc => "mc",
        }
    }
}

/// How many bytes a server asks for at once.
pub const READ_BYTES: usize = 4096;

type Values = HashMap<Vec<u8>, Vec<u8>>;

/// Of all connections.
static VALUES: LazyLock<Mutex<Values>> = LazyLock::new(Mutex::default);

const END_OF_LINE: &[u8] = b"\r\n";

/// One connection: bytes in, bytes out.
#[derive(Debug)]
pub struct Connection {
    protocol: Protocol,
    /// The part of a request that has come so far.
    begun: Vec<u8>,
    replies: Vec<u8>,
}

impl Connection {
    /// Nothing has come yet.
    pub const fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            begun: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// What to send, now that these bytes have come.
    pub fn answer<'a>(&'a mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.protocol == Protocol::Echo {
            return bytes;
        }
        self.replies.clear();
        if self.begun.is_empty() {
            let used = serve_all(bytes, &mut self.replies);
            self.begun.extend_from_slice(&bytes[used..]);
        } else {
            self.begun.extend_from_slice(bytes);
            let used = serve_all(&self.begun, &mut self.replies);
            self.begun.drain(..used);
        }
        &self.replies
    }
}

/// Serves all requests that are whole; returns how many bytes they were.
fn serve_all(bytes: &[u8], replies: &mut Vec<u8>) -> usize {
    let mut values = VALUES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut used = 0;
    while let Some(length) = serve_one(&bytes[used..], &mut values, replies) {
        used += length;
    }
    used
}

/// Serves the request at the front; returns its length if it is whole.
fn serve_one(bytes: &[u8], values: &mut Values, replies: &mut Vec<u8>) -> Option<usize> {
    let feed = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes[..feed].strip_suffix(b"\r").unwrap_or(&bytes[..feed]);
    let (command, rest) = cut(line);
    match command {
        b"get" => {
            if let Some(value) = values.get(rest) {
                replies.extend_from_slice(b"VALUE ");
                replies.extend_from_slice(rest);
                replies.extend_from_slice(b" 0 ");
                replies.extend_from_slice(value.len().to_string().as_bytes());
                replies.extend_from_slice(END_OF_LINE);
                replies.extend_from_slice(value);
                replies.extend_from_slice(END_OF_LINE);
            }
            replies.extend_from_slice(b"END\r\n");
            Some(feed + 1)
        }
        b"set" => {
            let (key, numbers) = cut(rest);
            let Some(length) = last_number(numbers) else {
                replies.extend_from_slice(b"CLIENT_ERROR bad command line format\r\n");
                return Some(feed + 1);
            };
            let whole = feed + 1 + length + END_OF_LINE.len();
            let value = bytes.get(feed + 1..whole)?;
            let value = &value[..length];
            match values.get_mut(key) {
                Some(known) => {
                    known.clear();
                    known.extend_from_slice(value);
                }
                None => drop(values.insert(key.to_vec(), value.to_vec())),
            }
            replies.extend_from_slice(b"STORED\r\n");
            Some(whole)
        }
        _ => {
            replies.extend_from_slice(b"ERROR\r\n");
            Some(feed + 1)
        }
    }
}

/// Before and behind the first space.
fn cut(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &[]),
    }
}

fn last_number(words: &[u8]) -> Option<usize> {
    let word = words.rsplit(|byte| *byte == b' ').next()?;
    core::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Connection, Protocol};

    #[test]
    fn an_echo_is_what_has_come() {
        let mut connection = Connection::new(Protocol::Echo);
        assert_eq!(connection.answer(b"abc"), b"abc");
    }

    #[test]
    fn requests_are_answered_however_they_are_cut() {
        let requests = b"get cut\r\nset cut 0 0 3\r\na\nb\r\nget cut\r\nset cut 0 0 x\r\nquit\r\n";
        let expected = b"END\r\nSTORED\r\nVALUE cut 0 3\r\na\nb\r\nEND\r\n\
                         CLIENT_ERROR bad command line format\r\nERROR\r\n";
        for piece in [1, 2, 7, requests.len()] {
            super::VALUES.lock().unwrap().remove(&b"cut"[..]);
            let mut connection = Connection::new(Protocol::Mc);
            let mut said = Vec::new();
            for piece in requests.chunks(piece) {
                said.extend_from_slice(connection.answer(piece));
            }
            assert_eq!(said, expected, "in pieces of {piece}");
        }
    }
}

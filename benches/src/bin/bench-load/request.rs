//! What is asked, and how long the answer is.

use std::io::Write as _;

use benches::work::Random;

const ECHO: [u8; 64] = [b'e'; 64];
const KEYS: u64 = 10_000;
const VALUE: [u8; 100] = [b'v'; 100];
/// One request in so many is a `set`, the others are `get`s.
const SET_ONE_IN: u64 = 10;

/// Where requests come from.
pub(crate) enum Requests {
    Echo,
    Cache(Random),
}

impl Requests {
    pub(crate) fn of(protocol: &str) -> Option<Self> {
        match protocol {
            "echo" => Some(Self::Echo),
            "mc" => Some(Self::Cache(Random::default())),
            _ => None,
        }
    }

    /// Everything that must be said before requests are answered as expected, with the answer.
    pub(crate) fn first(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut said, mut answer) = (Vec::new(), Vec::new());
        if matches!(self, Self::Cache(_)) {
            for key in 0..KEYS {
                set(key, &mut said);
                answer.extend_from_slice(b"STORED\r\n");
            }
        }
        (said, answer)
    }

    /// A request and its answer, byte by byte.
    pub(crate) fn greeting(&self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Echo => (ECHO.to_vec(), ECHO.to_vec()),
            Self::Cache(_) => {
                let (mut said, mut answer) = (Vec::new(), Vec::new());
                get(7, &mut said);
                reply(7, &mut answer);
                (said, answer)
            }
        }
    }

    /// Appends the next request, and says how many bytes its answer has.
    pub(crate) fn next(&mut self, said: &mut Vec<u8>) -> usize {
        match self {
            Self::Echo => {
                said.extend_from_slice(&ECHO);
                ECHO.len()
            }
            Self::Cache(random) => {
                let key = random.below(KEYS);
                if random.below(SET_ONE_IN) == 0 {
                    set(key, said);
                    b"STORED\r\n".len()
                } else {
                    get(key, said);
                    REPLY_BYTES
                }
            }
        }
    }
}

/// Of a `get`.
const REPLY_BYTES: usize =
    b"VALUE key-00000000 0 100\r\n".len() + VALUE.len() + b"\r\nEND\r\n".len();

const MEMORY: &str = "a vector takes what is written";

fn get(key: u64, said: &mut Vec<u8>) {
    write!(said, "get key-{key:08}\r\n").expect(MEMORY);
}

fn set(key: u64, said: &mut Vec<u8>) {
    write!(said, "set key-{key:08} 0 0 {}\r\n", VALUE.len()).expect(MEMORY);
    said.extend_from_slice(&VALUE);
    said.extend_from_slice(b"\r\n");
}

fn reply(key: u64, answer: &mut Vec<u8>) {
    write!(answer, "VALUE key-{key:08} 0 {}\r\n", VALUE.len()).expect(MEMORY);
    answer.extend_from_slice(&VALUE);
    answer.extend_from_slice(b"\r\nEND\r\n");
}

#[cfg(test)]
mod tests {
    use super::{REPLY_BYTES, Requests, reply};

    #[test]
    fn a_reply_is_as_long_as_it_is_said_to_be() {
        let mut answer = Vec::new();
        reply(9_999, &mut answer);
        assert_eq!(answer.len(), REPLY_BYTES);
    }

    #[test]
    fn about_one_request_in_ten_is_a_set() {
        let mut requests = Requests::of("mc").expect("it is known");
        let (mut said, mut sets) = (Vec::new(), 0);
        for _ in 0..10_000 {
            sets += usize::from(requests.next(&mut said) != REPLY_BYTES);
        }
        assert!((800..1200).contains(&sets), "{sets}");
    }
}

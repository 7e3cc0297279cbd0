//! The requests of a load, and the replies that are due.

use std::io::Write;
use std::time::Instant;

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) key: u64,
    pub(crate) asked: Instant,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Version,
    Set,
    Get,
    GetAndTouch,
    MetaGet,
    MetaSet,
}

impl Request {
    /// Appends the request to `out`.
    pub(crate) fn write(self, values: &Values, out: &mut Vec<u8>) {
        let key = self.key;
        let value = values.of(key);
        let line = match self.kind {
            Kind::Version => "version\r\n".to_owned(),
            Kind::Get => format!("get key-{key}\r\n"),
            Kind::GetAndTouch => format!("gat 0 key-{key}\r\n"),
            Kind::MetaGet => format!("mg key-{key} v\r\n"),
            Kind::Set => format!("set key-{key} 0 0 {}\r\n", value.len()),
            Kind::MetaSet => format!("ms key-{key} {}\r\n", value.len()),
        };
        out.extend_from_slice(line.as_bytes());
        if matches!(self.kind, Kind::Set | Kind::MetaSet) {
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Compares what has come with the reply that is due, which is put together in `expected`.
    /// Returns its length if it is complete.
    pub(crate) fn check(
        self,
        values: &Values,
        expected: &mut Vec<u8>,
        input: &[u8],
    ) -> Result<Option<usize>, String> {
        let Self { kind, key, .. } = self;
        let value = values.of(key);
        expected.clear();
        let written = match kind {
            Kind::Version => {
                // The only reply that is not known in advance.
                if !input.starts_with(&b"VERSION "[..input.len().min(8)]) {
                    return Err(format!(
                        "asked for the version, the server said {}",
                        show(input)
                    ));
                }
                return Ok(input
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .map(|end| end + 1));
            }
            Kind::Set => expected.write_all(b"STORED\r\n"),
            Kind::MetaSet => expected.write_all(b"HD\r\n"),
            Kind::Get | Kind::GetAndTouch => {
                write!(expected, "VALUE key-{key} 0 {}\r\n", value.len())
                    .and_then(|()| expected.write_all(value))
                    .and_then(|()| expected.write_all(b"\r\nEND\r\n"))
            }
            Kind::MetaGet => write!(expected, "VA {}\r\n", value.len())
                .and_then(|()| expected.write_all(value))
                .and_then(|()| expected.write_all(b"\r\n")),
        };
        written.expect("a vector takes everything");
        let common = expected.len().min(input.len());
        if expected[..common] != input[..common] {
            let expected = show(expected);
            return Err(format!(
                "{kind:?} of key-{key}: expected {expected}, got {}",
                show(input)
            ));
        }
        Ok((common == expected.len()).then_some(common))
    }
}

/// The value of every key: pieces of one text, so that two keys rarely have the same.
#[derive(Debug)]
pub(crate) struct Values {
    text: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    const OFFSETS: u64 = 251;

    pub(crate) fn new(value_bytes: usize) -> Self {
        let mut random = Random(2);
        let bytes = value_bytes as u64 + Self::OFFSETS;
        let letter = |_| u8::try_from(random.below(94)).expect("below 94") + b'!';
        Self {
            text: (0..bytes).map(letter).collect(),
            value_bytes,
        }
    }

    pub(crate) fn of(&self, key: u64) -> &[u8] {
        let offset = usize::try_from(key % Self::OFFSETS).expect("a small remainder");
        &self.text[offset..offset + self.value_bytes]
    }
}

/// A small generator (xorshift64*): the same requests in every run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        // 32 random bits are scaled to the bound, which is below 2^32.
        (high * bound) >> 32
    }
}

/// The beginning of some bytes, for a message.
pub(crate) fn show(bytes: &[u8]) -> String {
    let front = &bytes[..bytes.len().min(80)];
    let more = if front.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", front.escape_ascii())
}

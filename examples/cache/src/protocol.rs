//! The memcached ASCII protocol: command lines in, reply lines out.
//!
//! Nothing here keeps state: `parse` sees one whole line without its line end and says what
//! it asks for, or which of memcached's error lines it earns. Who assembles lines and data
//! blocks is the session.
//!
//! Compared with memcached 1.6.18, byte for byte, over every command and many random ones. It
//! differs where memcached is looser than its own document, or depends on how bytes arrive:
//!
//! | | memcached 1.6.18 | here |
//! |---|---|---|
//! | control characters in a key | accepted | `CLIENT_ERROR bad command line format` |
//! | flags or lengths beyond 32 bits | cut off | `CLIENT_ERROR bad command line format` |
//! | a line of more than 2 KiB (64 KiB of keys) | closes, or not | `CLIENT_ERROR line too long` |
//! | the largest value | a little under 1 MiB | 1 MiB |
//! | `gat`, meta commands, `stats` of slabs | answered | `ERROR` |
//!
//! `tokens` cuts a line at its spaces, `number` reads and writes decimals, `command` says
//! what can be asked, `parse` decides, `reply` holds every line that is ever answered.

mod command;
mod number;
mod parse;
#[cfg(test)]
mod parse_tests;
pub(crate) mod reply;
mod tokens;

pub(crate) use command::{Command, Direction, Header, Reply, StoreVerb, ValueLine};
pub(crate) use number::{Decimal, value_as_number};
pub(crate) use parse::parse;
pub(crate) use tokens::Tokens;

/// The longest key.
pub(crate) const KEY_BYTES_MAX: usize = 250;

/// The longest data block that a header may announce. It bounds what can be swallowed after
/// a value that is too large, not what is stored.
pub(crate) const ANNOUNCED_BYTES_MAX: usize = 0x7fff_fffd;

/// What memcached reports as its version; clients test the number for what is supported.
pub(crate) const VERSION: &str = concat!("1.6.18-fiber-", env!("CARGO_PKG_VERSION"));

//! The memcached ASCII protocol: command lines in, reply lines out.
//!
//! Nothing here keeps state: `parse` sees one whole line without its line end and says what
//! it asks for, or which of memcached's error lines it earns. Who assembles lines and data
//! blocks is the session.
//!
//! Compared with memcached 1.6.18, byte for byte, over every command and thousands of random
//! ones (`cargo xtask test differential`). It differs where memcached is looser than its own
//! document, or depends on how bytes arrive, and takes what newer versions have added:
//!
//! | | memcached 1.6.18 | here |
//! |---|---|---|
//! | control characters in a key | accepted | `CLIENT_ERROR bad command line format` |
//! | flags or lengths beyond 32 bits | cut off | `CLIENT_ERROR bad command line format` |
//! | a line of more than 2 KiB (64 KiB of keys) | closes, or not | `CLIENT_ERROR line too long` |
//! | the largest value | a little under 1 MiB | 1 MiB, or half of the memory if that is less |
//! | a key in base64 with foreign letters | passes them over | `CLIENT_ERROR error decoding key` |
//! | an opaque token that is too long for `ma`, `mg N` | refused after the change | before it |
//! | `ma q N` that makes an item | `HD` | nothing, as in 1.6.42 |
//! | the flags `E`, `mg C`, `ms s`, `ms N`, `md x` | absent or ignored | as in 1.6.42 |
//! | `exp=` of `me` | seconds since | seconds left, as in 1.6.42 |
//! | a stale item that is counted | stays stale, or not by chance | stays stale |
//! | spaces behind a number that lost a digit | usually | always |
//! | the unique number of another key, for `ms I` | comparable | not: keys count on their own |
//! | `slabs`, `lru`, `lru_crawler`, `cache_memlimit` | answered | `ERROR` |
//! | `watch`, `shutdown`, `bget` | answered | `ERROR` |
//! | `stats` of `conns`, `detail`, `cachedump`; `sizes_enable` | answered | `ERROR` |
//!
//! `tokens` cuts a line at its spaces, `number` reads and writes decimals, `base64` reads and
//! writes keys, `command` says what can be asked, `parse` and `meta` decide, `reply` holds every
//! line that is ever answered.

mod base64;
mod command;
mod meta;
mod number;
mod parse;
#[cfg(test)]
mod parse_tests;
pub(crate) mod reply;
mod tokens;

pub(crate) use base64::encode as encode_base64;
pub(crate) use command::{Command, Direction, Header, Reply, StoreVerb, ValueLine};
pub(crate) use meta::{Flags, Meta, MetaKey};
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

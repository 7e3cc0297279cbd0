//! A memcached-compatible cache server.
//!
//! A [`Session`] turns the bytes of one connection into changes of the [`Cache`] and into
//! replies. It reads no clock, opens no file and never blocks, so the same code serves a real
//! network, a simulated one and a test that hands it one byte at a time.
//!
//! ```text
//! bytes ─▶ Session::space / filled ─▶ protocol::parse ─▶ Command ─▶ Cache ─▶ replies in `out`
//! ```
//!
//! Read in this order: `time`, `protocol`, `store`, `session`, `stats`, `options`, then
//! [`server`], which puts it on sockets, and [`simulation`], which tries to break it.

extern crate alloc;

mod cache;
pub mod options;
mod protocol;
pub mod server;
mod session;
pub mod simulation;
mod stats;
mod store;
mod sync;
mod time;

pub use cache::{Cache, Config};
pub use session::{Limits, Progress, Session, recycle};
pub use stats::{ProcessorTime, Server};
pub use time::Seconds;

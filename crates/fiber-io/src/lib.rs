//! Sockets shaped like the ones of the standard library, on fibers.
//!
//! [`TcpListener`] and [`TcpStream`] are `std::net`'s types, method by method: a call blocks its
//! fiber and nobody else. A read lends the caller's own slice to the host and comes back when the
//! host is done with it, so there are no owned buffers and nothing that can be dropped too early.
//!
//! ```text
//! TcpStream::read ─▶ fiber_core::io::recv(id, &mut [u8]) ─▶ park ─▶ the host's completion
//!  └ an Id and two limits of time; a drop closes the id, from any thread, without waiting
//! ```
//!
//! Reading and writing are traits: [`std::io::Read`] and [`std::io::Write`] with the feature `std`,
//! this crate's [`Read`] and [`Write`] everywhere. Bring one of the two pairs into scope.
//!
//! What differs from `std::net`:
//!
//! - Names are not resolved: addresses are literal, see [`ToSocketAddrs`].
//! - A read or write that has reached its limit of time fails with `TimedOut` on every host, where
//!   std gives `WouldBlock` on Unix; the limit counts for the whole call, also that of
//!   [`Read::read_exact`] and [`Write::write_all`], which are one request each.
//! - No call fails with `Interrupted`.
//! - Limits of time belong to one handle: a clone starts with a copy of them.
//! - There is no `peek`, `linger`, `only_v6` and no non-blocking mode.
//!
//! Whatever waits can be an arm of a choice, or what a fiber waits for before it starts, without a
//! stack: [`TcpStream::readable_operation`], [`TcpListener::accept_operation`],
//! [`Signals::wait_operation`](signal::Signals::wait_operation).
//!
//! Signals of the operating system are waited for in the same way: [`signal`].
//!
//! Read in this order: [`TcpStream`], [`TcpListener`], [`ToSocketAddrs`], [`signal`], [`Error`].
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod address;
mod error;
mod handle;
mod limit;
mod listener;
mod operation;
pub mod signal;
#[cfg(feature = "std")]
mod standard;
mod stream;
mod transfer;

pub use fiber_core::{Id, IoError, IoErrorKind, Stale, StaleReason, request::Shutdown};

pub use crate::{
    address::ToSocketAddrs,
    error::Error,
    handle::NotTransferred,
    listener::{Incoming, TcpListener},
    operation::{AcceptOperation, ReadyOperation, SignalOperation},
    stream::TcpStream,
    transfer::{Read, Write},
};

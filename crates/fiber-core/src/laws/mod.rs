//! The conformance kit: what every host must do, law by law.
//!
//! A host runs all of it from a test file of its own; nextest lists each law by name:
//!
//! ```ignore
//! fiber_core::laws_tests!(|| MyHost::new());
//! ```
//!
//! A law opens ports on the host's own workers and drives them by hand. Laws about requests that
//! the host does not offer ([`Caps`](crate::env::Caps)) pass without a word; [`check`] tells which
//! these were. Everything is bounded: in time by the host's clock, in traffic by some megabytes,
//! and in place by [`Config::listen`].
//!
//! Where to read: `world` (clocks, stacks, threads, unwinding), `turns` (waits and wakes),
//! `connections` and `transfers` (the requests), `cancels`, `tokens` (completions as such).
//! `rig` is what drives a port, and checks on the way what each law takes for granted.

extern crate std;

mod bench;
mod cancels;
mod connections;
mod memory;
mod rig;
#[cfg(test)]
mod tests;
mod tokens;
mod transfers;
mod turns;
mod world;

use alloc::{sync::Arc, vec::Vec};
use core::net::SocketAddr;

pub use self::bench::Bench;
use crate::env::Env;

/// Where the laws may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where laws listen, and under which address they connect; port 0, and an address that
    /// belongs to the host.
    pub listen: SocketAddr,
}

impl Config {
    /// The laws act at this address.
    pub const fn new(listen: SocketAddr) -> Self {
        Self { listen }
    }
}

impl Default for Config {
    /// IPv4 loopback.
    fn default() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

/// One law.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Law {
    /// Its name, a sentence.
    pub name: &'static str,
    /// Panics if the host breaks it.
    pub check: fn(&Bench<'_>),
}

/// Runs every law against hosts made by `make`, and answers which ones did not apply.
///
/// # Panics
/// At the first law that is broken; the message names it.
pub fn check(make: &dyn Fn() -> Arc<dyn Env>, config: Config) -> Vec<&'static str> {
    let check = |law: &Law| (!check_one(law.name, make, config)).then_some(law.name);
    ALL.iter().filter_map(check).collect()
}

/// Runs one law; false if it does not apply to this host.
///
/// # Panics
/// When the law is broken, or when there is no law of that name.
pub fn check_one(name: &str, make: &dyn Fn() -> Arc<dyn Env>, config: Config) -> bool {
    let law = ALL.iter().find(|law| law.name == name);
    let law = law.unwrap_or_else(|| panic!("there is no law named {name}"));
    let bench = Bench::new(law.name, make, config);
    (law.check)(&bench);
    bench.applied()
}

/// Expands to one `#[test]` for each law. `make` is an expression that can be called and answers
/// an `Arc` of the host; a [`Config`] may follow.
#[macro_export]
macro_rules! laws_tests {
    ($make:expr) => {
        $crate::laws_tests!($make, $crate::laws::Config::default());
    };
    ($make:expr, $config:expr) => {
        $crate::each_law!(law_test, ($make, $config));
        $crate::law_test!();
    };
}

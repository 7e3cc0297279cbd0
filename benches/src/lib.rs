//! What every benchmark program here has in common, whichever runtime it measures.
//!
//! A program is a table of [`Workload`]s, a way to run one, and the protocols that it serves;
//! [`program`] makes a command of it:
//!
//! ```text
//! PROGRAM [list]                 a line for each workload, `yield_2 1,2`: its name, and with how
//!                                many workers; and for each protocol, `serve-echo 1`
//! PROGRAM bench NAME WORKERS N   runs N ops on so many workers; prints one line of JSON
//! PROGRAM serve PROTOCOL PORT    serves on the loopback with one worker: says `READY`, and goes on
//!                                until it is killed
//! ```
//!
//! `cargo xtask bench` runs the programs in turn and compares them. What one op of each workload is
//! stands in [`names`]; to add one, name it there and write it for each runtime that can do it.
//! Servers are put under load by the program `bench-load`. What peers speak is in [`protocol`].
#![expect(clippy::print_stdout, reason = "benchmark programs answer on stdout")]

mod arguments;
pub mod meter;
pub mod names;
pub mod protocol;
pub mod work;

use core::{error::Error, net::SocketAddr};
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use crate::arguments::{Call, parse};
pub use crate::meter::{Measured, Meter};
pub use crate::protocol::Protocol;

/// Something that a program can measure.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "programs build tables of it")]
pub struct Workload<B> {
    /// One of [`names`].
    pub name: &'static str,
    /// With how many workers it makes sense.
    pub workers: &'static [u16],
    /// What runs and measures a number of ops of it, in whatever form its runtime wants.
    pub body: B,
}

/// What is asked of a program: so many ops on so many workers.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Job<B> {
    /// The workload's.
    pub body: B,
    /// How many threads are to run it.
    pub workers: u16,
    /// How many ops.
    pub ops: u64,
}

/// What else may be asked of a program: to serve.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Service {
    /// What is spoken.
    pub protocol: Protocol,
    /// On which port of the loopback.
    pub port: u16,
}

impl Service {
    /// Where to listen.
    pub fn address(self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// What may go wrong, to be told on stderr.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The `main` of a benchmark program.
pub fn program<B: Copy>(
    table: &[Workload<B>],
    run: impl FnOnce(Job<B>) -> Result<Measured, Failure>,
    protocols: &[Protocol],
    serve: impl FnOnce(Service) -> Result<(), Failure>,
) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match parse(table, protocols, &arguments) {
        Ok(Call::List) => {
            list(table, protocols);
            Ok(())
        }
        Ok(Call::Bench(job)) => run(job).map(|measured| println!("{measured}")),
        Ok(Call::Serve(service)) => serve(service),
        Err(complaint) => {
            eprintln!("{complaint}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn list<B>(table: &[Workload<B>], protocols: &[Protocol]) {
    for workload in table {
        let workers: Vec<_> = workload.workers.iter().map(u16::to_string).collect();
        println!("{} {}", workload.name, workers.join(","));
    }
    for protocol in protocols {
        println!("serve-{} 1", protocol.name());
    }
}

/// Says that a server listens, to whoever has started it.
///
/// # Errors
/// When nobody reads it.
pub fn say_ready() -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(b"READY\n")?;
    out.flush()
}

/// Measures a body that does exactly the ops it is asked for: `timed!(ops => body(ops))`.
#[macro_export]
macro_rules! timed {
    ($ops:ident => $body:expr) => {{
        let meter = $crate::Meter::start();
        $body;
        meter.stop($ops)
    }};
}

/// `total` ops in `parts` shares that differ by one at the most.
pub fn shares(total: u64, parts: u64) -> impl Iterator<Item = u64> {
    (0..parts).map(move |part| total / parts + u64::from(part < total % parts))
}

/// `total` ops in pieces of `piece` and a rest.
pub fn pieces(total: u64, piece: u64) -> impl Iterator<Item = u64> {
    let rest = total % piece;
    let whole = core::iter::repeat_n(piece, usize::try_from(total / piece).unwrap_or(usize::MAX));
    whole.chain((rest > 0).then_some(rest))
}

#[cfg(test)]
mod tests {
    use super::{pieces, shares};

    #[test]
    fn shares_and_pieces_add_up_to_the_total() {
        assert_eq!(shares(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(shares(1, 2).sum::<u64>(), 1);
        assert_eq!(pieces(2500, 1000).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(pieces(2000, 1000).count(), 2);
        assert_eq!(pieces(0, 1000).count(), 0);
    }
}

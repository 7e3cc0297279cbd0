//! What every benchmark program here has in common, whichever runtime it measures.
//!
//! A program is a table of [`Workload`]s and a way to run one; [`program`] makes a command of it:
//!
//! | call | does |
//! |---|---|
//! | `PROGRAM` or `PROGRAM list` | prints a line `NAME WORKERS` for each workload: `yield_2 1,2` |
//! | `PROGRAM bench NAME WORKERS N` | runs N ops on so many workers; prints one line of JSON |
//!
//! `cargo xtask bench` runs the programs in turn and compares them. What one op of each workload is
//! stands in [`names`]; to add one, name it there and write it for each runtime that can do it.
#![expect(clippy::print_stdout, reason = "benchmark programs answer on stdout")]

mod arguments;
pub mod meter;
pub mod names;

use core::fmt;
use std::{env, process::ExitCode};

use crate::arguments::{Call, parse};
pub use crate::meter::{Measured, Meter};

/// Something that a program can measure.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "programs build tables of it")]
pub struct Workload<B> {
    /// One of [`names`].
    pub name: &'static str,
    /// With how many workers it makes sense.
    pub workers: &'static [u16],
    /// What runs a number of ops of it, in whatever form its runtime wants.
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

/// The `main` of a benchmark program.
pub fn program<B: Copy, E: fmt::Display>(
    table: &[Workload<B>],
    run: impl FnOnce(Job<B>) -> Result<Measured, E>,
) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match parse(table, &arguments) {
        Ok(Call::List) => {
            for workload in table {
                let workers: Vec<_> = workload.workers.iter().map(u16::to_string).collect();
                println!("{} {}", workload.name, workers.join(","));
            }
            ExitCode::SUCCESS
        }
        Ok(Call::Bench(job)) => match run(job) {
            Ok(measured) => {
                println!("{measured}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::from(2)
        }
    }
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

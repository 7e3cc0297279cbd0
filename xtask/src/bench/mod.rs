//! `cargo xtask bench`: the benchmark programs of `benches`, side by side.
//!
//! Every workload is run by ours and its peers in turn, round after round, so that whatever else
//! the machine does meanwhile is spread over all of them. A program first says how long an op
//! takes it, and then gets as many as fill [`RUN_TIME`]. Only ratios within one table mean
//! anything.

mod pin;
mod program;
mod table;

use core::time::Duration;

use self::pin::Pins;
use self::program::{OURS, PROGRAMS, Program};
use self::table::{Cell, Row};
use crate::workspace::Workspace;

/// How long one run is meant to take: long beside the start of a program and a time slice.
const RUN_TIME: Duration = Duration::from_millis(150);
const ROUNDS: usize = 5;
const USAGE: &str = "usage: cargo xtask bench [NAME…] [--rounds R]";
/// For the first look at a workload.
const OPS_TRIED: u64 = 2_000;
const OPS_MAX: u64 = 50_000_000;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    names: Vec<&'a str>,
    rounds: usize,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> Result<Self, String> {
        let mut options = Self {
            names: Vec::new(),
            rounds: ROUNDS,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--rounds" => {
                    let rounds = words.next().and_then(|text| text.parse().ok());
                    let rounds = rounds.filter(|rounds| *rounds > 0);
                    options.rounds = rounds.ok_or("error: --rounds wants a number from 1 on")?;
                }
                option if option.starts_with('-') => {
                    return Err(format!("error: no such option: {option}\n{USAGE}"));
                }
                name => options.names.push(name),
            }
        }
        Ok(options)
    }
}

/// Builds the programs, measures, and prints Markdown on stdout.
pub(crate) fn run(workspace: &Workspace, words: &[&str]) -> Result<(), String> {
    let options = Options::parse(words)?;
    let programs = program::build(workspace)?;
    let ours = programs.first().ok_or("error: no program was built")?;
    let wanted = select(ours, &options.names)?;
    let pins = Pins::of_this_thread()?;
    let mut rows = Vec::new();
    for (name, workers) in wanted {
        if usize::from(workers) > pins.processors() {
            eprintln!("{name} on {workers} workers: skipped, it needs as many processors");
            continue;
        }
        eprintln!("{name} on {workers}");
        pins.confine(usize::from(workers))?;
        let row = measure(&programs, &name, workers, options.rounds);
        pins.release()?;
        rows.push(row?);
    }
    let names: Vec<_> = PROGRAMS.iter().map(|(title, _)| *title).collect();
    print!("{}", table::render(&names, options.rounds, &rows));
    Ok(())
}

/// What our program can do, of what was named.
fn select(ours: &Program, names: &[&str]) -> Result<Vec<(String, u16)>, String> {
    let unknown = |name: &&&str| !ours.workloads.iter().any(|(known, _)| known == **name);
    if let Some(name) = names.iter().find(unknown) {
        let known: Vec<_> = ours.workloads.iter().map(|(name, _)| &**name).collect();
        return Err(format!(
            "error: {OURS} has no workload `{name}`; it has: {}",
            known.join(" ")
        ));
    }
    let all = ours.workloads.iter();
    let wanted = all.filter(|(name, _)| names.is_empty() || names.contains(&&**name));
    Ok(wanted.cloned().collect())
}

fn measure(programs: &[Program], name: &str, workers: u16, rounds: usize) -> Result<Row, String> {
    let mut row = Row {
        name: name.to_owned(),
        workers,
        cells: programs.iter().map(|_| Cell::default()).collect(),
    };
    let can = |program: &Program| program.can(name, workers);
    let mut ops = Vec::new();
    for program in programs {
        ops.push(if can(program) {
            let tried = program.run(name, workers, OPS_TRIED)?;
            ops_that_fill(tried.wall_ns)
        } else {
            0
        });
    }
    for _ in 0..rounds {
        for ((program, ops), cell) in programs.iter().zip(&ops).zip(&mut row.cells) {
            if can(program) {
                cell.push(program.run(name, workers, *ops)?);
            }
        }
    }
    Ok(row)
}

/// How many ops of so many nanoseconds each fill a run.
fn ops_that_fill(ns_per_op: f64) -> u64 {
    let ops = RUN_TIME.as_nanos() as f64 / ns_per_op.max(0.1);
    #[expect(clippy::cast_possible_truncation, reason = "positive, and cut off")]
    let ops = ops as u64;
    ops.clamp(OPS_TRIED, OPS_MAX)
}

#[cfg(test)]
mod tests {
    use super::program::Program;
    use super::{OPS_MAX, OPS_TRIED, Options, ops_that_fill, select};

    #[test]
    fn names_and_rounds_are_read_in_any_order() {
        let options = Options::parse(&["a", "--rounds", "3", "b"]).expect("it is right");
        assert_eq!((options.names, options.rounds), (vec!["a", "b"], 3));
        for wrong in [&["--rounds"][..], &["--rounds", "0"], &["--fast"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_run_has_neither_too_few_ops_nor_too_many() {
        assert_eq!(ops_that_fill(0.0), OPS_MAX);
        assert_eq!(ops_that_fill(1000.0), 150_000);
        assert_eq!(ops_that_fill(1e12), OPS_TRIED);
    }

    #[test]
    fn no_name_selects_all_that_ours_can_do_and_an_unknown_one_is_an_error() {
        let workloads = vec![
            ("a".to_owned(), 1),
            ("a".to_owned(), 2),
            ("b".to_owned(), 1),
        ];
        let ours = Program::new("ours".into(), workloads);
        assert_eq!(select(&ours, &[]).expect("all").len(), 3);
        assert_eq!(select(&ours, &["a"]).expect("both of a").len(), 2);
        let error = select(&ours, &["c"]).expect_err("there is no c");
        assert!(error.contains("`c`") && error.contains("b"), "{error}");
    }
}

//! `cargo xtask bench`: the benchmark programs of `benches`, side by side.
//!
//! Every workload is run by ours and the others in turn, round after round, so that whatever else
//! the machine does meanwhile is spread over all of them; a run that others have disturbed is
//! repeated. A program first says how long an op takes it, and then gets as many as fill
//! [`RUN_TIME`]. One worker is on the first processor, two are on the first two; a server is on the
//! first, and its client on the second. Only ratios within one table mean anything.
//!
//! With `--peers` and without names everything is measured, and the tables and the chart in `docs`
//! are written anew; else they are written to `target/bench`.
//!
//! Read in this order: `families`, `program`, `load`, `sample`, `table`, `chart`.

mod chart;
mod families;
mod load;
mod options;
mod pin;
mod program;
mod quiet;
mod sample;
mod table;

use core::time::Duration;
use std::fs;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::families::{FEWER, Family, Kind, Task};
use self::load::Load;
use self::options::Options;
use self::pin::Pins;
use self::program::Program;
use self::quiet::{While, quietest};
use self::sample::{Cell, Column, Row, Sample};
use crate::workspace::Workspace;

/// How long one run is meant to take: long beside the start of a program and a time slice.
const RUN_TIME: Duration = Duration::from_millis(250);
/// For the first look at a workload.
const OPS_TRIED: u64 = 2_000;
const OPS_MAX: u64 = 50_000_000;
const TABLES: &str = "benchmarks.md";
const CHART: &str = "benchmarks.svg";

/// Builds the programs, measures, prints the tables and writes them with the chart.
pub(crate) fn run(workspace: &Workspace, words: &[&str]) -> Result<(), String> {
    let options = Options::parse(words)?;
    let wanted = families::select(&options.names)?;
    let (programs, client) = program::build(workspace, options.peers)?;
    allow_files();
    let bench = Bench {
        programs,
        client,
        pins: Pins::of_this_thread()?,
        rounds: options.rounds,
    };
    let mut rows = Vec::new();
    for (family, task) in wanted {
        for workers in bench.workers(task) {
            rows.extend(bench.row(family, task, workers));
        }
    }
    let columns: Vec<_> = bench
        .programs
        .iter()
        .map(|program| program.column)
        .collect();
    let chart = chart::render(&columns, &rows);
    let text = document(&options, &columns, &rows, chart.is_some());
    print!("{text}");
    let folder = if options.is_whole() {
        workspace.root.join("docs")
    } else {
        workspace.target.join("bench")
    };
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("written: {}", path.display());
        Ok::<_, String>(())
    };
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    write(TABLES, &text)?;
    chart.map_or(Ok(()), |chart| write(CHART, &chart))?;
    let fails = |row: &&Row| row.cells.first().is_some_and(|ours| ours.failure.is_some());
    let failed: Vec<_> = rows.iter().filter(fails).map(|row| row.name).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("ours fails: {}", failed.join(" ")))
    }
}

/// Servers and clients with thousands of connections inherit it.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // With the old limit those that need more fail, and say so.
    let _ = setrlimit(Resource::Nofile, raised);
}

fn document(options: &Options<'_>, columns: &[Column], rows: &[Row], has_chart: bool) -> String {
    let picture = if has_chart {
        format!("![ours beside the best peer]({CHART})\n\n")
    } else {
        String::new()
    };
    format!(
        "# Benchmarks\n\n\
         Made by `{}` on {}.\n\n\
         {picture}\
         A cell is the median of {} runs, with the least and the most. A ratio says how many \
         times as much ours costs: below 1 it is cheaper. The floor is no runtime: bare coroutines \
         in a queue, bare threads, a bare ring. Absolute figures are this machine's on that day; \
         what counts are the ratios.\n\n{}\n{}## What one op is\n\n{}",
        options.command(),
        machine(),
        options.rounds,
        table::notes(columns, rows),
        table::render(columns, rows),
        table::legend(rows),
    )
}

/// What it was measured on.
fn machine() -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = text("/proc/cpuinfo");
    let models = || cpus.lines().filter(|line| line.starts_with("model name"));
    let model = models().next().and_then(|line| line.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let kernel = text("/proc/sys/kernel/osrelease");
    let count = models().count();
    format!("{model} with {count} processors, Linux {}", kernel.trim())
}

struct Bench {
    /// Ours first.
    programs: Vec<Program>,
    /// What makes load.
    client: PathBuf,
    pins: Pins,
    rounds: usize,
}

impl Bench {
    /// On how many workers ours does it.
    fn workers(&self, task: &Task) -> Vec<u16> {
        let name = match task.kind {
            Kind::Filled => task.name,
            Kind::Fixed { workload, .. } => workload,
            Kind::Served(_) => return vec![1],
        };
        [1, 2]
            .into_iter()
            .filter(|workers| self.programs[0].can(name, *workers))
            .collect()
    }

    /// Measures one workload; none if the machine is too small for it.
    fn row(&self, family: &'static Family, task: &'static Task, workers: u16) -> Option<Row> {
        let load = match task.kind {
            Kind::Served(load) => Some(load),
            _ => None,
        };
        let needed = if load.is_some() {
            2
        } else {
            usize::from(workers)
        };
        if self.pins.processors() < needed {
            eprintln!("{}: skipped, it needs {needed} processors", task.name);
            return None;
        }
        eprintln!("{} on {workers}", task.name);
        let mut cells: Vec<Cell> = self.programs.iter().map(|_| Cell::default()).collect();
        let mut jobs = Vec::new();
        for (program, cell) in self.programs.iter().zip(&mut cells) {
            jobs.push(match load {
                Some(load) => program.serves(load.protocol()).then_some(Job::Load(load)),
                None => self.job(program, task, workers, cell),
            });
        }
        for _ in 0..self.rounds {
            for ((program, job), cell) in self.programs.iter().zip(&jobs).zip(&mut cells) {
                let (Some(job), None) = (job, &cell.failure) else {
                    continue;
                };
                match quietest(|| self.run(program, *job, workers)) {
                    Ok(sample) => cell.samples.push(sample),
                    Err(failure) => {
                        eprintln!("{failure}");
                        cell.failure = Some(failure);
                    }
                }
            }
        }
        Some(Row {
            family: family.title,
            name: task.name,
            op: task.op,
            workers,
            cells,
        })
    }

    /// What a program has to do for a row; none if it cannot.
    fn job(&self, program: &Program, task: &Task, workers: u16, cell: &mut Cell) -> Option<Job> {
        match task.kind {
            Kind::Fixed {
                workload,
                otherwise,
                ops,
            } => {
                let name = [workload, otherwise]
                    .into_iter()
                    .find(|name| program.can(name, workers));
                let title = program.column.title;
                let fewer = FEWER
                    .iter()
                    .find(|(whose, row, _)| *whose == title && *row == task.name);
                let ops = fewer.map_or(ops, |(_, _, fewer)| *fewer);
                name.map(|name| Job::Ops { name, ops })
            }
            _ if !program.can(task.name, workers) => None,
            _ => {
                let name = task.name;
                let job = Job::Ops {
                    name,
                    ops: OPS_TRIED,
                };
                match self.run(program, job, workers) {
                    Ok(tried) => {
                        let ops = ops_that_fill(tried.get("ns_per_op").unwrap_or_default());
                        Some(Job::Ops { name, ops })
                    }
                    Err(failure) => {
                        eprintln!("{failure}");
                        cell.failure = Some(failure);
                        None
                    }
                }
            }
        }
    }

    fn run(&self, program: &Program, job: Job, workers: u16) -> Result<Sample, String> {
        match job {
            Job::Load(load) => load.run(program, &self.client, &self.pins),
            Job::Ops { name, ops } => {
                let time = While::begin(None);
                let run = || program.run(name, workers, ops);
                let sample = self.pins.confined(0, usize::from(workers), run)?;
                Ok(sample.beside(time.end()))
            }
        }
    }
}

/// What a program has to do.
#[derive(Clone, Copy)]
enum Job {
    Ops { name: &'static str, ops: u64 },
    Load(Load),
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
    use super::sample::tests::{COLUMNS, row};
    use super::{OPS_MAX, OPS_TRIED, Options, document, ops_that_fill};

    #[test]
    fn a_run_has_neither_too_few_ops_nor_too_many() {
        assert_eq!(ops_that_fill(0.0), OPS_MAX);
        assert_eq!(ops_that_fill(1000.0), 250_000);
        assert_eq!(ops_that_fill(1e12), OPS_TRIED);
    }

    #[test]
    fn the_document_says_how_it_was_made_and_shows_the_chart_if_there_is_one() {
        let rows = [row("a", 1, [&[1.0], &[1.0], &[1.0], &[1.0]])];
        let options = Options::parse(&["a", "--peers"]).expect("it is right");
        let text = document(&options, &COLUMNS, &rows, true);
        assert!(text.starts_with("# Benchmarks\n\nMade by `cargo xtask bench a --peers` on "));
        assert!(text.contains("(benchmarks.svg)") && text.contains("| a | a thing |"));
        assert!(!document(&options, &COLUMNS, &rows, false).contains("svg"));
    }
}

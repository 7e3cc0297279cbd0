//! The project's chores: `cargo xtask help` lists them.
//!
//! Start reading at [`steps`], the table of everything that `test` runs.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]

extern crate alloc;

mod bench;
mod clients;
mod count;
mod demo;
mod differential;
mod gdb;
mod layers;
mod progress;
mod prove;
mod purity;
mod runner;
mod sanitize;
#[cfg(test)]
mod scratch;
mod server;
mod steps;
mod tidy;
mod workspace;

use std::process::ExitCode;

use crate::workspace::Workspace;

const HELP: &str = "\
cargo xtask <command>

  demo            serve a load with the cache, then simulate it 200 times
  test [STEP…]    every check of the project, or only the steps named (--list shows them)
  ci [STEP…]      the same
  bench [NAME…]   costs beside the floor, with --peers beside peers too (--rounds R)
  count           instructions of the hot paths, beside those written down (--write does that)
  prove …         promises, tried in full size: connections, load, drain, operations
  sanitize …      tests under the sanitizers of nightly's compiler: address, thread
  tidy            the rules of the house that rustfmt and clippy do not see
  layers          the dependency graph, checked against the table in layers.rs
  purity          the proof that the core crates know no operating system
  help            this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            if !message.is_empty() {
                eprintln!("{message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    match words {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["demo"] => demo::run(&Workspace::load()?),
        ["test" | "ci", "--list"] => {
            print!("{}", steps::list());
            Ok(())
        }
        ["test" | "ci", names @ ..] => runner::run(&Workspace::load()?, &steps::select(names)?),
        ["bench", words @ ..] => bench::run(&Workspace::load()?, words),
        ["count", words @ ..] => count::run(&Workspace::load()?, words),
        ["prove", words @ ..] => prove::run(&Workspace::load()?, words),
        ["sanitize", words @ ..] => sanitize::run(&Workspace::load()?, words),
        ["tidy"] => tidy(&Workspace::load()?),
        ["layers"] => print(layers::check(&Workspace::load()?)),
        ["purity"] => purity(&Workspace::load()?),
        _ => Err(format!(
            "error: no such command: {}\n\n{HELP}",
            words.join(" ")
        )),
    }
}

fn tidy(workspace: &Workspace) -> Result<(), String> {
    let findings = tidy::check(&workspace.root)?;
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    Err(format!("tidy: {} to mend", findings.len()))
}

fn purity(workspace: &Workspace) -> Result<(), String> {
    let (report, time) = progress::show("purity", || purity::check(workspace));
    println!("{:>7.1} s", time.as_secs_f64());
    print(report)
}

fn print(report: Result<String, String>) -> Result<(), String> {
    print!("{}", report?);
    Ok(())
}

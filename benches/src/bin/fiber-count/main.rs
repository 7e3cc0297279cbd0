//! The hot paths of the runtime without an operating system below them, for counting their
//! instructions: `cargo xtask count` takes each path twice, and divides the difference.
//!
//! | call | does |
//! |---|---|
//! | `fiber-count` | prints the names of the paths |
//! | `fiber-count NAME N` | takes path NAME about N times, on one worker of the scripted host |
//!
//! Nothing here depends on a clock or on chance: the same program takes the same instructions.
#![expect(clippy::print_stdout, reason = "a program that answers on stdout")]

extern crate alloc;

mod paths;

use std::{env, process::ExitCode};

use fiber::Runtime;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        [] => paths::TABLE.iter().for_each(|(name, _)| println!("{name}")),
        [name, times] => {
            let path = paths::TABLE.iter().find(|(known, _)| known == name);
            let (Some((_, path)), Ok(times)) = (path, times.parse()) else {
                eprintln!("no such path, or not a number: {name} {times}");
                return ExitCode::from(2);
            };
            if let Err(error) = Runtime::builder(paths::host())
                .workers(1)
                .run(|| path(times))
            {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
        _ => {
            eprintln!("usage: fiber-count [NAME N]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

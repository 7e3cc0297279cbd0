//! The load client of the cache: a process of its own that shares no code with the server, so
//! that what it measures and checks is only what the server sends.

extern crate alloc;

mod arguments;
mod check;
mod dialogue;
mod histogram;
mod load;
mod process;
mod report;
mod request;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::Arguments;

const WRONG: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return print(arguments::HELP.trim_end(), 0),
        Err(error) => {
            eprintln!("cache-load: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match run(&arguments) {
        Ok((line, 0)) => print(&line, 0),
        Ok((line, errors)) => {
            eprintln!("cache-load: {errors} connections went wrong");
            print(&line, WRONG)
        }
        Err(error) => {
            eprintln!("cache-load: {}: {error}", arguments.address);
            ExitCode::from(WRONG)
        }
    }
}

/// Returns the line to print and how many connections went wrong.
fn run(arguments: &Arguments) -> io::Result<(String, u64)> {
    if let Some(connections) = arguments.check {
        process::allow_files(connections);
        let errors = check::run(arguments.address, connections)?;
        let line = format!(
            "{{\"connections\":{connections},\"requests\":{},\"errors\":{errors}}}",
            connections * 100
        );
        return Ok((line, errors));
    }
    process::allow_files(arguments.connections);
    let report = load::run(arguments)?;
    if report.requests == 0 && report.errors == 0 {
        return Err(io::Error::other(
            "not one request was answered in the time given",
        ));
    }
    Ok((report.to_string(), report.errors))
}

fn print(line: &str, code: u8) -> ExitCode {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cache-load: cannot write the result: {error}");
            ExitCode::from(WRONG)
        }
    }
}

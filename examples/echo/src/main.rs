//! The echo server on Linux.

use core::error::Error;
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use fiber::{Runtime, io::TcpListener};
use host_linux::{Config, Linux};

mod options;

use crate::options::{Options, USAGE};

/// What a benchmark's driver is told about this program: a protocol, and with how many workers.
const SUPPORTED: &[u8] = b"serve-echo 1\n";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [] | ["--help" | "-h"] = arguments[..] {
        eprint!("{USAGE}");
        return exit(io::stdout().write_all(SUPPORTED).map_err(Into::into));
    }
    match Options::parse(&arguments) {
        Ok(options) => exit(run(&options)),
        Err(complaint) => {
            eprintln!("echo: {complaint}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn exit(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let config = Config::default();
    let linux = Linux::new(options.io.map_or(config, |io| config.io(io)))?;
    let mut runtime = Runtime::builder(linux);
    if let Some(workers) = options.workers {
        runtime = runtime.workers(workers);
    }
    Ok(runtime.run(|| serve(options))??)
}

fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(options.listen)?;
    eprintln!("echo: listening on {}", listener.local_addr()?);
    if options.says_ready {
        io::stdout().write_all(b"READY\n")?;
    }
    Ok(echo::serve(&listener)?)
}

//! The echo server on Linux.

use core::error::Error;
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use fiber::{
    FiberBuilder, Priority, Runtime,
    io::{
        TcpListener,
        signal::{Signal, Signals},
    },
    spawn,
};
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
    // Before anybody is told that it serves, and may send one.
    let signals = Signals::new(&[Signal::Terminate, Signal::Interrupt, Signal::User1])?;
    eprintln!("echo: listening on {}", listener.local_addr()?);
    if options.says_ready {
        io::stdout().write_all(b"READY\n")?;
    }
    // Before the connections: with thousands of them at work, a newcomer would else wait until
    // each has had its turn.
    let acceptor = FiberBuilder::new().priority(Priority::High);
    let acceptor = acceptor.spawn(move || echo::serve(&listener));
    let acceptor = acceptor.expect("this is a fiber");
    let fiber = acceptor.fiber().clone();
    // Until a signal ends the program, or serving fails: then the acceptor's join says why.
    drop(spawn(move || {
        until_stopped(&signals);
        fiber.cancel();
    }));
    match acceptor.join() {
        Ok(served) => Ok(served?),
        // Connections end with the runtime.
        Err(_) => Ok(()),
    }
}

/// Waits for a signal to stop. `SIGUSR1` prints what all fibers are doing.
fn until_stopped(signals: &Signals) {
    loop {
        match signals.wait() {
            Ok(Signal::User1) => {
                let runtime = Runtime::current().expect("this is a fiber");
                eprintln!("echo: {}\n{}", runtime.stats(), runtime.dump());
            }
            Ok(_) => return,
            Err(error) => return eprintln!("echo: no more signals: {error}"),
        }
    }
}

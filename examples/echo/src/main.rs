//! The echo server on Linux.

use core::{error::Error, net::SocketAddr};
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use fiber::Runtime;
use fiber::io::TcpListener;
use host_linux::{Config, Io, Linux};

const USAGE: &str = "\
Sends back to each TCP connection what it sends.

usage: echo [--listen ADDRESS:PORT] [--workers N] [--io auto|ring|poll]
       echo serve echo PORT [WORKERS]      on 127.0.0.1, says READY on stdout

  --listen   where to listen; 127.0.0.1:7007 unless given, port 0 takes a free one
  --workers  threads that run fibers; one a CPU unless given
  --io       the driver; HOST_LINUX_IO, else auto unless given
";

/// What a benchmark's driver is told about this program: a protocol, and with how many workers.
const SUPPORTED: &[u8] = b"serve-echo 1\n";

struct Options {
    listen: SocketAddr,
    workers: Option<u16>,
    io: Option<Io>,
    /// Whether stdout tells when the server can be connected to.
    says_ready: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [] | ["--help" | "-h"] = arguments[..] {
        eprint!("{USAGE}");
        return exit(io::stdout().write_all(SUPPORTED).map_err(Into::into));
    }
    match parse(&arguments) {
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

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 7007)),
        workers: None,
        io: None,
        says_ready: false,
    };
    let mut rest = arguments;
    if let ["serve", "echo", port, workers @ ..] = rest {
        options.listen.set_port(number("PORT", port)?);
        options.workers = Some(1);
        options.says_ready = true;
        if let [workers] = workers {
            options.workers = Some(count(workers)?);
        } else if !workers.is_empty() {
            return Err("`serve echo` takes a port and at most a number of workers".into());
        }
        return Ok(options);
    }
    while let [flag, value, after @ ..] = rest {
        match *flag {
            "--listen" => options.listen = number(flag, value)?,
            "--workers" => options.workers = Some(count(value)?),
            "--io" => options.io = Some(driver(value)?),
            _ => return Err(format!("`{flag}` is not a flag of this program")),
        }
        rest = after;
    }
    match rest {
        [] => Ok(options),
        [flag, ..] => Err(format!("`{flag}` is unknown, or lacks its value")),
    }
}

fn number<T: core::str::FromStr<Err: core::fmt::Display>>(
    name: &str,
    text: &str,
) -> Result<T, String> {
    text.parse()
        .map_err(|error| format!("{name} `{text}`: {error}"))
}

fn count(text: &str) -> Result<u16, String> {
    match number("--workers", text)? {
        0 => Err("--workers: there must be at least one".into()),
        workers => Ok(workers),
    }
}

fn driver(text: &str) -> Result<Io, String> {
    match text {
        "auto" => Ok(Io::Auto),
        "ring" => Ok(Io::Ring),
        "poll" => Ok(Io::Poll),
        _ => Err(format!("--io `{text}`: give auto, ring or poll")),
    }
}

//! The cache server as a Linux program.

extern crate alloc;

use alloc::sync::Arc;
use core::error::Error;
use std::{io::Write, process::ExitCode};

use cache::{
    Cache, Config, Limits, Server,
    options::{self, HELP, Invocation, Io, LogLevel, Options, USAGE_EXIT_CODE},
    server::{Service, now, serve},
};
use fiber::{Env, Runtime, core::env::Workers, io::TcpListener};
use host_linux::Linux;

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1);
    let options = match options::parse(arguments) {
        Ok(Invocation::Serve(options)) => options,
        Ok(Invocation::Help) => return print(HELP),
        Ok(Invocation::Version) => return print(&format!("{}\n", options::version())),
        Err(error) => {
            eprintln!("cache: {error}");
            return ExitCode::from(USAGE_EXIT_CODE);
        }
    };
    log_to_stderr(options.log);
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut config = host_linux::Config::default();
    match options.io {
        Io::Ring => config = config.io(host_linux::Io::Ring),
        Io::Poll => config = config.io(host_linux::Io::Poll),
        _ => {}
    }
    let env = Linux::new(config)?;
    let workers = match options.workers {
        Some(workers) => workers.get(),
        None => env.parallelism(),
    };
    let driver = env.describe().driver;
    let options = *options;
    Runtime::builder(env).workers(workers).run(
        move || -> Result<(), Box<dyn Error + Send + Sync>> {
            let listener = TcpListener::bind(options.listen)
                .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
            let mut config = Config::default();
            config.memory_bytes = options.memory_bytes;
            let connections = options.connections.get() as u64;
            let server = Server::new(std::process::id(), workers.into(), connections, now());
            let cache = Arc::new(Cache::new(config, server));
            tracing::info!(listen = %listener.local_addr()?, workers, driver, "serving");
            Ok(serve(&listener, &cache, Service::new(Limits::default()))?)
        },
    )??;
    Ok(())
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
        _ => return,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

//! The cache server as a Linux program.

extern crate alloc;

mod files;

use alloc::sync::Arc;
use core::{error::Error, net::SocketAddr};
use std::{io::Write, process::ExitCode};

use cache::{
    Cache, Config, Limits, Server,
    options::{self, HELP, Invocation, Io, LogLevel, Options, USAGE_EXIT_CODE},
    server::{Ending, Listeners, SIGNALS, Service, now, operate},
};
use fiber::{
    Env, Runtime,
    core::{self as fiber_core, env::Workers},
    io::{
        TcpListener,
        signal::{Signal, Signals},
    },
};
use host_linux::Linux;

/// The codes that a shell gives to processes which these signals have killed.
const QUIT_BY_INTERRUPT: i32 = 128 + 2;
const QUIT_BY_TERMINATE: i32 = 128 + 15;

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
    files::allow(options.connections.get());
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache: {error}");
            ExitCode::FAILURE
        }
    }
}

type BoxedError = Box<dyn Error + Send + Sync>;

fn run(options: &Options) -> Result<(), BoxedError> {
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
    // Each connection has one request in flight, and all of them may be on one worker.
    let requests = u32::try_from(options.connections.get()).unwrap_or(u32::MAX);
    let requests = requests.saturating_add(files::SPARE).max(32_768);
    let runtime = Runtime::builder(env)
        .workers(workers)
        .requests_max(requests);
    match runtime.run(move || serve(&options, workers, driver))?? {
        Ending::Drained => tracing::info!("drained"),
        Ending::TimedOut => {
            tracing::warn!("the drain timeout was over: some connections were cut off");
        }
        // `serve` has ended the process.
        Ending::Quit(_) => {}
    }
    Ok(())
}

fn serve(options: &Options, workers: u16, driver: &str) -> Result<Ending, BoxedError> {
    // Before anybody can connect: a signal that comes from here on is not lost.
    let signals = Signals::new(&SIGNALS)?;
    let backlog = options.backlog.get();
    let clients = listen(options.listen, backlog)?;
    let admin = options.admin.map(|admin| listen(admin, backlog));
    let admin = admin.transpose()?;
    let mut config = Config::default();
    config.memory_bytes = options.memory_bytes;
    let connections = options.connections.get() as u64;
    let address = clients.local_addr()?;
    let mut server =
        Server::new(std::process::id(), workers.into(), connections, now()).with_address(address);
    if let Some(limit) = options.idle_timeout {
        server = server.with_idle_timeout(limit);
    }
    let cache = Arc::new(Cache::new(config, server));
    let service = Service::new(Limits::default())
        .idle_timeout(options.idle_timeout)
        .write_timeout(options.write_timeout);
    tracing::info!(listen = %address, workers, driver, "serving");
    if let Some(admin) = &admin {
        tracing::info!(admin = %admin.local_addr()?, "operators are served");
    }
    let drain_timeout = options.drain_timeout;
    let listeners = Listeners { clients, admin };
    let ending = operate(listeners, cache, service, drain_timeout, signals)?;
    if let Ending::Quit(signal) = ending {
        tracing::warn!(%signal, "ended at once by a second signal");
        std::process::exit(match signal {
            Signal::Interrupt => QUIT_BY_INTERRUPT,
            _ => QUIT_BY_TERMINATE,
        });
    }
    Ok(ending)
}

fn listen(at: SocketAddr, backlog: u32) -> Result<TcpListener, BoxedError> {
    let listener = fiber_core::io::listen(at, backlog)
        .map_err(|error| format!("cannot listen on {at}: {error}"))?;
    Ok(TcpListener::from_id(listener)?)
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

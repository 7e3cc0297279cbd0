//! The examples' servers, on one worker.

use alloc::sync::Arc;

use benches::{Failure, Protocol, Service, say_ready};
use cache::{
    Cache, Config, Limits, Server,
    server::{self, Drain, Listeners, now},
};
use fiber::{FiberBuilder, Priority, Runtime, io::TcpListener};
use host_linux::Linux;

/// More than the load opens.
const CONNECTIONS_MAX: u64 = 20_000;

pub(crate) fn serve(service: Service) -> Result<(), Failure> {
    let linux = Linux::new(host_linux::Config::default())?;
    let runtime = Runtime::builder(linux).workers(1);
    runtime.run(move || match service.protocol {
        Protocol::Echo => serve_echo(service),
        Protocol::Mc => serve_cache(service),
    })?
}

fn serve_echo(service: Service) -> Result<(), Failure> {
    let listener = TcpListener::bind(service.address())?;
    say_ready()?;
    // Before the connections, as in the example's own program.
    let acceptor = FiberBuilder::new().priority(Priority::High);
    let acceptor = acceptor.spawn(move || echo::serve(&listener));
    let served = acceptor?.join();
    Ok(served.map_err(|reason| reason.to_string())??)
}

fn serve_cache(service: Service) -> Result<(), Failure> {
    let clients = TcpListener::bind(service.address())?;
    let server = Server::new(std::process::id(), 1, CONNECTIONS_MAX, now());
    let cache = Arc::new(Cache::new(Config::default(), server));
    let (_drain, presence) = Drain::of(&clients);
    let listeners = Listeners {
        clients,
        admin: None,
    };
    say_ready()?;
    let acceptor = FiberBuilder::new().priority(Priority::High);
    let acceptor = acceptor.spawn(move || {
        let service = server::Service::new(Limits::default());
        server::serve(listeners, &cache, service, &presence)
    });
    let served = acceptor?.join();
    Ok(served.map_err(|reason| reason.to_string())??)
}

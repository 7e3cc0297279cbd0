//! A server, and who asks it, on one simulated node.

use alloc::sync::Arc;
use core::{net::SocketAddr, time::Duration};
use std::io::{Read, Result, Write};

use cache::{
    Cache, Config, Server,
    server::{Drain, Failure, Listeners, Presence, Service, now, serve},
};
use fiber::{
    JoinHandle,
    io::{TcpListener, TcpStream},
    spawn,
};

const PORT: u16 = 11_211;

pub(crate) fn address() -> SocketAddr {
    ([127, 0, 0, 1], PORT).into()
}

pub(crate) fn new_cache() -> Arc<Cache> {
    let mut config = Config::default();
    (config.memory_bytes, config.shards) = (1 << 20, 1);
    Arc::new(Cache::new(config, Server::new(1, 1, 10, now())))
}

/// Serves `cache` on a fiber, as part of the caller's process.
pub(crate) fn start(
    cache: &Arc<Cache>,
    service: Service,
) -> (Drain, JoinHandle<core::result::Result<(), Failure>>) {
    let clients = TcpListener::bind(address()).expect("the port is free");
    let (drain, presence): (Drain, Presence) = Drain::of(&clients);
    let cache = Arc::clone(cache);
    let listeners = Listeners {
        clients,
        admin: None,
    };
    let serving = spawn(move || serve(listeners, &cache, service, &presence));
    (drain, serving)
}

/// Connects, as one who does not wait for ever.
pub(crate) fn connect() -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address(), Duration::from_millis(2))?;
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(stream)
}

/// Everything that the server says to `request` until it closes, or as much as `bytes`.
pub(crate) fn ask(mut stream: &TcpStream, request: &str, bytes: usize) -> Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    let limit = u64::try_from(bytes).expect("a length");
    stream.take(limit).read_to_string(&mut answer)?;
    Ok(answer)
}

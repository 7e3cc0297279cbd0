//! Servers on one worker: a coroutine a connection.

use benches::{
    Failure, Protocol, Service,
    protocol::{Connection, READ_BYTES},
    say_ready,
};
use may::{
    go,
    net::{TcpListener, TcpStream},
};
use std::io::{self, Read as _, Write as _};

pub(crate) fn serve(service: Service) -> Result<(), Failure> {
    may::config().set_workers(1);
    let served = go!(move || accept(service)).join();
    Ok(served.map_err(|panic| crate::words(&*panic))??)
}

fn accept(service: Service) -> io::Result<()> {
    let listener = TcpListener::bind(service.address())?;
    say_ready()?;
    loop {
        let (stream, _) = listener.accept()?;
        // Whatever ends one connection is that connection's own affair.
        drop(go!(move || attend(stream, service.protocol)));
    }
}

fn attend(mut stream: TcpStream, protocol: Protocol) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(protocol);
    let mut buffer = [0; READ_BYTES];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(connection.answer(&buffer[..count]))?,
        }
    }
}

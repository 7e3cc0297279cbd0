//! Servers on one worker: a task a connection.

use benches::{
    Failure, Protocol, Service,
    protocol::{Connection, READ_BYTES},
    say_ready,
};
use std::io;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    spawn,
};

pub(crate) fn serve(service: Service) -> Result<(), Failure> {
    crate::runtime(1)?.block_on(async move {
        let listener = TcpListener::bind(service.address()).await?;
        say_ready()?;
        loop {
            let (stream, _) = listener.accept().await?;
            // Whatever ends one connection is that connection's own affair.
            drop(spawn(attend(stream, service.protocol)));
        }
    })
}

async fn attend(mut stream: TcpStream, protocol: Protocol) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(protocol);
    let mut buffer = [0; READ_BYTES];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => {
                stream
                    .write_all(connection.answer(&buffer[..count]))
                    .await?
            }
        }
    }
}

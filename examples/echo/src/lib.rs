//! An echo server: one fiber a connection, plain blocking calls.
//!
//! [`serve`] knows no host: the binary runs it on Linux, the tests in simulated worlds too.

use core::time::Duration;
use std::io::{self, Read, Write};

use fiber::io::{Error, IoErrorKind, TcpListener, TcpStream};
use fiber::{sleep, spawn};

/// How many bytes one read takes. They lie on the fiber's stack, so a connection costs no heap.
const BUFFER: usize = 4096;

/// How long to wait for connections to end when no more can be opened.
const RELIEF: Duration = Duration::from_millis(10);

/// Serves everybody who connects, until the listener is closed.
///
/// # Errors
/// When accepting fails in a way that trying again does not mend.
pub fn serve(listener: &TcpListener) -> Result<(), Error> {
    for stream in listener.incoming() {
        match stream {
            // Whatever ends one connection, also a panic, is that connection's own affair.
            Ok(stream) => drop(spawn(move || echo(&stream))),
            Err(error) => match error.kind() {
                IoErrorKind::ConnectionAborted => {}
                IoErrorKind::TooManyDescriptors => sleep(RELIEF),
                IoErrorKind::Closed | IoErrorKind::Stale => return Ok(()),
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

/// Sends back what comes, until the peer has finished.
fn echo(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from, mut to) = (stream, stream);
    let mut buffer = [0; BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

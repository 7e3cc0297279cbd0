//! A client's connection: it sends a batch in one write and reads the answers one by one.

use core::time::Duration;
use std::io::{Error, ErrorKind, Read, Result, Write};

use fiber::io::TcpStream;

use super::model::World;

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) struct Connection {
    stream: TcpStream,
    /// In which life of the server it was made; it does not outlive that.
    pub(super) boot: u64,
    received: Vec<u8>,
    taken: usize,
}

impl Connection {
    pub(super) fn open(world: &World) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&world.server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            boot: world.boot(),
            received: Vec::new(),
            taken: 0,
        })
    }

    pub(super) fn send(&mut self, batch: &[u8]) -> Result<()> {
        self.stream.write_all(batch)
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Result<String> {
        loop {
            let rest = &self.received[self.taken..];
            if let Some(length) = rest.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&rest[..length]).into_owned();
                self.taken += length + 2;
                return Ok(line);
            }
            let mut more = [0; 512];
            let count = self.stream.read(&mut more)?;
            if count == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the server has gone"));
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            self.received.extend_from_slice(&more[..count]);
        }
    }
}

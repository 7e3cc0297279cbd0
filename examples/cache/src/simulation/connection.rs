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
    /// How long it rests before each small read, if it drinks in sips.
    pause: Option<Duration>,
    /// Whether the first line of an answer has come, and not the rest.
    in_answer: bool,
    /// How the server has ended it, in whatever way.
    ended: Option<ErrorKind>,
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
            pause: None,
            in_answer: false,
            ended: None,
        })
    }

    /// Waits for so long for anything.
    pub(super) fn be_patient(&mut self, patience: Duration) {
        let set = self.stream.set_read_timeout(Some(patience));
        set.expect("it is some time");
    }

    /// From now on reads are small, and after so much rest.
    pub(super) fn sip(&mut self, pause: Duration) {
        self.pause = Some(pause);
    }

    /// Whether the server has ended it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the server has ended it, in order, in the middle of an answer.
    pub(super) fn ended_in_an_answer(&self) -> bool {
        let is_half = self.in_answer || self.taken < self.received.len();
        self.ended == Some(ErrorKind::UnexpectedEof) && is_half
    }

    pub(super) fn send(&mut self, batch: &[u8]) -> Result<()> {
        self.stream.write_all(batch)
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut searched = 0;
        loop {
            let rest = &self.received[self.taken..];
            let mut ends = rest[searched..].windows(2);
            if let Some(more) = ends.position(|pair| pair == b"\r\n") {
                let length = searched + more;
                let line = String::from_utf8_lossy(&rest[..length]).into_owned();
                self.taken += length + 2;
                return Ok(line);
            }
            // The last byte may be half of an end.
            searched = rest.len().saturating_sub(1);
            self.read()?;
        }
    }

    /// The answer to a `get` of one key, which is `name`.
    pub(super) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let line = self.line()?;
        let Some(rest) = line.strip_prefix("VALUE ") else {
            assert_eq!(line, "END");
            return Ok(None);
        };
        self.in_answer = true;
        let words: Vec<_> = rest.split(' ').collect();
        assert_eq!(words[..2], [name, "0"], "the answer is for another key");
        let value = self.line()?;
        assert_eq!(words[2], value.len().to_string(), "half a value: {value}");
        assert_eq!(self.line()?, "END");
        self.in_answer = false;
        Ok(Some(value))
    }

    fn read(&mut self) -> Result<()> {
        let mut more = [0; 512];
        if let Some(pause) = self.pause {
            fiber::sleep(pause);
        }
        let result = self.stream.read(&mut more).and_then(|count| match count {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "the server has gone")),
            count => Ok(count),
        });
        match result {
            Ok(count) => {
                self.received.drain(..self.taken);
                self.taken = 0;
                self.received.extend_from_slice(&more[..count]);
                Ok(())
            }
            Err(error) => {
                if error.kind() != ErrorKind::TimedOut {
                    self.ended = Some(error.kind());
                }
                Err(error)
            }
        }
    }
}

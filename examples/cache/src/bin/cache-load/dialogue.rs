//! Many connections, one thread: sockets that do not block, and what is said over them.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use polling::{Event, Events, PollMode, Poller};

/// A server that says nothing for so long, while something is owed, has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// One side of a conversation. `S` is what all conversations share.
pub(crate) trait Dialogue<S> {
    /// Appends to `out` what is to be said now.
    fn ask(&mut self, shared: &mut S, out: &mut Vec<u8>);

    /// Understands whole replies at the front of `input` and returns how long they were, or what
    /// was wrong with one.
    fn hear(&mut self, shared: &mut S, input: &[u8]) -> Result<usize, String>;

    /// Whether everything has been said and answered.
    fn is_done(&self, shared: &S) -> bool;
}

/// Whether the conversations go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    GoOn,
    Stop,
}

/// All connections to the server.
#[derive(Debug)]
pub(crate) struct Switchboard<D> {
    poller: Poller,
    links: Vec<Link<D>>,
    /// Links that are neither done nor broken.
    busy: usize,
    errors: u64,
    closed: u64,
    /// Whether the server may close a connection, if only between two answers.
    pub(crate) expects_the_end: bool,
    last_heard: Instant,
}

#[derive(Debug)]
struct Link<D> {
    stream: TcpStream,
    dialogue: D,
    out: Vec<u8>,
    out_sent: usize,
    /// What was read and not understood yet is in front of `input_end`; behind it is room.
    input: Vec<u8>,
    input_end: usize,
    waits_to_write: bool,
    /// The server takes nothing any more; what it has said before is still to be read.
    is_deaf: bool,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Busy,
    Done,
    /// The connection is of no more use.
    Broken,
}

/// Why a link is of no more use.
#[derive(Debug)]
enum End {
    Wrong(String),
    /// The server has closed it, with every answer whole.
    Closed,
}

impl From<String> for End {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

impl<D> Switchboard<D> {
    /// Opens one connection for each dialogue.
    pub(crate) fn connect(
        address: SocketAddr,
        dialogues: impl Iterator<Item = D>,
    ) -> io::Result<Self> {
        let (poller, last_heard) = (Poller::new()?, Instant::now());
        let mut switchboard = Self {
            poller,
            links: Vec::new(),
            busy: 0,
            errors: 0,
            closed: 0,
            expects_the_end: false,
            last_heard,
        };
        for dialogue in dialogues {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let interest = Event::readable(switchboard.links.len());
            switchboard.links.push(Link {
                stream,
                dialogue,
                out: Vec::new(),
                out_sent: 0,
                input: Vec::new(),
                input_end: 0,
                waits_to_write: false,
                is_deaf: false,
                status: Status::Done,
            });
            let link = switchboard.links.last().expect("it has just been pushed");
            // SAFETY: nothing is dropped that the system still points to (I-3): the stream stays
            // in its link, and links are dropped after `drop` has taken them off the poller.
            unsafe {
                switchboard
                    .poller
                    .add_with_mode(&link.stream, interest, PollMode::Level)?
            };
        }
        Ok(switchboard)
    }

    pub(crate) const fn errors(&self) -> u64 {
        self.errors
    }

    /// How many connections the server has closed that it was expected to close.
    pub(crate) const fn closed(&self) -> u64 {
        self.closed
    }

    /// Lets all talk until all are done, or `tick`, which is asked again and again, says stop.
    pub(crate) fn run<S>(
        &mut self,
        shared: &mut S,
        mut tick: impl FnMut(&mut S, Instant) -> Tick,
    ) -> io::Result<()>
    where
        D: Dialogue<S>,
    {
        self.busy = 0;
        self.last_heard = Instant::now();
        for link in &mut self.links {
            if link.status != Status::Broken {
                link.status = Status::Busy;
                self.busy += 1;
            }
        }
        for index in 0..self.links.len() {
            self.turn(index, shared);
        }
        let mut events = Events::new();
        while self.busy > 0 {
            events.clear();
            self.poller
                .wait(&mut events, Some(Duration::from_millis(50)))?;
            for event in events.iter() {
                self.turn(event.key, shared);
            }
            let now = Instant::now();
            if tick(shared, now) == Tick::Stop {
                break;
            }
            if now.duration_since(self.last_heard) > SILENCE_MAX {
                self.give_up_on_the_silent();
            }
        }
        Ok(())
    }

    /// Reads, understands, asks and sends on one link.
    fn turn<S>(&mut self, index: usize, shared: &mut S)
    where
        D: Dialogue<S>,
    {
        let link = &mut self.links[index];
        if link.status == Status::Broken {
            return;
        }
        match link.turn(shared, self.expects_the_end) {
            Ok(heard) => {
                if heard > 0 {
                    self.last_heard = Instant::now();
                }
                if link.status == Status::Busy && link.dialogue.is_done(shared) {
                    link.status = Status::Done;
                    self.busy -= 1;
                }
                if let Err(error) = link.update_interest(&self.poller, index) {
                    self.fail(index, &error.to_string());
                }
            }
            Err(End::Wrong(message)) => self.fail(index, &message),
            Err(End::Closed) if self.expects_the_end => {
                self.closed += 1;
                self.part_with(index);
            }
            Err(End::Closed) => self.fail(index, "the server has closed the connection"),
        }
    }

    fn give_up_on_the_silent(&mut self) {
        for index in 0..self.links.len() {
            if self.links[index].status == Status::Busy {
                self.fail(index, "the server has not answered for 10 seconds");
            }
        }
    }

    fn fail(&mut self, index: usize, message: &str) {
        self.errors += 1;
        eprintln!("cache-load: connection {index}: {message}");
        self.part_with(index);
    }

    fn part_with(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.status == Status::Busy {
            self.busy -= 1;
        }
        link.status = Status::Broken;
        // The stream stays in its place until the end, but nobody listens to it any more.
        if let Err(error) = self.poller.delete(&link.stream) {
            eprintln!("cache-load: connection {index}: cannot stop listening: {error}");
        }
    }
}

impl<D> Drop for Switchboard<D> {
    fn drop(&mut self) {
        for link in &self.links {
            if link.status != Status::Broken {
                // An error leaves the stream registered with a poller that is dropped next.
                let _ = self.poller.delete(&link.stream);
            }
        }
    }
}

impl<D> Link<D> {
    /// Returns how many bytes of replies were understood.
    fn turn<S>(&mut self, shared: &mut S, expects_the_end: bool) -> Result<usize, End>
    where
        D: Dialogue<S>,
    {
        let ended = match self.receive() {
            Ok(ended) => ended,
            // Requests that it did not read any more make the server's system reset.
            Err(error) if expects_the_end && error.kind() == ErrorKind::ConnectionReset => true,
            Err(error) => return Err(format!("cannot receive: {error}").into()),
        };
        let heard = self.dialogue.hear(shared, &self.input[..self.input_end])?;
        self.input.copy_within(heard..self.input_end, 0);
        self.input_end -= heard;
        if ended && self.input_end > 0 {
            let message = "the server has closed the connection in the middle of an answer";
            return Err(message.to_owned().into());
        }
        if ended {
            return Err(End::Closed);
        }
        if !self.is_deaf {
            self.dialogue.ask(shared, &mut self.out);
            match self.send() {
                Ok(()) => {}
                Err(error) if expects_the_end && is_the_end(&error) => {
                    self.is_deaf = true;
                    self.out.clear();
                    self.out_sent = 0;
                }
                Err(error) => return Err(format!("cannot send: {error}").into()),
            }
        }
        Ok(heard)
    }

    /// Reads what there is, up to a buffer full; says whether the server has closed.
    fn receive(&mut self) -> io::Result<bool> {
        const READ_BYTES: usize = 16 << 10;
        if self.input.len() - self.input_end < READ_BYTES {
            self.input.resize((self.input.len() * 2).max(READ_BYTES), 0);
        }
        match retry(|| self.stream.read(&mut self.input[self.input_end..])) {
            Ok(0) => Ok(true),
            Ok(bytes) => {
                self.input_end += bytes;
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while self.out_sent < self.out.len() {
            match retry(|| self.stream.write(&self.out[self.out_sent..])) {
                Ok(sent) => self.out_sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(())
    }

    fn update_interest(&mut self, poller: &Poller, index: usize) -> io::Result<()> {
        let must_wait = self.out_sent < self.out.len();
        if must_wait != self.waits_to_write {
            self.waits_to_write = must_wait;
            let interest = Event::new(index, true, must_wait);
            poller.modify_with_mode(&self.stream, interest, PollMode::Level)?;
        }
        Ok(())
    }
}

/// Whether nothing can be sent any more because the server has closed.
fn is_the_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

fn retry<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

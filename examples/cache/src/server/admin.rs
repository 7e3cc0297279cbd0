//! For the operator: which processes there are, and the end of one of them.
//!
//! ```text
//! processes      PROCESS <id> <parent> <state> <fibers> <ids> <parks> <requests> <name>, each; END
//! kill <id>      OK; CLIENT_ERROR and why, if that names no process, or none any more
//! quit           closes the connection
//! ```
//!
//! It listens at an address of its own, since whoever can say this can do anything. Any number is
//! answered: an id is looked up, never trusted.

use alloc::sync::Arc;
use core::{fmt::Write as _, time::Duration};
use std::io::{self, ErrorKind, Read, Write};

use fiber::{
    FiberBuilder, Id, IoErrorKind, Process, ProcessBuilder, Reason, Runtime,
    io::{Error, TcpListener, TcpStream},
};

use super::host::refuse;

/// So many operators are served at a time; one more is told the limit that it has met.
const OPERATORS_MAX: usize = 8;

/// The longest command, its end included.
const LINE_BYTES_MAX: usize = 64;

/// How long an operator may take nothing of an answer, or say nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

const BY_OPERATOR: Reason = Reason::new("killed by an operator");

/// What the process may have that serves them.
pub(super) fn limits() -> ProcessBuilder {
    // Its main fiber; and a connection that is one too many is accepted, to be told so.
    Process::builder()
        .fibers_max(OPERATORS_MAX + 1)
        .ids_max(OPERATORS_MAX + 1)
}

/// Serves operators until the listener is closed.
///
/// # Errors
/// When accepting fails for good.
pub(super) fn accept(listener: &TcpListener) -> Result<(), Error> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => host(stream),
            Err(error) => match error.kind() {
                IoErrorKind::Closed | IoErrorKind::Stale => return Ok(()),
                IoErrorKind::ConnectionAborted | IoErrorKind::ConnectionReset => {}
                IoErrorKind::TooManyDescriptors
                | IoErrorKind::OutOfMemory
                | IoErrorKind::ProcessIds => fiber::sleep(Duration::from_millis(50)),
                _ => return Err(error),
            },
        }
    }
}

/// Gives an operator a fiber of this process, which has a limit of them.
fn host(stream: TcpStream) {
    let stream = Arc::new(stream);
    let served = Arc::clone(&stream);
    let spawned = FiberBuilder::new().spawn(move || attend(&served));
    if let Err(error) = spawned {
        tracing::warn!(%error, "an operator is refused");
        refuse(&stream, format!("SERVER_ERROR {error}\r\n").as_bytes());
    }
}

fn attend(stream: &TcpStream) {
    if let Err(error) = converse(stream) {
        tracing::debug!(%error, "an operator's connection ended");
    }
}

/// Answers line by line.
fn converse(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    let mut line = [0; LINE_BYTES_MAX];
    let mut filled = 0;
    loop {
        while let Some(end) = line[..filled].iter().position(|byte| *byte == b'\n') {
            let Some(answer) = answer(line[..end].trim_ascii()) else {
                return Ok(());
            };
            stream.write_all(answer.as_bytes())?;
            line.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
        if filled == line.len() {
            stream.write_all(b"CLIENT_ERROR line too long\r\n")?;
            return Ok(());
        }
        match stream.read(&mut line[filled..]) {
            Ok(0) => return Ok(()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The answer to one command; `None` if that is the last.
fn answer(command: &[u8]) -> Option<String> {
    let words = str::from_utf8(command).unwrap_or_default();
    let words: Vec<_> = words.split_ascii_whitespace().collect();
    Some(match words[..] {
        ["processes"] => processes(),
        ["kill", id] => kill(id),
        ["quit"] => return None,
        _ => "ERROR\r\n".to_owned(),
    })
}

fn processes() -> String {
    let runtime = Runtime::current().expect("operators are served on fibers");
    let mut text = String::new();
    // Parents before children; those that are still to be told of, the next one last.
    let mut rest = runtime.processes();
    rest.reverse();
    while let Some(process) = rest.pop() {
        describe(&process, &mut text);
        rest.extend(process.children().into_iter().rev());
    }
    text.push_str("END\r\n");
    text
}

fn describe(process: &Process, text: &mut String) {
    let (id, stats) = (process.id().to_bits(), process.stats());
    // 0 is no id: that of the first process, which has none.
    let parent = process.parent().map_or(0, |parent| parent.id().to_bits());
    let state = match (process.has_ended(), process.is_ending()) {
        (true, _) => "ended",
        (_, true) => "ending",
        _ => "running",
    };
    let name = process.name().unwrap_or("-");
    let written = write!(
        text,
        "PROCESS {id} {parent} {state} {} {} {} {} {name}\r\n",
        stats.fibers, stats.ids, stats.parks, stats.requests
    );
    written.expect("a string takes it");
}

fn kill(id: &str) -> String {
    let Ok(bits) = id.parse() else {
        return "CLIENT_ERROR an id is a whole number below 2^64\r\n".to_owned();
    };
    let Some(id) = Id::from_bits(bits) else {
        return format!("CLIENT_ERROR {bits} is no id\r\n");
    };
    match Process::of_id(id) {
        Ok(process) => {
            tracing::warn!(%process, "an operator kills a process");
            process.kill(BY_OPERATOR);
            "OK\r\n".to_owned()
        }
        Err(stale) => format!("CLIENT_ERROR {stale}\r\n"),
    }
}

//! A check of the server under many connections at once: each sends 100 requests of all kinds
//! in one go, on keys of its own, and compares every byte that comes back.

use core::net::SocketAddr;
use std::io::{self, Write};

use crate::dialogue::{Dialogue, Switchboard, Tick};

/// Runs the check over `connections` and returns how many of them went wrong.
pub(crate) fn run(address: SocketAddr, connections: usize) -> io::Result<u64> {
    let scripts = (0..connections).map(Script::new);
    let mut switchboard = Switchboard::connect(address, scripts)?;
    switchboard.run(&mut (), |&mut (), _| Tick::GoOn)?;
    Ok(switchboard.errors())
}

/// All requests of one connection, and all replies.
#[derive(Debug)]
struct Script {
    requests: Vec<u8>,
    replies: Vec<u8>,
    heard: usize,
}

impl Script {
    /// How many requests a round has.
    const ROUND: usize = 10;
    const ROUNDS: usize = 10;

    fn new(connection: usize) -> Self {
        let mut script = Self {
            requests: Vec::new(),
            replies: Vec::new(),
            heard: 0,
        };
        for round in 0..Self::ROUNDS {
            script.add_round(&format!("check-{connection}-{round}"), round);
        }
        script
    }

    /// Ten requests that leave nothing behind.
    fn add_round(&mut self, key: &str, round: usize) {
        let value = "0123456789abcdef".repeat(1 + round * round * 4);
        let bytes = value.len();
        let steps: [(String, String); Self::ROUND] = [
            (format!("delete {key} noreply\r\n"), String::new()),
            (format!("get {key}\r\n"), "END\r\n".to_owned()),
            (
                format!("add {key} {round} 0 {bytes}\r\n{value}\r\n"),
                "STORED\r\n".to_owned(),
            ),
            (
                format!("get {key} {key}-absent\r\n"),
                format!("VALUE {key} {round} {bytes}\r\n{value}\r\nEND\r\n"),
            ),
            (
                format!("append {key} 0 0 1\r\n!\r\n"),
                "STORED\r\n".to_owned(),
            ),
            (
                format!("get {key}\r\n"),
                format!("VALUE {key} {round} {}\r\n{value}!\r\nEND\r\n", bytes + 1),
            ),
            (
                format!("set {key} 0 0 2\r\n98\r\n"),
                "STORED\r\n".to_owned(),
            ),
            (
                format!("incr {key} {round}\r\n"),
                format!("{}\r\n", 98 + round),
            ),
            (format!("touch {key} 0\r\n"), "TOUCHED\r\n".to_owned()),
            (format!("delete {key}\r\n"), "DELETED\r\n".to_owned()),
        ];
        for (request, reply) in steps {
            self.requests
                .write_all(request.as_bytes())
                .expect("a vector takes everything");
            self.replies
                .write_all(reply.as_bytes())
                .expect("a vector takes everything");
        }
    }
}

impl Dialogue<()> for Script {
    fn ask(&mut self, &mut (): &mut (), out: &mut Vec<u8>) {
        out.append(&mut self.requests);
    }

    fn hear(&mut self, &mut (): &mut (), input: &[u8]) -> Result<usize, String> {
        let due = &self.replies[self.heard..];
        let wrong = input.iter().zip(due).position(|(got, due)| got != due);
        if let Some(at) = wrong.or_else(|| (input.len() > due.len()).then_some(due.len())) {
            let part = |bytes: &[u8]| {
                let end = bytes.len().min(at + 40);
                bytes[at.saturating_sub(40).min(end)..end]
                    .escape_ascii()
                    .to_string()
            };
            let place = self.heard + at;
            let (due, got) = (part(due), part(input));
            return Err(format!(
                "byte {place} of the replies: expected …{due}…, got …{got}…"
            ));
        }
        self.heard += input.len();
        Ok(input.len())
    }

    fn is_done(&self, &(): &()) -> bool {
        self.heard == self.replies.len()
    }
}

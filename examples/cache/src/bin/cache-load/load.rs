//! The load: sets and gets of known values, a fixed number in flight on each connection.
//!
//! Every key has one value for good, so whatever order the server chooses, each reply is known
//! to the byte: a set is stored, and a get of a key that was stored before the load began finds
//! exactly that value.

use alloc::collections::VecDeque;
use core::ops::Range;
use std::io::{self, Write};
use std::time::Instant;

use crate::arguments::Arguments;
use crate::dialogue::{Dialogue, Switchboard, Tick};
use crate::histogram::Histogram;
use crate::process;
use crate::report::Report;

/// Runs the whole measurement.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Report> {
    let resident_bytes = || {
        arguments
            .server_pid
            .map(process::resident_bytes)
            .transpose()
    };
    let cpu_time = || arguments.server_pid.map(process::cpu_time).transpose();
    let go_on = |_: &mut Load, _| Tick::GoOn;

    let resident_before = resident_bytes()?;
    let connections = arguments.connections as u64;
    // Each connection stores its part of the keys.
    let bound = |index: u64| arguments.keys * index / connections;
    let clients = (0..connections).map(|index| Client::new(bound(index)..bound(index + 1)));
    let mut switchboard = Switchboard::connect(arguments.address, clients)?;
    let mut load = Load::new(arguments);

    // One small request, so that the server has really taken every connection.
    switchboard.run(&mut load, go_on)?;
    let resident_idle = resident_bytes()?;
    eprintln!(
        "cache-load: {connections} connections open, storing {} keys",
        arguments.keys
    );

    load.phase = Phase::Preload;
    switchboard.run(&mut load, go_on)?;

    load.phase = Phase::Load;
    let cpu_before = cpu_time()?;
    let started = Instant::now();
    let mut progress = Progress {
        started,
        seconds: 0,
        requests: 0,
    };
    switchboard.run(&mut load, |load, now| {
        progress.show(load, now);
        let is_over = now.duration_since(started) >= arguments.duration;
        if is_over { Tick::Stop } else { Tick::GoOn }
    })?;
    let (elapsed, requests, cpu_after) = (started.elapsed(), load.requests, cpu_time()?);

    // What is still in flight is checked too, but no longer measured.
    load.phase = Phase::Finish;
    switchboard.run(&mut load, go_on)?;

    Ok(Report {
        requests,
        elapsed,
        latency: load.latency,
        server_cpu: cpu_before
            .zip(cpu_after)
            .map(|(before, after)| after.saturating_sub(before)),
        resident: resident_before.zip(resident_idle),
        connections: arguments.connections,
        errors: switchboard.errors(),
    })
}

/// What all connections do, and what came of it.
#[derive(Debug)]
struct Load {
    phase: Phase,
    depth: usize,
    keys: u64,
    get_percent: u64,
    values: Values,
    random: Random,
    latency: Histogram,
    requests: u64,
    /// Where an expected reply is put together.
    expected: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greet,
    Preload,
    Load,
    Finish,
}

impl Load {
    fn new(arguments: &Arguments) -> Self {
        Self {
            phase: Phase::Greet,
            depth: arguments.depth,
            keys: arguments.keys,
            get_percent: arguments.get_percent,
            values: Values::new(arguments.value_bytes),
            random: Random(1),
            latency: Histogram::new(),
            requests: 0,
            expected: Vec::new(),
        }
    }
}

/// One connection's requests.
#[derive(Debug)]
struct Client {
    greeted: bool,
    to_store: Range<u64>,
    in_flight: VecDeque<Request>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    kind: Kind,
    key: u64,
    asked: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Version,
    Set,
    Get,
}

impl Client {
    const fn new(to_store: Range<u64>) -> Self {
        Self {
            greeted: false,
            to_store,
            in_flight: VecDeque::new(),
        }
    }

    /// What to ask next, if anything.
    fn choose(&mut self, load: &mut Load) -> Option<(Kind, u64)> {
        match load.phase {
            Phase::Greet if !self.greeted => {
                self.greeted = true;
                Some((Kind::Version, 0))
            }
            Phase::Preload => self.to_store.next().map(|key| (Kind::Set, key)),
            Phase::Load => {
                let is_get = load.random.below(100) < load.get_percent;
                let kind = if is_get { Kind::Get } else { Kind::Set };
                Some((kind, load.random.below(load.keys)))
            }
            Phase::Greet | Phase::Finish => None,
        }
    }
}

impl Dialogue<Load> for Client {
    fn ask(&mut self, load: &mut Load, out: &mut Vec<u8>) {
        let asked = Instant::now();
        while self.in_flight.len() < load.depth {
            let Some((kind, key)) = self.choose(load) else {
                return;
            };
            let value = load.values.of(key);
            let written = match kind {
                Kind::Version => out.write_all(b"version\r\n"),
                Kind::Get => write!(out, "get key-{key}\r\n"),
                Kind::Set => write!(out, "set key-{key} 0 0 {}\r\n", value.len())
                    .and_then(|()| out.write_all(value))
                    .and_then(|()| out.write_all(b"\r\n")),
            };
            written.expect("a vector takes everything");
            self.in_flight.push_back(Request { kind, key, asked });
        }
    }

    fn hear(&mut self, load: &mut Load, input: &[u8]) -> Result<usize, String> {
        let heard_at = Instant::now();
        let mut heard = 0;
        while let Some(request) = self.in_flight.front() {
            let rest = &input[heard..];
            let Some(bytes) = load.check(*request, rest)? else {
                return Ok(heard);
            };
            heard += bytes;
            if load.phase == Phase::Load {
                let waited = heard_at.duration_since(request.asked).as_nanos();
                load.latency
                    .record(u64::try_from(waited).unwrap_or(u64::MAX));
                load.requests += 1;
            }
            self.in_flight.pop_front();
        }
        if heard < input.len() {
            return Err(format!("the server said {} unasked", show(&input[heard..])));
        }
        Ok(heard)
    }

    fn is_done(&self, load: &Load) -> bool {
        self.in_flight.is_empty()
            && match load.phase {
                Phase::Greet | Phase::Finish => true,
                Phase::Preload => self.to_store.is_empty(),
                Phase::Load => false,
            }
    }
}

impl Load {
    /// Compares what has come with the reply that is due. Returns its length if it is complete.
    fn check(&mut self, request: Request, input: &[u8]) -> Result<Option<usize>, String> {
        let Request { kind, key, .. } = request;
        self.expected.clear();
        match kind {
            Kind::Version => {
                // The only reply that is not known in advance.
                if !input.starts_with(&b"VERSION "[..input.len().min(8)]) {
                    return Err(format!(
                        "asked for the version, the server said {}",
                        show(input)
                    ));
                }
                return Ok(input
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .map(|end| end + 1));
            }
            Kind::Set => self.expected.extend_from_slice(b"STORED\r\n"),
            Kind::Get => {
                let value = self.values.of(key);
                write!(self.expected, "VALUE key-{key} 0 {}\r\n", value.len())
                    .expect("a vector takes everything");
                self.expected.extend_from_slice(value);
                self.expected.extend_from_slice(b"\r\nEND\r\n");
            }
        }
        let common = self.expected.len().min(input.len());
        if self.expected[..common] != input[..common] {
            let expected = show(&self.expected);
            return Err(format!(
                "{kind:?} of key-{key}: expected {expected}, got {}",
                show(input)
            ));
        }
        Ok((common == self.expected.len()).then_some(common))
    }
}

/// The value of every key: pieces of one text, so that two keys rarely have the same.
#[derive(Debug)]
struct Values {
    text: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    const OFFSETS: u64 = 251;

    fn new(value_bytes: usize) -> Self {
        let mut random = Random(2);
        let bytes = value_bytes as u64 + Self::OFFSETS;
        let letter = |_| u8::try_from(random.below(94)).expect("below 94") + b'!';
        Self {
            text: (0..bytes).map(letter).collect(),
            value_bytes,
        }
    }

    fn of(&self, key: u64) -> &[u8] {
        let offset = usize::try_from(key % Self::OFFSETS).expect("a small remainder");
        &self.text[offset..offset + self.value_bytes]
    }
}

/// A small generator (xorshift64*): the same requests in every run.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        // 32 random bits are scaled to the bound, which is below 2^32.
        (high * bound) >> 32
    }
}

/// What is said while the load lasts.
struct Progress {
    started: Instant,
    seconds: u64,
    requests: u64,
}

impl Progress {
    fn show(&mut self, load: &Load, now: Instant) {
        let seconds = now.duration_since(self.started).as_secs();
        if seconds > self.seconds {
            let rate = (load.requests - self.requests) / (seconds - self.seconds);
            eprintln!("cache-load: {seconds:>3} s  {rate:>9} requests/s");
            (self.seconds, self.requests) = (seconds, load.requests);
        }
    }
}

/// The beginning of some bytes, for a message.
fn show(bytes: &[u8]) -> String {
    let front = &bytes[..bytes.len().min(80)];
    let more = if front.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", front.escape_ascii())
}

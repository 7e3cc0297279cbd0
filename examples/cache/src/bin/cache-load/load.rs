//! The load: sets and gets of known values, a fixed number in flight on each connection.
//!
//! Every key has one value for good, so whatever order the server chooses, each reply is known
//! to the byte: a set is stored, and a get of a key that was stored before the load began finds
//! exactly that value.

use alloc::collections::VecDeque;
use core::ops::Range;
use core::time::Duration;
use std::io;
use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::dialogue::{Dialogue, Switchboard, Tick};
use crate::histogram::Histogram;
use crate::process;
use crate::report::Report;
use crate::request::{Kind, Random, Request, Values, show};

/// How long all connections are silent before their memory is measured.
const IDLE_TIME: Duration = Duration::from_secs(2);

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
    let clients = (0..connections)
        .map(|index| Client::new(bound(index)..bound(index + 1), arguments.requests));
    let mut switchboard = Switchboard::connect(arguments.address, clients)?;
    switchboard.expects_the_end = arguments.until_closed;
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
    let mut progress = Progress::new(started);
    switchboard.run(&mut load, |load, now| {
        progress.show(load, now);
        // A number of requests takes its time, and so does the first of all.
        let is_timed = arguments.requests.is_none() && load.requests > 0;
        let is_over = is_timed && now.duration_since(started) >= arguments.duration;
        if is_over { Tick::Stop } else { Tick::GoOn }
    })?;
    let (elapsed, requests, cpu_after) = (started.elapsed(), load.requests, cpu_time()?);

    // What is still in flight is checked too, but no longer measured.
    load.phase = Phase::Finish;
    switchboard.run(&mut load, go_on)?;
    let closed = arguments
        .until_closed
        .then(|| all_closed(&switchboard, connections))
        .transpose()?;
    if arguments.requests.is_some() {
        // The server takes a connection for an idle one after a while.
        thread::sleep(IDLE_TIME);
    }
    let resident_after = resident_bytes()?.filter(|_| arguments.requests.is_some());
    Ok(Report {
        requests,
        elapsed,
        latency: load.latency,
        server_cpu: cpu_before
            .zip(cpu_after)
            .map(|(before, after)| after.saturating_sub(before)),
        resident: resident_before.zip(resident_idle),
        resident_after: resident_before.zip(resident_after),
        closed,
        connections: arguments.connections,
        errors: switchboard.errors(),
    })
}

/// How many connections the server has closed: all that did not go wrong, or it is an error.
fn all_closed(switchboard: &Switchboard<Client>, connections: u64) -> io::Result<u64> {
    let closed = switchboard.closed();
    match connections - closed - switchboard.errors() {
        0 => Ok(closed),
        open => Err(io::Error::other(format!(
            "{open} connections were not closed by the server in the time given"
        ))),
    }
}

/// What all connections do, and what came of it.
#[derive(Debug)]
struct Load {
    phase: Phase,
    depth: usize,
    keys: u64,
    get_percent: u64,
    is_mixed: bool,
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
            is_mixed: arguments.is_mixed,
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
    /// How many requests the load still has here, if they are counted.
    requests_left: Option<u64>,
    in_flight: VecDeque<Request>,
}

impl Client {
    const fn new(to_store: Range<u64>, requests: Option<u64>) -> Self {
        Self {
            greeted: false,
            to_store,
            requests_left: requests,
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
                if let Some(left) = &mut self.requests_left {
                    *left = left.checked_sub(1)?;
                }
                let is_get = load.random.below(100) < load.get_percent;
                let kinds: &[Kind] = match (is_get, load.is_mixed) {
                    (true, false) => &[Kind::Get],
                    (false, false) => &[Kind::Set],
                    (true, true) => &[Kind::Get, Kind::GetAndTouch, Kind::MetaGet],
                    (false, true) => &[Kind::Set, Kind::MetaSet],
                };
                let kind = load.random.below(kinds.len() as u64);
                let kind = kinds[usize::try_from(kind).expect("a few kinds")];
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
            let request = Request { kind, key, asked };
            request.write(&load.values, out);
            self.in_flight.push_back(request);
        }
    }

    fn hear(&mut self, load: &mut Load, input: &[u8]) -> Result<usize, String> {
        let heard_at = Instant::now();
        let mut heard = 0;
        while let Some(request) = self.in_flight.front() {
            let rest = &input[heard..];
            let Some(bytes) = request.check(&load.values, &mut load.expected, rest)? else {
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
                Phase::Load => self.requests_left == Some(0),
            }
    }
}

/// What is said while the load lasts.
struct Progress {
    started: Instant,
    seconds: u64,
    requests: u64,
}

impl Progress {
    const fn new(started: Instant) -> Self {
        Self {
            started,
            seconds: 0,
            requests: 0,
        }
    }

    fn show(&mut self, load: &Load, now: Instant) {
        let seconds = now.duration_since(self.started).as_secs();
        if seconds > self.seconds {
            let rate = (load.requests - self.requests) / (seconds - self.seconds);
            eprintln!("cache-load: {seconds:>3} s  {rate:>9} requests/s");
            (self.seconds, self.requests) = (seconds, load.requests);
        }
    }
}

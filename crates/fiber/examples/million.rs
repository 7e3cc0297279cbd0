//! A million fibers at once, again and again in one process: what they cost, and that their memory
//! goes back.
//!
//! ```text
//! cargo run --release -p fiber --example million -- [--fibers N] [--rounds R] [--workers W]
//!                                                   [--sleep MILLISECONDS] [--churn N]
//! ```
//!
//! A round starts the fibers, each on a stack of 64 KiB, waits until all of them are parked, wakes
//! them all and joins them. With `--sleep` they sleep instead. Each round prints the resident
//! memory of the process while they were parked and after they had gone, and the program fails when
//! that has grown by more than 8 MiB since the round before. With `--churn` fibers are started and
//! joined in waves of 100, which measures their turnover instead.

extern crate alloc;

use alloc::sync::Arc;
use core::{
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::{
    env, fs,
    io::{self, Write},
    process,
    time::Instant,
};

use fiber::{ExitReason, FiberBuilder, JoinHandle, Runtime, StackClass, core::env::Stacks};
use host_linux::{Config, Linux};

const WAVE: usize = 100;
/// By how many KiB a round may leave more than the one before.
const GROWTH_MAX: usize = 8 << 10;

#[derive(Clone, Copy)]
struct Options {
    fibers: usize,
    rounds: usize,
    workers: u16,
    sleep: Option<Duration>,
    churn: Option<usize>,
}

fn main() {
    let options = match options(env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            tell(io::stderr(), &error);
            process::exit(2);
        }
    };
    let linux = Linux::new(Config::default()).expect("the host starts");
    let counting = Arc::clone(&linux);
    let runtime = Runtime::builder(linux).workers(options.workers);
    let ended = runtime.run(move || match options.churn {
        Some(fibers) => churn(fibers),
        None => rounds(options, &counting),
    });
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => fail(&error),
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(error: &str) -> ! {
    tell(io::stderr(), error);
    process::exit(1);
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        fibers: 1_000_000,
        rounds: 10,
        workers: 2,
        sleep: None,
        churn: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match name.as_str() {
            "--fibers" => options.fibers = number(&name, &value)?,
            "--rounds" => options.rounds = number(&name, &value)?,
            "--workers" => options.workers = number(&name, &value)?,
            "--sleep" => options.sleep = Some(Duration::from_millis(number(&name, &value)?)),
            "--churn" => options.churn = Some(number(&name, &value)?),
            _ => return Err(format!("`{name}` is unknown; see the head of this program")),
        }
    }
    Ok(options)
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    let parsed = value.parse();
    parsed.map_err(|_| format!("{name} takes a number, and `{value}` is none"))
}

fn rounds(options: Options, linux: &Linux) -> Result<(), String> {
    // Made once: what comes and goes is the fibers.
    let mut fibers = Vec::with_capacity(options.fibers);
    let mut before = None;
    for number in 1..=options.rounds {
        let line = round(options, &mut fibers).map_err(|error| error.to_string())?;
        let left = resident();
        let stacks = *linux.stack_stats().of(StackClass::K64);
        tell(
            io::stdout(),
            &format!(
                "round {number}: {line}, {left} KiB afterwards; stacks: {} with workers, {} warm, \
                 {} cold, {} MiB reserved, {} given back",
                stacks.in_use,
                stacks.warm,
                stacks.cold,
                stacks.mapped_bytes >> 20,
                stacks.trims,
            ),
        );
        if before.is_some_and(|before| left > before + GROWTH_MAX) {
            return Err(format!(
                "memory grew by more than {GROWTH_MAX} KiB in a round"
            ));
        }
        before = Some(left);
    }
    Ok(())
}

fn round(options: Options, fibers: &mut Vec<JoinHandle<()>>) -> Result<String, ExitReason> {
    let began = Instant::now();
    let parked = Arc::new(AtomicUsize::new(0));
    fibers.extend((0..options.fibers).map(|_| {
        let parked = Arc::clone(&parked);
        start(move || {
            parked.fetch_add(1, Ordering::Relaxed);
            match options.sleep {
                Some(span) => fiber::sleep(span),
                None => fiber::park(),
            }
        })
    }));
    while parked.load(Ordering::Relaxed) < options.fibers {
        fiber::yield_now();
    }
    let started = began.elapsed();
    let peak = resident();
    if options.sleep.is_none() {
        for fiber in &*fibers {
            fiber.fiber().unpark();
        }
    }
    fibers.drain(..).try_for_each(JoinHandle::join)?;
    let took = began.elapsed();
    let each = (peak << 10) / options.fibers.max(1);
    Ok(format!(
        "{} fibers, parked after {started:.2?}, ended after {took:.2?}; resident: {peak} KiB at \
         the peak ({each} bytes a fiber)",
        options.fibers
    ))
}

fn churn(fibers: usize) -> Result<(), String> {
    for label in ["first", "again"] {
        let began = Instant::now();
        for _ in 0..fibers.div_ceil(WAVE) {
            let wave: Vec<_> = (0..WAVE).map(|_| start(|| ())).collect();
            let ended = wave.into_iter().try_for_each(JoinHandle::join);
            ended.map_err(|error| error.to_string())?;
        }
        let each = began.elapsed() / u32::try_from(fibers.max(1)).unwrap_or(u32::MAX);
        tell(
            io::stdout(),
            &format!("{label}: {fibers} fibers, {each:?} each to start and join"),
        );
    }
    Ok(())
}

fn start<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let builder = FiberBuilder::new().stack(StackClass::K64);
    builder.spawn(body).expect("inside of a runtime")
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn tell(mut to: impl Write, text: &str) {
    // Who has closed our output does not want it.
    let _ = writeln!(to, "{text}");
}

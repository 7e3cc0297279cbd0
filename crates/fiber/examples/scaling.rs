//! How much faster two workers are than one, and how soon a spawned fiber begins.
//!
//! ```text
//! cargo run --release -p fiber --example scaling -- [workers]
//! ```
//!
//! Each row is run with one worker and with `workers` (2 unless given), three times in turn; the
//! medians are compared. Loops should come close to the number of processors; rows of fibers that
//! do nothing show the price of spawning from one place.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

extern crate alloc;

use alloc::sync::Arc;
use core::{
    error::Error,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{env, thread, time::Instant};

use fiber::{Drain, Runtime, StackClass, sleep, spawn};
use host_linux::{Config, Linux};

/// A name, how many fibers, and what each of them does.
type Row = (&'static str, usize, fn());

const ROWS: [Row; 8] = [
    ("100 000 x nothing", 100_000, || ()),
    ("40 000 x sleep 1 ms", 40_000, || {
        sleep(Duration::from_millis(1))
    }),
    ("100 000 x loop of 1 000", 100_000, || spin(1_000)),
    ("10 000 x loop of 10 000", 10_000, || spin(10_000)),
    ("1 000 x loop of 100 000", 1_000, || spin(100_000)),
    ("100 000 x 100 allocations", 100_000, || allocate(100)),
    ("10 000 x 1 000 allocations", 10_000, || allocate(1_000)),
    ("1 000 x 10 000 allocations", 1_000, || allocate(10_000)),
];

fn spin(steps: u64) {
    for step in 0..steps {
        black_box(step);
    }
}

fn allocate(count: usize) {
    for index in 0..count {
        black_box(vec![index; 4]);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let workers = env::args().nth(1).map_or(Ok(2), |text| text.parse())?;
    println!("| row | 1 worker | {workers} workers | speed-up |");
    println!("|---|--:|--:|--:|");
    for (name, fibers, body) in ROWS {
        let (mut one, mut many) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            one.push(time(1, fibers, body)?);
            many.push(time(workers, fibers, body)?);
        }
        let (one, many) = (median(one), median(many));
        println!(
            "| {name} | {one:.1?} | {many:.1?} | {:.2} |",
            one.as_secs_f64() / many.as_secs_f64()
        );
    }
    let mut delays = delays(workers, 2_000)?;
    delays.sort();
    println!();
    println!(
        "spawn from a plain thread to the first instruction, all workers asleep: \
         p50 {:.1?}, p99 {:.1?}",
        delays[delays.len() / 2],
        delays[delays.len() * 99 / 100]
    );
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn time(workers: u16, fibers: usize, body: fn()) -> Result<Duration, Box<dyn Error>> {
    let env = Linux::new(Config::default())?;
    let builder = Runtime::builder(env)
        .workers(workers)
        .stack(StackClass::K16)
        .drain(Drain::Wait);
    let begun = Instant::now();
    builder.run(move || {
        for _ in 0..fibers {
            drop(spawn(body));
        }
    })?;
    Ok(begun.elapsed())
}

fn delays(workers: u16, count: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
    let env = Linux::new(Config::default())?;
    let delays = Runtime::builder(env).workers(workers).run(move || {
        let runtime = Runtime::current().expect("on a fiber");
        let spawner = thread::spawn(move || {
            let began = Arc::new(AtomicU64::new(0));
            let origin = Instant::now();
            let since = move || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let mut delays = Vec::new();
            for _ in 0..count {
                // Long enough for everybody to fall asleep.
                thread::sleep(Duration::from_micros(200));
                let seen = Arc::clone(&began);
                let before = since();
                let note = move || seen.store(since(), Ordering::SeqCst);
                let fiber = runtime.spawn(note).expect("it runs");
                fiber.join().expect("it only looks at the clock");
                delays.push(Duration::from_nanos(began.load(Ordering::SeqCst) - before));
            }
            delays
        });
        // Not a join of the thread: that would block this worker.
        while !spawner.is_finished() {
            sleep(Duration::from_millis(10));
        }
        spawner.join().expect("it does not panic")
    })?;
    Ok(delays)
}

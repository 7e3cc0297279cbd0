//! How even the workers are loaded when a few fibers do most of the work and none can be moved.
//!
//! Ten thousand fibers live as long as the run, as connections do; the work of the k-th is in
//! proportion to 1/k^1.1, in drawn order. They come in through one fiber, as from an acceptor, over
//! the first second; then the busy time of the workers is compared for two seconds.
//!
//! ```text
//! cargo run --release -p fiber --example zipf -- [fibers] [rounds]
//! ```

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use core::{error::Error, hint::black_box, time::Duration};
use std::{env, thread};

use fiber::{FiberBuilder, Runtime, StackClass, Stats, sleep, spawn_any, sync::channel};
use host_linux::{Config, Linux};

const EXPONENT: f64 = 1.1;
/// Every fiber works once in so long.
const PERIOD: Duration = Duration::from_millis(100);
/// What all of them ask for, in workers.
const DEMAND: f64 = 1.2;
const WORKERS: u16 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let fibers = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let rounds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    println!("{fibers} fibers, work ~ 1/k^{EXPONENT}, {WORKERS} workers, {DEMAND} asked for");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let env = Linux::new(Config::default())?;
        let ratio = Runtime::builder(env)
            .workers(WORKERS)
            .stack(StackClass::K16)
            .run(|| measure(fibers, round, calibrate()))?;
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "utilisation max/min: median {:.2}, worst {:.2}",
        ratios[ratios.len() / 2],
        ratios[ratios.len() - 1]
    );
    Ok(())
}

/// One round: the ratio of the busiest worker's time to the least busy one's.
fn measure(fibers: usize, round: u64, steps_per_second: f64) -> f64 {
    let weights = shuffled_weights(fibers, round);
    let (arrive, arrivals) = channel::bounded(64);
    let clients = thread::spawn(move || {
        let pause = Duration::from_secs(1) / 100;
        for crowd in weights.chunks(weights.len().div_ceil(100)) {
            for &weight in crowd {
                // Nobody arrives any more once the acceptor is gone.
                let _ = arrive.send(weight);
            }
            thread::sleep(pause);
        }
    });
    let acceptor = FiberBuilder::new().spawn(move || {
        while let Ok(weight) = arrivals.recv() {
            let steps = weight * DEMAND * PERIOD.as_secs_f64() * steps_per_second;
            drop(spawn_any(move || live(steps)));
        }
    });
    acceptor
        .expect("on a fiber")
        .join()
        .expect("it ends with the arrivals");
    clients.join().expect("it only sends");
    let runtime = Runtime::current().expect("on a fiber");
    let before = runtime.stats();
    sleep(Duration::from_secs(2));
    let after = runtime.stats();
    let busy = busy_between(&before, &after);
    let (most, least) = (max(&busy), busy.iter().copied().fold(f64::MAX, f64::min));
    println!(
        "round {round}: busy {busy:.2?} s of 2 s, max/min {:.2}",
        most / least
    );
    most / least
}

fn busy_between(before: &Stats, after: &Stats) -> Vec<f64> {
    let pairs = before.workers.iter().zip(&after.workers);
    pairs
        .map(|(before, after)| (after.busy - before.busy).as_secs_f64())
        .collect()
}

fn max(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(0.0, f64::max)
}

/// A connection's life: a piece of work once a period, for ever.
fn live(steps: f64) {
    loop {
        work(steps);
        sleep(PERIOD);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of steps, rounded"
)]
fn work(steps: f64) {
    let mut value = 1_u64;
    for step in 0..steps as u64 {
        value = black_box(value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step);
    }
    black_box(value);
}

/// Steps of work in a second of a processor's time.
fn calibrate() -> f64 {
    const STEPS: f64 = 2e7;
    let runtime = Runtime::current().expect("on a fiber");
    let begun = runtime.env().cpu();
    work(STEPS);
    STEPS / (runtime.env().cpu() - begun).as_secs_f64()
}

/// Parts of one, Zipf's, in an order that depends on the round.
fn shuffled_weights(fibers: usize, round: u64) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let mut weights: Vec<f64> = (1..=fibers)
        .map(|rank| (rank as f64).powf(-EXPONENT))
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    let mut state = round.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    for index in (1..weights.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state >> 33).unwrap_or(0) % (index + 1);
        weights.swap(index, other);
    }
    weights
}

//! The memory of many fibers goes back to the system.
//!
//! Alone in its file: it looks at the memory of the whole process.

extern crate alloc;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::fs;

use fiber::{
    FiberBuilder, JoinHandle, Runtime, StackClass,
    core::env::{StackStats, Stacks},
};
use host_linux::{Config, Linux};

const FIBERS: usize = 50_000;
const ROUNDS: usize = 5;
const MIB: usize = 1 << 20;
/// What two workers and the host keep of stacks, at the most: 256, 256 and 1024, in whole slabs.
const KEPT_MAX: usize = 2 * 256;
const WARM_MAX: usize = 1024;

#[test]
fn the_memory_of_fifty_thousand_fibers_goes_back_each_time() {
    let linux = Linux::new(Config::default()).expect("the host starts");
    let counting = Arc::clone(&linux);
    // A report of the watchdog reads the program's symbols, which takes more than is looked for.
    let run = Runtime::builder(linux).workers(2).watchdog(None);
    run.run(move || {
        let mut fibers = Vec::with_capacity(FIBERS);
        let mut first = None;
        for round in 0..ROUNDS {
            let peak = round_of(&mut fibers, &counting);
            let left = resident();
            let stacks = *counting.stack_stats().of(StackClass::K64);
            assert!(stacks.in_use <= KEPT_MAX, "round {round}: {stacks:?}");
            assert!(stacks.warm <= WARM_MAX, "round {round}: {stacks:?}");
            assert!(stacks.trims > 0, "round {round}: {stacks:?}");
            // Each stack takes a page of 4 KiB at least.
            let given_back = peak.saturating_sub(left);
            assert!(
                given_back >= FIBERS * 4096 / 4 * 3,
                "round {round}: {given_back}"
            );
            let first = *first.get_or_insert(left);
            assert!(
                left <= first + 8 * MIB,
                "round {round}: {first} became {left}"
            );
        }
    })
    .expect("the run succeeds");
}

/// Parks all of the fibers at once and ends them; how much memory there was meanwhile.
fn round_of(fibers: &mut Vec<JoinHandle<()>>, counting: &Linux) -> usize {
    let parked = Arc::new(AtomicUsize::new(0));
    fibers.extend((0..FIBERS).map(|_| {
        let parked = Arc::clone(&parked);
        let builder = FiberBuilder::new().stack(StackClass::K64);
        let fiber = builder.spawn(move || {
            parked.fetch_add(1, Ordering::Relaxed);
            fiber::park();
        });
        fiber.expect("inside of a runtime")
    }));
    while parked.load(Ordering::Relaxed) < FIBERS {
        fiber::yield_now();
    }
    let stats: StackStats = counting.stack_stats();
    assert!(stats.of(StackClass::K64).in_use >= FIBERS);
    let peak = resident();
    for fiber in &*fibers {
        fiber.fiber().unpark();
    }
    for fiber in fibers.drain(..) {
        fiber.join().expect("it does not panic");
    }
    peak
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: usize = number
        .and_then(|n| n.parse().ok())
        .expect("a number of KiB");
    kib << 10
}

//! Heap bytes of processes, in a program whose allocator counts them.

#![expect(clippy::unwrap_used, reason = "only tests are built from this")]

use core::{hint::black_box, time::Duration};
use std::alloc::System;

use fiber::{
    CountingAllocator, Drain, End, HEAP_LIMIT, Process, Runtime, checkpoint, park, sleep, spawn,
    spawn_any, yield_now,
};
use host_linux::{Config, Linux};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator::new(System);

const MIB: usize = 1 << 20;
/// What the runtime allocates on the way.
const SLACK: usize = MIB / 4;

/// On Linux with each number of workers, and in a few simulated worlds.
fn everywhere(main: fn()) {
    for workers in [1, 4] {
        let env = Linux::new(Config::default()).unwrap();
        let builder = Runtime::builder(env).workers(workers).drain(Drain::Wait);
        builder.run(main).unwrap();
    }
    host_sim::check(20, |mut sim| {
        sim.node("only", move |env| {
            let builder = Runtime::builder(env).workers(2).drain(Drain::Wait);
            builder.run(main).unwrap();
        });
        sim.run()
    });
}

fn bytes(count: usize) -> Vec<u8> {
    black_box(vec![1; count])
}

fn heap() -> usize {
    Process::current().unwrap().stats().heap_bytes.unwrap()
}

#[test]
fn what_fibers_of_a_process_have_is_counted_and_what_they_free_is_not() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let before = heap();
            let mut mine = bytes(MIB);
            mine.reserve_exact(2 * MIB);
            assert!((before + 3 * MIB..before + 3 * MIB + SLACK).contains(&heap()));
            mine.truncate(1);
            mine.shrink_to_fit();
            assert!(heap() < before + SLACK);
            let theirs = spawn_any(|| bytes(MIB)).join().unwrap();
            assert!(heap() >= before + MIB, "it is all of the process");
            drop(theirs);
            assert!(heap() < before + SLACK);
        });
        process.unwrap().join().unwrap();
    });
}

#[test]
fn a_process_that_has_too_much_is_cancelled_when_it_lets_others_run() {
    everywhere(|| {
        let builder = Process::builder().heap_bytes_max(4 * MIB);
        let greedy = builder.clone().spawn(|| {
            let mut hoard = Vec::new();
            for _ in 0..1000 {
                // No allocation fails, not even those that are too much.
                hoard.push(bytes(MIB));
                checkpoint();
            }
            hoard.len()
        });
        let modest = builder.spawn(|| {
            let kept = bytes(MIB);
            for _ in 0..100 {
                drop(bytes(2 * MIB));
                yield_now();
            }
            kept.len()
        });
        let exit = greedy.unwrap().join().unwrap_err();
        assert_eq!(exit.end, End::Cancelled(HEAP_LIMIT), "{exit}");
        assert!(exit.report.is_clean());
        assert_eq!(modest.unwrap().join().unwrap(), MIB);
    });
}

#[test]
fn the_limit_is_that_of_all_fibers_together() {
    everywhere(|| {
        let builder = Process::builder().heap_bytes_max(4 * MIB);
        let process = builder.spawn(|| {
            let hoard = || {
                let _mine = bytes(MIB);
                sleep(Duration::from_secs(1000));
            };
            let fibers: Vec<_> = (0..6).map(|_| spawn(hoard)).collect();
            fibers.into_iter().for_each(|fiber| drop(fiber.join()));
            park();
        });
        let exit = process.unwrap().join().unwrap_err();
        assert_eq!(exit.end, End::Cancelled(HEAP_LIMIT), "{exit}");
    });
}

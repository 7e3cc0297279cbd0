//! Fibers begin, run and end, however many.

use alloc::sync::Arc;
use core::time::Duration;
use std::sync::Mutex;

use fiber::{
    FiberBuilder, JoinHandle, StackClass, core::operation::Latch, sleep, spawn, spawn_any,
    spawn_many, yield_now,
};
use host_sim::{Order, Sim};

use crate::support::{
    Count, WORKERS, in_turn, in_world, in_worlds, on_both, on_linux, resident_bytes,
};

/// There is no run without a main fiber: `run` takes it.
#[test]
fn a_run_gives_what_its_main_fiber_returns() {
    for workers in WORKERS {
        assert_eq!(on_linux(workers, || 1), 1);
    }
    in_worlds(1000, || ());
}

fn start_and_wait(n: usize, start: impl Fn(Count)) {
    let ended = Count::default();
    for _ in 0..n {
        start(ended.clone());
    }
    // A waiting run does not end before them, but this closure should see it happen.
    while ended.get() < n {
        yield_now();
    }
}

fn each_way(n: usize) {
    start_and_wait(n, |ended| drop(spawn(move || ended.add())));
    start_and_wait(n, |ended| drop(spawn_any(move || ended.add())));
    let many = spawn_many(n, |index| index);
    let given: Vec<_> = many
        .into_iter()
        .map(JoinHandle::join)
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(given.into_iter().eq(0..n));
}

#[test]
fn any_number_of_fibers_that_do_nothing_begin_and_end() {
    for workers in WORKERS {
        for n in [1, 10, 100, 1000, 10_000, 100_000] {
            on_linux(workers, || each_way(n));
        }
    }
    in_worlds(500, || each_way(1));
    in_worlds(500, || each_way(10));
    in_worlds(30, || each_way(100));
    in_world(Sim::new(1).order(Order::Fifo), 4, || each_way(10_000)).expect_finished();
}

#[test]
fn a_waiting_run_ends_when_the_last_of_them_has() {
    let ended = Count::default();
    let seen = ended.clone();
    on_linux(4, move || {
        for _ in 0..100_000 {
            let ended = ended.clone();
            drop(spawn_any(move || ended.add()));
        }
    });
    assert_eq!(seen.get(), 100_000);
}

#[test]
fn naps_in_a_simulated_world_last_exactly_one_virtual_second() {
    for n in [1, 10, 100, 1000] {
        let mut sim = Sim::new(n).order(Order::Fifo).costless();
        sim.node("only", move |env| {
            let count = usize::try_from(n).unwrap();
            let nap = move || {
                let begun = fiber::time::now();
                let naps = spawn_many(count, |_| sleep(Duration::from_secs(1)));
                for nap in naps {
                    nap.join().unwrap();
                }
                fiber::time::now().saturating_since(begun)
            };
            let lasted = fiber::Runtime::builder(env).workers(2).run(nap).unwrap();
            assert_eq!(lasted, Duration::from_secs(1));
        });
        sim.run().expect_finished();
    }
}

fn chain(left: usize, ended: Count) {
    if left == 0 {
        ended.add();
        return;
    }
    let next = FiberBuilder::new().stack(StackClass::K16);
    drop(next.spawn(move || chain(left - 1, ended)).unwrap());
}

#[test]
fn a_chain_of_fibers_takes_the_memory_of_one() {
    let grown = |workers, length: usize| {
        let ended = Count::default();
        let seen = ended.clone();
        on_linux(workers, move || chain(length, ended));
        assert_eq!(seen.get(), 1);
        resident_bytes()
    };
    for length in [5, 50, 500] {
        grown(2, length);
    }
    let short = grown(2, 5_000);
    for (workers, length) in [(2, 50_000), (2, 500_000), (1, 1_000_000)] {
        let long = grown(workers, length);
        assert!(
            long < short + (8 << 20),
            "{length} fibers one after another: {short} -> {long} bytes"
        );
    }
    in_worlds(1000, || chain(50, Count::default()));
    in_world(Sim::new(3).order(Order::Fifo), 2, || {
        chain(10_000, Count::default());
    })
    .expect_finished();
}

/// In the order of their waits: first in, first out.
fn in_order() {
    let latch = Arc::new(Latch::new());
    let order = Arc::new(Mutex::new(Vec::new()));
    let fibers: Vec<_> = (0..10)
        .map(|index| {
            let (latch, order) = (Arc::clone(&latch), Arc::clone(&order));
            spawn(move || {
                order.lock().unwrap().push(index);
                fiber::core::operation::perform(latch.wait_operation("the latch"));
                order.lock().unwrap().push(100 + index);
            })
        })
        .collect();
    while order.lock().unwrap().len() < 10 {
        yield_now();
    }
    latch.open();
    for fiber in fibers {
        fiber.join().unwrap();
    }
    let expected: Vec<_> = (0..10).chain(100..110).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[test]
fn one_worker_starts_fibers_in_the_order_of_their_spawns_and_wakes_in_that_of_their_waits() {
    in_turn(in_order);
    in_world(Sim::new(0).order(Order::Fifo), 1, in_order).expect_finished();
}

#[test]
fn the_parent_goes_on_before_its_child_begins() {
    let parent_first = || {
        let began = Count::default();
        let seen = began.clone();
        let child = spawn(move || seen.add());
        assert_eq!(began.get(), 0, "the child began inside of spawn");
        child.join().unwrap();
    };
    in_turn(parent_first);
    in_world(Sim::new(0).order(Order::Fifo), 1, parent_first).expect_finished();
}

#[test]
fn values_come_back_from_wherever_the_fiber_ran() {
    on_both(|| {
        let fibers: Vec<_> = (0..20_u64)
            .map(|index| {
                spawn_any(move || {
                    yield_now();
                    (index, index * index)
                })
            })
            .collect();
        for (index, fiber) in (0..20).zip(fibers) {
            assert_eq!(fiber.join().unwrap(), (index, index * index));
        }
    });
}

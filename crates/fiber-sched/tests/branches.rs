//! In which order new fibers start: what one spawns in its first run goes before the others.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

extern crate alloc;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;

use fiber_core::script::ScriptEnv;
use fiber_sched::{JoinHandle, Runtime, scope, spawn, spawn_any, yield_now};

fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    Runtime::builder(ScriptEnv::new())
        .workers(1)
        .closed_world()
        .run(main)
        .expect("the run succeeds")
}

/// How many of a tree's fibers have started and not ended, now and at the most.
#[derive(Default)]
struct Alive {
    now: AtomicUsize,
    most: AtomicUsize,
}

fn grow(depth: u32, alive: &Arc<Alive>) {
    let now = alive.now.fetch_add(1, Ordering::SeqCst) + 1;
    alive.most.fetch_max(now, Ordering::SeqCst);
    let branches = if depth == 0 { 0 } else { 10 };
    let branch = |_| {
        let alive = Arc::clone(alive);
        spawn(move || grow(depth - 1, &alive))
    };
    let branches: Vec<_> = (0..branches).map(branch).collect();
    branches.into_iter().for_each(|it| it.join().unwrap());
    alive.now.fetch_sub(1, Ordering::SeqCst);
}

#[test]
fn a_tree_of_fibers_is_worked_off_branch_by_branch() {
    let alive = Arc::new(Alive::default());
    run(|| grow(4, &alive));
    // Of more than a thousand that have branches.
    let most = alive.most.load(Ordering::SeqCst);
    assert!(most < 300, "{most} were under way at once");
}

#[test]
fn what_a_fiber_spawns_in_its_first_run_starts_before_its_siblings_and_before_who_is_ready() {
    run(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| order.lock().unwrap().push(what);
        scope(|s| {
            s.spawn(|| {
                note("first");
                s.spawn(|| note("its first"));
                s.spawn(|| note("its second"));
            });
            s.spawn(|| note("second"));
            yield_now();
            note("parent");
            s.spawn(|| note("later"));
        });
        let seen = order.lock().unwrap().clone();
        let expected = [
            "first",
            "its first",
            "its second",
            "second",
            "parent",
            "later",
        ];
        assert_eq!(seen, expected);
    });
}

/// Starts the next of its kind, and ends, until it is told that the other one has run.
fn go_on(steps: &Arc<AtomicUsize>, over: &Arc<AtomicBool>) {
    steps.fetch_add(1, Ordering::SeqCst);
    if !over.load(Ordering::SeqCst) {
        let (steps, over) = (Arc::clone(steps), Arc::clone(over));
        drop(spawn(move || go_on(&steps, &over)));
    }
}

/// How far so many chains have come when one has run that was spawned behind them.
fn steps_before(
    chains: usize,
    spawn_it: impl FnOnce(Arc<AtomicBool>) -> JoinHandle<()> + Send,
) -> usize {
    let (steps, over) = (Arc::default(), Arc::default());
    run(|| {
        (0..chains).for_each(|_| go_on(&steps, &over));
        spawn_it(Arc::clone(&over)).join().unwrap();
    });
    steps.load(Ordering::SeqCst)
}

#[test]
fn chains_of_fibers_keep_nobody_from_starting() {
    for chains in [1, 2, 3] {
        let one = |over: Arc<AtomicBool>| spawn(move || over.store(true, Ordering::SeqCst));
        let steps = steps_before(chains, one);
        assert!(
            steps <= 4096,
            "it had to wait for {steps} of {chains} chains"
        );
    }
}

#[test]
fn chains_of_fibers_keep_nobody_from_starting_whom_others_could_take() {
    for chains in [1, 2, 3] {
        let one = |over: Arc<AtomicBool>| spawn_any(move || over.store(true, Ordering::SeqCst));
        let steps = steps_before(chains, one);
        assert!(
            steps <= 4096,
            "it had to wait for {steps} of {chains} chains"
        );
    }
}

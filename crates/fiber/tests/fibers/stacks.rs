//! A fiber that is cancelled before it has started takes no stack, or one that was used before.

use alloc::sync::Arc;

use fiber::{ExitReason, Runtime, no_suspend, spawn, spawn_many};
use host_linux::{Config, Linux};

/// How many stacks a worker has in hand before and after `spawned` are cancelled and have ended.
fn stacks_taken(spawn_all: fn() -> Vec<fiber::JoinHandle<()>>) -> (usize, usize) {
    let env = Linux::new(Config::default()).unwrap();
    let main = move || {
        let runtime = Runtime::current().unwrap();
        let before = runtime.stats().stacks.in_use();
        // None of them gets a turn before it is cancelled, however slow this is.
        let fibers = no_suspend(|| {
            let fibers = spawn_all();
            for fiber in &fibers {
                fiber.cancel();
            }
            fibers
        });
        for fiber in fibers {
            assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        }
        (before, runtime.stats().stacks.in_use())
    };
    Runtime::builder(env).workers(1).run(main).unwrap()
}

#[test]
fn one_whose_closure_has_nothing_to_drop_takes_none() {
    let (before, after) = stacks_taken(|| {
        let number = 7;
        (0..1000)
            .map(|index: u32| spawn(move || assert_eq!(index, number, "it runs")))
            .collect()
    });
    assert_eq!((before, after), (1, 1));
}

#[test]
fn those_whose_closures_are_to_be_dropped_share_one() {
    let (before, after) = stacks_taken(|| {
        spawn_many(1000, {
            let kept = Arc::new(());
            move |_| assert!(Arc::strong_count(&kept) == 0, "it runs")
        })
    });
    assert_eq!((before, after), (1, 2), "one, which serves all in turn");
}

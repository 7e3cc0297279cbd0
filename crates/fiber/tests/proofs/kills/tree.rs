//! A tree of processes: whoever is killed takes its children with it, and nobody else.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber::{Process, mask, scope, sleep, spawn, sync::channel::bounded, yield_now};

use super::{Alive, Cast, GRACE, join_killed, kill_everywhere};

fn leaf(alive: &Arc<AtomicUsize>) {
    let _alive = Alive::new(alive);
    let both = || {
        scope(|scope| {
            scope.spawn(|| mask(|| sleep(Duration::from_micros(5))));
            scope.spawn(yield_now);
        });
    };
    let own = Arc::clone(alive);
    let other = spawn(move || {
        let _alive = Alive::new(&own);
        yield_now();
        both();
    });
    join_killed(other);
}

fn branch(alive: &Arc<AtomicUsize>) {
    let _alive = Alive::new(alive);
    for _ in 0..2 {
        let own = Arc::clone(alive);
        let builder = Process::builder().grace(GRACE);
        let child = builder.spawn(move || leaf(&own));
        if let Ok(child) = child {
            // Ended or killed: its parent goes on.
            drop(child.join());
        }
    }
}

fn tree(cast: &mut Cast) {
    let alive = Arc::new(AtomicUsize::new(0));
    let (done, all) = bounded(2);
    for _ in 0..2 {
        let (own, done) = (Arc::clone(&alive), done.clone());
        let builder = Process::builder().grace(GRACE);
        cast.process(builder, move || {
            branch(&own);
            let _ = done.send(());
        });
    }
    drop(done);
    // One is killed at the most, so that one at least is heard of.
    cast.other(move || assert!(all.iter().count() >= 1));
    cast.check(move || assert_eq!(alive.load(Ordering::SeqCst), 0, "somebody is left"));
}

#[test]
fn a_kill_at_any_moment_of_a_tree_takes_its_branch_and_nothing_else() {
    kill_everywhere("a tree", tree);
}

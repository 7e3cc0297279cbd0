//! Tasks that yield, tasks that do nothing, and trees of them.

use core::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use benches::{
    Measured, Meter,
    names::BATCH,
    pieces, shares,
    work::{PIECES_AT_ONCE, branches, tree_sum, tree_tasks, uneven_shares, work},
};
use tokio::{spawn, task::yield_now};

use crate::join_all;

pub(crate) async fn yields<const TASKS: u64>(ops: u64) {
    let yielder = |share| {
        spawn(async move {
            for _ in 0..share {
                yield_now().await;
            }
        })
    };
    let tasks: Vec<_> = shares(ops, TASKS).map(yielder).collect();
    join_all(tasks).await;
}

/// Wakes its task and lets others run: what `yield_now` does without a word to the scheduler.
#[derive(Default)]
pub(crate) struct Wake {
    has_woken: bool,
}

impl Future for Wake {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if mem::replace(&mut self.has_woken, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

pub(crate) async fn wakes<const TASKS: u64>(ops: u64) {
    let yielder = |share| {
        spawn(async move {
            for _ in 0..share {
                Wake::default().await;
            }
        })
    };
    let tasks: Vec<_> = shares(ops, TASKS).map(yielder).collect();
    join_all(tasks).await;
}

pub(crate) async fn one_by_one(ops: u64) {
    for _ in 0..ops {
        spawn(async {}).await.expect("it does nothing");
    }
}

pub(crate) async fn batches(ops: u64) {
    let mut tasks = Vec::new();
    for batch in pieces(ops, BATCH) {
        tasks.extend((0..batch).map(|_| spawn(async {})));
        join_all(tasks.drain(..)).await;
    }
}

pub(crate) async fn tree(leaves: u64) -> Measured {
    let meter = Meter::start();
    assert_eq!(sum(0, leaves).await, tree_sum(leaves));
    meter.stop(tree_tasks(leaves))
}

/// The leaves' numbers, added up by a task for each branch.
fn sum(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves <= 1 {
            return first * leaves;
        }
        let mut tasks = Vec::with_capacity(10);
        tasks.extend(branches(first, leaves).map(|(first, leaves)| spawn(sum(first, leaves))));
        let mut total = 0;
        for task in tasks {
            total += task.await.expect("it only adds");
        }
        total
    })
}

pub(crate) async fn uneven(ops: u64) {
    let worker = |pieces| {
        spawn(async move {
            for piece in 0..pieces {
                work();
                if piece % PIECES_AT_ONCE == 0 {
                    Wake::default().await;
                }
            }
        })
    };
    let tasks: Vec<_> = uneven_shares(ops).into_iter().map(worker).collect();
    join_all(tasks).await;
}

//! Tasks that yield, and tasks that do nothing.

use core::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use benches::{names::BATCH, pieces, shares};
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

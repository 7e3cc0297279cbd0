//! One mutex, alone and in company.

use alloc::sync::Arc;

use benches::shares;
use tokio::{spawn, sync::Mutex};

use crate::{join_all, spawning::Wake};

const TASKS: u64 = 8;

pub(crate) async fn uncontended(ops: u64) {
    let count = Mutex::new(0_u64);
    for _ in 0..ops {
        *count.lock().await += 1;
    }
    assert_eq!(count.into_inner(), ops);
}

pub(crate) async fn contended(ops: u64) {
    shared::<false>(ops).await;
}

pub(crate) async fn handed_over(ops: u64) {
    shared::<true>(ops).await;
}

async fn shared<const YIELDS: bool>(ops: u64) {
    let count = Arc::new(Mutex::new(0_u64));
    let adder = |share| {
        let count = Arc::clone(&count);
        spawn(async move {
            for _ in 0..share {
                let mut count = count.lock().await;
                *count += 1;
                if YIELDS {
                    Wake::default().await;
                }
            }
        })
    };
    let tasks: Vec<_> = shares(ops, TASKS).map(adder).collect();
    join_all(tasks).await;
    assert_eq!(*count.lock().await, ops);
}

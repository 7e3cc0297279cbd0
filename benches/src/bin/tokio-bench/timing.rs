//! Limits of time that are not reached, and sleep.

use core::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use benches::work::sleeps;
use tokio::{
    spawn,
    time::{sleep, timeout},
};

use crate::{
    channels::{answer, sides},
    join_all,
};

const LONG: Duration = Duration::from_secs(10);

/// A timer is armed by its first poll, so each is polled once.
pub(crate) async fn limits(ops: u64) {
    for _ in 0..ops {
        let mut limit = pin!(sleep(LONG));
        poll_fn(|context| {
            assert!(limit.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}

pub(crate) async fn round_trips_in_time(ops: u64) {
    let ((question, mut answered), answering) = sides();
    let answering = spawn(answer(answering));
    let asking = spawn(async move {
        for number in 0..ops {
            question.send(number).await.expect("the other side listens");
            let answer = timeout(LONG, answered.recv()).await;
            answer.expect("it answers at once").expect("it listens");
        }
    });
    join_all([asking, answering]).await;
}

pub(crate) async fn sleepers(ops: u64) {
    let sleepers = sleeps(ops).map(|time| spawn(sleep(time)));
    join_all(sleepers.collect::<Vec<_>>()).await;
}

//! Values from coroutine to coroutine.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use benches::shares;
use may::{
    go,
    sync::mpsc::{Receiver, Sender, channel},
};

use crate::join_all;

const OPEN: &str = "the other end is there until everything is through";
const LONG: Duration = Duration::from_secs(10);

pub(crate) fn round_trips(ops: u64) {
    converse(ops, |answers| answers.recv().expect(OPEN));
}

pub(crate) fn round_trips_in_time(ops: u64) {
    converse(ops, |answers| answers.recv_timeout(LONG).expect(OPEN));
}

fn converse(ops: u64, receive: fn(&Receiver<u64>) -> u64) {
    let (question, asked) = channel();
    let (answer, answers): (Sender<u64>, _) = channel();
    let answering = go!(move || {
        for value in &asked {
            answer.send(value).expect(OPEN);
        }
    });
    let asking = go!(move || {
        for number in 0..ops {
            question.send(number).expect(OPEN);
            assert_eq!(receive(&answers), number);
        }
    });
    join_all([asking, answering]);
}

pub(crate) fn from<const PRODUCERS: u64>(ops: u64) {
    let (sender, receiver) = channel();
    let producer = |share| {
        let sender = sender.clone();
        go!(move || {
            for number in 0..share {
                sender.send(number).expect(OPEN);
            }
        })
    };
    let producers: Vec<_> = shares(ops, PRODUCERS).map(producer).collect();
    drop(sender);
    let consumer = go!(move || assert_eq!(receiver.iter().count() as u64, ops));
    join_all(producers);
    join_all([consumer]);
}

/// Both arms of its `select!` may receive before the loser is cancelled, so values are counted.
pub(crate) fn choices(ops: u64) {
    let [(left, from_left), (right, from_right)] = [channel(), channel()];
    let mut halves = shares(ops, 2);
    let mut producer = |sender: &Sender<u64>| {
        let (sender, half) = (sender.clone(), halves.next().unwrap_or(0));
        go!(move || {
            for number in 0..half {
                sender.send(number).expect(OPEN);
            }
        })
    };
    let producers = [producer(&left), producer(&right)];
    let received = Arc::new(AtomicU64::new(0));
    let count = |value: Result<u64, _>| {
        received.fetch_add(u64::from(value.is_ok()), Ordering::Relaxed);
    };
    while received.load(Ordering::Relaxed) < ops {
        let _ = may::select!(
            value = from_left.recv() => count(value),
            value = from_right.recv() => count(value)
        );
    }
    join_all(producers);
}

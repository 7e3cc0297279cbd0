//! Values from task to task. There is no rendezvous: a buffer of one stands for it.

use benches::{names::CHANNEL_CAPACITY, shares};
use std::thread;
use tokio::{
    select, spawn,
    sync::mpsc::{Receiver, Sender, channel},
};

use crate::{join_all, runtime};

const OPEN: &str = "the other end is there until everything is through";

/// One end each of two channels.
pub(crate) type Ends = (Sender<u64>, Receiver<u64>);

/// The two sides of a conversation.
pub(crate) fn sides() -> (Ends, Ends) {
    let (question, asked) = channel(1);
    let (answer, answered) = channel(1);
    ((question, answered), (answer, asked))
}

pub(crate) async fn ask((sender, mut receiver): Ends, times: u64) {
    for number in 0..times {
        sender.send(number).await.expect(OPEN);
        receiver.recv().await.expect(OPEN);
    }
}

pub(crate) async fn answer((sender, mut receiver): Ends) {
    while let Some(value) = receiver.recv().await {
        sender.send(value).await.expect(OPEN);
    }
}

pub(crate) async fn round_trips(ops: u64) {
    let (asking, answering) = sides();
    join_all([spawn(answer(answering)), spawn(ask(asking, ops))]).await;
}

/// Tasks cannot be bound to a worker, so each has a runtime of its own.
pub(crate) async fn round_trips_across(ops: u64) {
    let (asking, answering) = sides();
    thread::scope(|scope| {
        let on_its_own = || runtime(1).expect("a second runtime can be made");
        scope.spawn(move || on_its_own().block_on(answer(answering)));
        scope.spawn(move || on_its_own().block_on(ask(asking, ops)));
    });
}

pub(crate) async fn bounded<const PRODUCERS: u64>(ops: u64) {
    let (sender, mut receiver) = channel(CHANNEL_CAPACITY);
    let producer = |share| {
        let sender = sender.clone();
        spawn(async move {
            for number in 0..share {
                sender.send(number).await.expect(OPEN);
            }
        })
    };
    let producers: Vec<_> = shares(ops, PRODUCERS).map(producer).collect();
    drop(sender);
    let consumer = spawn(async move {
        let mut count = 0;
        while receiver.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, ops);
    });
    join_all(producers).await;
    join_all([consumer]).await;
}

pub(crate) async fn choices(ops: u64) {
    let [(left, mut from_left), (right, mut from_right)] = [channel(1), channel(1)];
    let mut halves = shares(ops, 2);
    let mut producer = |sender: &Sender<u64>| {
        let (sender, half) = (sender.clone(), halves.next().unwrap_or(0));
        spawn(async move {
            for number in 0..half {
                sender.send(number).await.expect(OPEN);
            }
        })
    };
    let producers = [producer(&left), producer(&right)];
    let consumer = spawn(async move {
        for _ in 0..ops {
            let received = select! {
                value = from_left.recv() => value,
                value = from_right.recv() => value,
            };
            received.expect(OPEN);
        }
    });
    join_all([consumer]).await;
    join_all(producers).await;
}

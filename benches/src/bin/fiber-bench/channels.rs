//! Values from fiber to fiber.

use benches::{names::CHANNEL_CAPACITY, shares};
use fiber::{
    FiberBuilder, WorkerId, choose, spawn,
    sync::channel::{Receiver, Sender, bounded, rendezvous},
};

use crate::join_all;

const OPEN: &str = "the other end is there until everything is through";

/// Both ends of two rendezvous channels.
pub(crate) type Ends = (Sender<u64>, Receiver<u64>);

/// The two sides of a conversation.
pub(crate) fn sides() -> (Ends, Ends) {
    let (question, asked) = rendezvous();
    let (answer, answered) = rendezvous();
    ((question, answered), (answer, asked))
}

pub(crate) fn ask((sender, receiver): Ends, times: u64) {
    for number in 0..times {
        sender.send(number).expect(OPEN);
        receiver.recv().expect(OPEN);
    }
}

pub(crate) fn answer((sender, receiver): Ends) {
    for value in &receiver {
        sender.send(value).expect(OPEN);
    }
}

pub(crate) fn round_trips(ops: u64) {
    let (asking, answering) = sides();
    join_all([
        spawn(move || answer(answering)),
        spawn(move || ask(asking, ops)),
    ]);
}

pub(crate) fn round_trips_across(ops: u64) {
    let (asking, answering) = sides();
    let on = |worker| FiberBuilder::new().worker(WorkerId(worker));
    let answering = on(0).spawn(move || answer(answering));
    let asking = on(1).spawn(move || ask(asking, ops));
    join_all([answering, asking].map(|fiber| fiber.expect("there are two workers")));
}

pub(crate) fn bounded_from<const PRODUCERS: u64>(ops: u64) {
    let (sender, receiver) = bounded(CHANNEL_CAPACITY);
    let producer = |share| {
        let sender = sender.clone();
        spawn(move || {
            for number in 0..share {
                sender.send(number).expect(OPEN);
            }
        })
    };
    let producers: Vec<_> = shares(ops, PRODUCERS).map(producer).collect();
    drop(sender);
    let consumer = spawn(move || assert_eq!(receiver.iter().count() as u64, ops));
    join_all(producers);
    join_all([consumer]);
}

pub(crate) fn choices(ops: u64) {
    let [(left, from_left), (right, from_right)] = [rendezvous(), rendezvous()];
    let mut halves = shares(ops, 2);
    let mut producer = |sender: &Sender<u64>| {
        // A second sender stays here: a channel that has ended would be chosen at once.
        let (sender, half) = (sender.clone(), halves.next().unwrap_or(0));
        spawn(move || {
            for number in 0..half {
                sender.send(number).expect(OPEN);
            }
        })
    };
    let producers = [producer(&left), producer(&right)];
    let consumer = spawn(move || {
        for _ in 0..ops {
            let received = choose! {
                value = from_left.recv_operation() => value,
                value = from_right.recv_operation() => value,
            };
            received.expect(OPEN);
        }
    });
    join_all([consumer]);
    join_all(producers);
}

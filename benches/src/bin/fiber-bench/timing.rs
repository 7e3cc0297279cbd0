//! Limits of time that are not reached, and sleep.

use core::{hint::black_box, time::Duration};

use benches::work::sleeps;
use fiber::{operation, sleep, spawn, spawn_when, timeout};

use crate::{
    channels::{answer, sides},
    join_all,
};

const LONG: Duration = Duration::from_secs(10);

pub(crate) fn limits(ops: u64) {
    for number in 0..ops {
        timeout(LONG, || black_box(number)).expect("it takes no time");
    }
}

pub(crate) fn round_trips_in_time(ops: u64) {
    let ((question, answered), answering) = sides();
    let answering = spawn(move || answer(answering));
    let asking = spawn(move || {
        for number in 0..ops {
            question.send(number).expect("the other side listens");
            answered.recv_timeout(LONG).expect("it answers at once");
        }
    });
    join_all([asking, answering]);
}

pub(crate) fn sleepers(ops: u64) {
    let sleepers = sleeps(ops).map(|time| spawn(move || sleep(time)));
    join_all(sleepers.collect::<Vec<_>>());
}

pub(crate) fn sleepers_without_stacks(ops: u64) {
    let sleepers = sleeps(ops).map(|time| spawn_when(operation::timeout(time), |()| ()));
    join_all(sleepers.collect::<Vec<_>>());
}

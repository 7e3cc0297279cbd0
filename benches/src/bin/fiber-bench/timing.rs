//! Limits of time that are not reached.

use core::{hint::black_box, time::Duration};

use fiber::{spawn, timeout};

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

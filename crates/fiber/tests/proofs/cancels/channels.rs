//! Channels: what was sent is received once, what was not is dropped once.

use fiber::sync::channel::{Receiver, Sender};

use super::{
    Cast, cancel_everywhere,
    plays::{Ledger, MOMENT, Value, dawdle},
};
use crate::kinds::{Blocking, Bounded, Kind, Penalising, Rendezvous, Unbounded};

type Channel = (Sender<Value>, Receiver<Value>);

/// Sends these, patiently or again and again.
pub(super) fn send(
    sender: &Sender<Value>,
    ledger: &Ledger,
    numbers: core::ops::Range<usize>,
    patient: bool,
) {
    for number in numbers {
        let mut value = ledger.value(number);
        loop {
            let sent = if patient {
                sender.send(value).map_err(|error| error.into_inner())
            } else {
                sender
                    .send_timeout(value, MOMENT)
                    .map_err(|error| error.into_inner())
            };
            match sent {
                Ok(()) => break ledger.sent(number),
                Err(_) if patient => return,
                Err(back) => value = back,
            }
        }
        dawdle(number);
    }
}

/// Receives at most so many, until the end.
pub(super) fn receive(receiver: &Receiver<Value>, ledger: &Ledger, count: usize) {
    for turn in 0..count {
        match receiver.recv() {
            Ok(value) => ledger.received(&value),
            Err(_) => return,
        }
        dawdle(turn);
    }
}

fn receive_impatiently(receiver: &Receiver<Value>, ledger: &Ledger, count: usize) {
    use fiber::sync::channel::RecvTimeoutError::{Closed, Elapsed};
    for turn in 0..count {
        match receiver.recv_timeout(MOMENT / 4) {
            Ok(value) => ledger.received(&value),
            Err(Elapsed) => {}
            Err(Closed) => return,
        }
        dawdle(turn);
    }
}

fn receiver_is_cancelled(cast: &mut Cast, (sender, receiver): Channel) {
    let ledger = Ledger::default();
    let (own, books) = (receiver.clone(), ledger.clone());
    cast.victim(move || receive(&own, &books, 6));
    two_senders_and_a_receiver(cast, (sender, receiver), &ledger);
}

fn impatient_receiver_is_cancelled(cast: &mut Cast, (sender, receiver): Channel) {
    let ledger = Ledger::default();
    let (own, books) = (receiver.clone(), ledger.clone());
    cast.victim(move || receive_impatiently(&own, &books, 8));
    two_senders_and_a_receiver(cast, (sender, receiver), &ledger);
}

fn sender_is_cancelled(cast: &mut Cast, channel: Channel) {
    patient_or_not(cast, channel, true);
}

fn impatient_sender_is_cancelled(cast: &mut Cast, channel: Channel) {
    patient_or_not(cast, channel, false);
}

fn patient_or_not(cast: &mut Cast, (sender, receiver): Channel, patient: bool) {
    let ledger = Ledger::default();
    let (own, books) = (sender.clone(), ledger.clone());
    cast.victim(move || send(&own, &books, 20..26, patient));
    two_senders_and_a_receiver(cast, (sender, receiver), &ledger);
}

fn two_senders_and_a_receiver(cast: &mut Cast, (sender, receiver): Channel, ledger: &Ledger) {
    for (first, patient) in [(0, true), (10, false)] {
        let (own, books) = (sender.clone(), ledger.clone());
        cast.other(move || send(&own, &books, first..first + 6, patient));
    }
    drop(sender);
    let books = ledger.clone();
    cast.other(move || receive(&receiver, &books, usize::MAX));
    let books = ledger.clone();
    cast.check(move || books.balances());
}

/// With the victim goes the last receiver: senders get their values back.
fn only_receiver_is_cancelled(cast: &mut Cast, (sender, receiver): Channel) {
    let ledger = Ledger::default();
    for first in [0, 10] {
        let (own, books) = (sender.clone(), ledger.clone());
        cast.other(move || send(&own, &books, first..first + 6, true));
    }
    let books = ledger.clone();
    cast.victim(move || receive(&receiver, &books, 6));
    cast.check(move || ledger.is_empty());
}

/// With the victim goes the last sender: receivers get what was sent before, and the end.
fn only_sender_is_cancelled(cast: &mut Cast, (sender, receiver): Channel) {
    let ledger = Ledger::default();
    let books = ledger.clone();
    cast.victim(move || send(&sender, &books, 0..5, true));
    for _ in 0..2 {
        let (own, books) = (receiver.clone(), ledger.clone());
        cast.other(move || receive(&own, &books, usize::MAX));
    }
    cast.check(move || ledger.balances());
}

/// A play on a channel, and its name.
type Play = (&'static str, fn(&mut Cast, Channel));

const PLAYS: [Play; 6] = [
    ("a receiver", receiver_is_cancelled),
    ("an impatient receiver", impatient_receiver_is_cancelled),
    ("a sender", sender_is_cancelled),
    ("an impatient sender", impatient_sender_is_cancelled),
    ("the only receiver", only_receiver_is_cancelled),
    ("the only sender", only_sender_is_cancelled),
];

fn play_all<K: Kind>() {
    for (name, play) in PLAYS {
        cancel_everywhere(name, move |cast| play(cast, K::open()));
    }
}

#[test]
fn a_cancel_at_any_suspension_loses_no_value_of_a_rendezvous() {
    play_all::<Rendezvous>();
}

#[test]
fn a_cancel_at_any_suspension_loses_no_value_of_a_bounded_channel() {
    play_all::<Bounded<1>>();
    play_all::<Bounded<2>>();
}

#[test]
fn a_cancel_at_any_suspension_loses_no_value_of_a_channel_without_a_bound() {
    play_all::<Unbounded>();
}

#[test]
fn a_cancel_at_any_suspension_loses_no_message_of_a_mailbox() {
    play_all::<Blocking>();
    play_all::<Penalising>();
}

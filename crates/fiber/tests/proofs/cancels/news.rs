//! Channels of other shapes: promises are kept or broken, news stay news, credits come back.

use alloc::sync::Arc;
use core::time::Duration;

use fiber::{
    sleep,
    sync::{
        Mutex,
        channel::{
            broadcast,
            credit::{self, Receiver, Sender},
            oneshot, watch,
        },
    },
};

use super::{
    Cast, cancel_everywhere,
    plays::{Ledger, MOMENT, Value, dawdle},
};
use crate::support::EVER;

const PROMISES: usize = 4;

/// What the victim had not received yet is there for the next one who asks.
fn a_receiver_of_promises(cast: &mut Cast) {
    let ledger = Ledger::default();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..PROMISES).map(|_| oneshot::channel()).unzip();
    let receivers = Arc::new(receivers);
    let (own, books) = (Arc::clone(&receivers), ledger.clone());
    cast.victim(move || {
        for (turn, receiver) in own.iter().enumerate() {
            let received = match turn % 2 {
                0 => receiver.recv().ok(),
                _ => receiver.recv_timeout(MOMENT / 2).ok(),
            };
            if let Some(value) = received {
                books.received(&value);
            }
            dawdle(turn);
        }
    });
    let books = ledger.clone();
    cast.other(move || {
        for (number, sender) in senders.into_iter().enumerate() {
            dawdle(number);
            sender.send(books.value(number)).expect("it is there");
            books.sent(number);
        }
    });
    cast.check(move || {
        for receiver in receivers.iter() {
            if let Ok(value) = receiver.try_recv() {
                ledger.received(&value);
            }
        }
        ledger.balances();
    });
}

/// With the victim go the promises that it has not kept: nobody waits for them any more.
fn a_sender_of_promises(cast: &mut Cast) {
    let ledger = Ledger::default();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..PROMISES).map(|_| oneshot::channel()).unzip();
    let (promise, shared) = oneshot::shared();
    let books = ledger.clone();
    cast.victim(move || {
        for (number, sender) in senders.into_iter().enumerate() {
            dawdle(number);
            let sent = sender.send(books.value(number));
            sent.expect("it is there");
            books.sent(number);
        }
        dawdle(0);
        promise.send(7).unwrap();
    });
    for _ in 0..2 {
        let own = shared.clone();
        cast.other(move || assert!(own.recv().map_or(true, |kept| kept == 7)));
    }
    let books = ledger.clone();
    cast.other(move || {
        for receiver in receivers {
            if let Ok(value) = receiver.recv() {
                books.received(&value);
            }
        }
    });
    cast.check(move || ledger.balances());
}

#[test]
fn a_cancel_at_any_suspension_keeps_or_breaks_a_promise() {
    cancel_everywhere("a receiver of promises", a_receiver_of_promises);
    cancel_everywhere("a sender of promises", a_sender_of_promises);
}

const NEWS: usize = 6;

/// Everybody sees the last value, whoever was cancelled.
fn a_watch(cast: &mut Cast, victim_sends: bool) {
    let (sender, receiver) = watch::channel(0);
    let send = |sender: watch::Sender<usize>| {
        move || {
            for number in 1..=NEWS {
                sender.send(number).unwrap();
                dawdle(number);
            }
        }
    };
    let look = |mut receiver: watch::Receiver<usize>| {
        move || {
            for turn in 0.. {
                if receiver.changed().is_err() {
                    return assert!(!receiver.has_changed(), "the last one was seen");
                }
                // The sender has to wait for this one.
                let value = receiver.borrow_and_update();
                dawdle(turn);
                assert!(*value <= NEWS);
            }
        }
    };
    if victim_sends {
        cast.victim(send(sender.clone()));
    } else {
        cast.victim(look(receiver.clone()));
    }
    cast.other(look(receiver.clone()));
    cast.other(look(receiver.clone()));
    cast.other(send(sender));
    // By whom the last one is depends; but it is not locked.
    cast.check(move || assert_ne!(*receiver.borrow(), 0));
}

/// What a cancelled receiver has not had is still before it.
fn a_broadcast(cast: &mut Cast) {
    let (sender, receiver) = broadcast::channel(NEWS);
    let other = receiver.clone();
    let heard = Arc::new(Mutex::new((receiver, Vec::new())));
    let own = Arc::clone(&heard);
    cast.victim(move || {
        let mut heard = own.lock().unwrap();
        let (receiver, list) = &mut *heard;
        for turn in 0.. {
            let message = match turn % 2 {
                0 => receiver.recv().ok(),
                _ => receiver.recv_timeout(MOMENT / 2).ok(),
            };
            list.extend(message);
            if list.len() == NEWS {
                return;
            }
            dawdle(turn);
        }
    });
    cast.other(move || {
        let mut receiver = other;
        assert!((0..NEWS).all(|number| receiver.recv() == Ok(number)));
        receiver.recv().unwrap_err();
    });
    cast.other(move || {
        for number in 0..NEWS {
            sender.send(number).unwrap();
            dawdle(number);
        }
    });
    cast.check(move || {
        let mut heard = heard.try_lock().expect("free, and not poisoned");
        let (receiver, list) = &mut *heard;
        while let Ok(message) = receiver.try_recv() {
            list.push(message);
        }
        assert!(list.iter().copied().eq(0..NEWS), "{list:?}");
    });
}

#[test]
fn a_cancel_at_any_suspension_keeps_no_news_from_anybody() {
    cancel_everywhere("who watches", |cast| a_watch(cast, false));
    cancel_everywhere("who changes what is watched", |cast| a_watch(cast, true));
    cancel_everywhere("who hears", a_broadcast);
}

const WINDOW: usize = 2;

/// Takes a credit, and makes a value of it, or not.
fn send_on_credit(sender: &Sender<Value>, ledger: &Ledger, numbers: core::ops::Range<usize>) {
    for number in numbers {
        let credit = match number % 2 {
            0 => sender.credit().ok(),
            _ => sender.credit_timeout(MOMENT / 2).ok(),
        };
        dawdle(number);
        if let Some(credit) = credit.filter(|_| number % 5 != 4) {
            credit.send(ledger.value(number)).expect("it is open");
            ledger.sent(number);
        }
        dawdle(number + 1);
    }
}

/// Receives until nothing has come for so long.
fn receive_on_credit(receiver: &Receiver<Value>, ledger: &Ledger, patience: Duration) {
    for turn in 0.. {
        match receiver.recv_timeout(patience) {
            Ok(value) => ledger.received(&value),
            Err(_) => return,
        }
        dawdle(turn);
    }
}

fn credits(cast: &mut Cast, batch: usize, victim_sends: bool) {
    let ledger = Ledger::default();
    let (sender, receiver) = credit::in_batches(WINDOW, batch);
    let send = |numbers| {
        let (own, books) = (sender.clone(), ledger.clone());
        move || send_on_credit(&own, &books, numbers)
    };
    let receive = |patience| {
        let (own, books) = (receiver.clone(), ledger.clone());
        move || receive_on_credit(&own, &books, patience)
    };
    if victim_sends {
        cast.victim(send(20..28));
    } else {
        cast.victim(receive(MOMENT * 20));
    }
    cast.other(send(0..8));
    cast.other(send(10..18));
    cast.other(receive(EVER));
    cast.check(move || {
        sleep(MOMENT);
        // Of a batch that is not complete the receivers owe the rest.
        let owed = WINDOW - sender.available();
        assert!(owed < batch, "{owed} credits are missing");
        drop(receiver);
        ledger.balances();
    });
}

#[test]
fn a_cancel_at_any_suspension_loses_no_credit() {
    for batch in [1, WINDOW] {
        cancel_everywhere("who needs credit", move |cast| credits(cast, batch, true));
        cancel_everywhere("who gives credit", move |cast| credits(cast, batch, false));
    }
}

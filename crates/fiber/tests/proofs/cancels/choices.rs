//! Choices: a cancelled one has taken no arm, or one wholly; and whoever is to know knows.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use fiber::{
    choose,
    operation::{Nack, Operation, timeout, with_nack},
    sync::{
        Mutex, Semaphore,
        channel::{Receiver, RecvError, Sender, bounded, rendezvous},
    },
};

use super::{
    Cast, cancel_everywhere,
    channels::{receive, send},
    plays::{Ledger, MOMENT, Section, Value, dawdle},
};

type Channel = (Sender<Value>, Receiver<Value>);

/// What is not given back by being dropped.
struct Common {
    mutex: Mutex<Section>,
    semaphore: Semaphore,
    ledger: Ledger,
}

impl Common {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            mutex: Mutex::new(Section::new(1)),
            semaphore: Semaphore::new(1),
            ledger: Ledger::default(),
        })
    }
}

/// Receives on both until one has ended, and then on the other one.
fn choose_to_receive(common: &Common, ends: [&Receiver<Value>; 2], count: usize) {
    let [one, other] = ends;
    let Common { mutex, ledger, .. } = common;
    for turn in 0..count {
        let received = choose! {
            value = one.recv_operation() => value.map_err(|_| other),
            value = other.recv_operation() => value.map_err(|_| one),
            section = mutex.lock_operation() => {
                let section = section.unwrap();
                let _inside = section.enter(1);
                dawdle(turn);
                continue;
            },
            () = timeout(MOMENT / 2) => continue,
        };
        match received {
            Ok(value) => ledger.received(&value),
            Err(open) => return receive(open, ledger, count),
        }
        dawdle(turn + 1);
    }
}

/// Sends one of two values, or does something else.
fn choose_to_send(common: &Common, ends: [&Sender<Value>; 2], numbers: core::ops::Range<usize>) {
    let Common {
        semaphore, ledger, ..
    } = common;
    for number in numbers {
        let numbers = [number, number + 100];
        let [one, other] = numbers.map(|number| ledger.value(number));
        choose! {
            sent = ends[0].send_operation(one) => if sent.is_ok() { ledger.sent(numbers[0]) },
            sent = ends[1].send_operation(other) => if sent.is_ok() { ledger.sent(numbers[1]) },
            _permit = semaphore.acquire_operation(1) => dawdle(number),
            () = timeout(MOMENT / 2) => {},
        }
        dawdle(number);
    }
}

fn a_choice(cast: &mut Cast, [one, other]: [Channel; 2], victim_sends: bool) {
    let common = Common::new();
    let sending = |numbers| {
        let (own, ends) = (Arc::clone(&common), [one.0.clone(), other.0.clone()]);
        move || choose_to_send(&own, ends.each_ref(), numbers)
    };
    let receiving = |count| {
        let (own, ends) = (Arc::clone(&common), [one.1.clone(), other.1.clone()]);
        move || choose_to_receive(&own, ends.each_ref(), count)
    };
    if victim_sends {
        cast.victim(sending(40..48));
    } else {
        cast.victim(receiving(8));
    }
    cast.other(sending(50..56));
    cast.other(receiving(usize::MAX));
    for (first, channel) in [(0, &one), (10, &other)] {
        let (end, own) = (channel.0.clone(), Arc::clone(&common));
        cast.other(move || send(&end, &own.ledger, first..first + 4, first == 0));
    }
    let own = Arc::clone(&common);
    cast.other(move || {
        for turn in 0..6 {
            let _locked = own.mutex.lock().unwrap();
            let _permit = own.semaphore.acquire();
            dawdle(turn);
        }
    });
    let ends = [one.1, other.1];
    cast.check(move || {
        drop(common.mutex.try_lock().expect("free, and not poisoned"));
        assert_eq!(common.semaphore.available_permits(), 1);
        assert!(ends.iter().all(Receiver::is_empty));
        common.ledger.balances();
    });
}

#[test]
fn a_cancel_at_any_suspension_leaves_a_choice_with_one_arm_or_none() {
    let met = || [rendezvous(), rendezvous()];
    cancel_everywhere("who chooses a sender", move |cast| {
        a_choice(cast, met(), false)
    });
    cancel_everywhere("who chooses a receiver", move |cast| {
        a_choice(cast, met(), true)
    });
    let buffered = || [bounded(1), rendezvous()];
    cancel_everywhere("who chooses a value", move |cast| {
        a_choice(cast, buffered(), false)
    });
    cancel_everywhere("who chooses a place", move |cast| {
        a_choice(cast, buffered(), true)
    });
}

/// Something asked for, and what says that nobody wants it any more.
type Request = (Sender<usize>, Nack);

fn request(server: &Sender<Request>) -> impl Operation<Output = Result<usize, RecvError>> {
    let server = server.clone();
    with_nack(move |nack| {
        let (reply, replies) = rendezvous();
        // A server that is gone drops the reply, which is an answer, too.
        drop(server.send((reply, nack)));
        replies.into_recv_operation()
    })
}

/// Gives an answer to who still wants it; how many did.
fn serve(requests: &Receiver<Request>, given: &AtomicUsize) {
    for (number, (reply, nack)) in requests.iter().enumerate() {
        dawdle(number);
        choose! {
            sent = reply.send_operation(number) => {
                given.fetch_add(usize::from(sent.is_ok()), Ordering::SeqCst);
            },
            () = nack.wait_operation() => {},
        }
    }
}

fn ask(server: &Sender<Request>, got: &AtomicUsize) {
    for turn in 0..5 {
        let answer = match turn % 2 {
            0 => request(server).perform().ok(),
            _ => request(server)
                .perform_timeout(MOMENT)
                .ok()
                .and_then(Result::ok),
        };
        got.fetch_add(usize::from(answer.is_some()), Ordering::SeqCst);
        dawdle(turn);
    }
}

fn requests(cast: &mut Cast) {
    let (server, requests) = rendezvous();
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (own, counted) = (server.clone(), Arc::clone(&counts));
    cast.victim(move || ask(&own, &counted.1));
    let counted = Arc::clone(&counts);
    cast.other(move || ask(&server, &counted.1));
    let counted = Arc::clone(&counts);
    cast.other(move || serve(&requests, &counted.0));
    cast.check(move || {
        let [given, got] = [&counts.0, &counts.1].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(given, got, "answers");
    });
}

#[test]
fn a_cancel_at_any_suspension_tells_a_server_that_nobody_waits() {
    cancel_everywhere("who asks", requests);
}

//! The paths.

use alloc::sync::Arc;
use core::{hint::black_box, net::Ipv4Addr, time::Duration};

use fiber::{
    JoinHandle, Process, choose,
    core::{
        Context,
        env::SharedEnv,
        request::{Outcome, RawDescriptor, Request},
        script::{Reply, Script, ScriptEnv},
    },
    io::{Read, TcpStream, Write},
    park, spawn,
    sync::{
        Mutex,
        channel::{bounded, oneshot, rendezvous},
    },
    timeout, yield_now,
};

/// How often a path is to be taken.
type Path = fn(u64);

#[rustfmt::skip]
pub(crate) const TABLE: &[(&str, Path)] = &[
    ("yield", yields),
    ("park and wake", wakes),
    ("spawn and join", spawns),
    ("spawn and join, a thousand", crowds),
    ("lock", locks),
    ("lock, handed over", contended),
    ("rendezvous, there and back", round_trips),
    ("bounded channel", messages),
    ("oneshot", replies),
    ("choose of 4", choices),
    ("timeout that does not fire", limits),
    ("id lookup", lookups),
    ("process", processes),
    ("echo request", echoes),
];

/// Bytes of a message of the echo.
const MESSAGE: usize = 64;
const CONNECTIONS: u64 = 64;

/// A host that connects, and has sent and received what it is asked to.
pub(crate) fn host() -> SharedEnv {
    let whole = |length: usize| Reply::Now(Outcome::Done(length as u64));
    ScriptEnv::with(Script::new().reply(move |request, _| match request {
        Request::Connect { .. } => Reply::Now(Outcome::Opened(RawDescriptor(7))),
        Request::Recv { into, .. } => whole(into.len()),
        Request::Send { from, .. } => whole(from.len()),
        _ => Reply::Now(Outcome::Done(0)),
    }))
}

fn join(fiber: JoinHandle<()>) {
    fiber.join().expect("paths do not fail");
}

fn yields(times: u64) {
    let yields = move || (0..times / 2).for_each(|_| yield_now());
    let other = spawn(yields);
    yields();
    join(other);
}

fn wakes(times: u64) {
    let parks = spawn(move || (0..times).for_each(|_| park()));
    for _ in 0..times {
        yield_now();
        parks.fiber().unpark();
    }
    join(parks);
}

fn spawns(times: u64) {
    (0..times).for_each(|_| join(spawn(|| ())));
}

fn crowds(times: u64) {
    for _ in 0..times / 1000 {
        let crowd: Vec<_> = (0..1000).map(|_| spawn(|| ())).collect();
        crowd.into_iter().for_each(join);
    }
}

fn locks(times: u64) {
    let mutex = Mutex::new(0);
    for _ in 0..times {
        *black_box(&mutex).lock().expect("nobody panics") += 1;
    }
}

fn contended(times: u64) {
    let mutex = Arc::new(Mutex::new(0));
    let holders = (0..8).map(|_| {
        let mutex = Arc::clone(&mutex);
        spawn(move || {
            for _ in 0..times / 8 {
                let mut number = mutex.lock().expect("nobody panics");
                yield_now();
                *number += 1;
            }
        })
    });
    holders.collect::<Vec<_>>().into_iter().for_each(join);
}

fn round_trips(times: u64) {
    let (question, asked) = rendezvous();
    let (answer, answered) = rendezvous();
    let answers = spawn(move || {
        for question in asked {
            answer.send(question).expect("it is waited for");
        }
    });
    for number in 0..times {
        question.send(number).expect("the other one listens");
        answered.recv().expect("it answers");
    }
    drop(question);
    join(answers);
}

fn messages(times: u64) {
    let (sender, receiver) = bounded(100);
    let sends = spawn(move || {
        (0..times).for_each(|number| sender.send(number).expect("it is received"));
    });
    assert_eq!(receiver.iter().count() as u64, times);
    join(sends);
}

fn replies(times: u64) {
    for number in 0..times {
        let (sender, receiver) = oneshot::channel();
        sender.send(number).expect("it is received");
        receiver.recv().expect("it was sent");
    }
}

fn choices(times: u64) {
    let [one, two, three, four] = [0; 4].map(|_| rendezvous());
    let senders = [one.0, two.0, three.0, four.0].map(|sender| {
        let fiber = spawn({
            let sender = sender.clone();
            move || (0..times / 4).for_each(|number| sender.send(number).expect("it is received"))
        });
        (sender, fiber)
    });
    for _ in 0..times / 4 * 4 {
        let received = choose! {
            value = one.1.recv_operation() => value,
            value = two.1.recv_operation() => value,
            value = three.1.recv_operation() => value,
            value = four.1.recv_operation() => value,
        };
        received.expect("a sender of each is here");
    }
    for (_, fiber) in senders {
        join(fiber);
    }
}

fn limits(times: u64) {
    for number in 0..times {
        timeout(Duration::from_secs(10), || black_box(number)).expect("it takes no time");
    }
}

fn connect() -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect("the host says so")
}

fn lookups(times: u64) {
    let id = connect().into_id();
    Context::with(|context| {
        let space = context.expect("this is a fiber").env().id_space();
        for _ in 0..times {
            assert!(black_box(space.is_live(black_box(id))));
        }
    });
    drop(TcpStream::from_id(id));
}

fn processes(times: u64) {
    for _ in 0..times {
        let process = Process::builder().spawn(|| ()).expect("there is no limit");
        process.join().expect("it does nothing");
    }
}

/// One request is a receive, a send and what the runtime does for both.
fn echoes(times: u64) {
    let connections = (0..CONNECTIONS).map(|_| {
        let mut stream = connect();
        spawn(move || {
            let mut message = [0; MESSAGE];
            for _ in 0..times / CONNECTIONS {
                let length = stream.read(&mut message).expect("the host says so");
                stream
                    .write_all(&message[..length])
                    .expect("the host says so");
            }
        })
    });
    connections.collect::<Vec<_>>().into_iter().for_each(join);
}

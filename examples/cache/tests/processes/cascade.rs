//! A signal ends a tree of processes, and each says its last words on its way.

use alloc::sync::Arc;
use core::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::io::{Read, Write};

use fiber::{
    Instant, Process, Runtime, defer,
    io::{
        TcpListener, TcpStream,
        signal::{Signal, Signals},
    },
    scope, spawn,
};
use host_sim::{Action, Network, Sim};

const PORT: u16 = 700;
const CONNECTIONS: usize = 1_000;
const LAST_WORDS: &[u8] = b"CANCEL_ORDERS";
const PAUSE: Duration = Duration::from_millis(1);
const SIGNAL_AT: Duration = Duration::from_secs(5);
/// What a process has by default to end.
const GRACE: Duration = Duration::from_secs(5);

/// One connection, in its process, for as long as the client wants it.
fn serve_one(stream: TcpStream) {
    let mut stream = stream.transfer_to(&Process::current()).unwrap();
    let mut last_words = stream.try_clone().unwrap();
    // It does input and output while its fiber is cancelled.
    defer(move || last_words.write_all(LAST_WORDS).unwrap());
    let _ = stream.read(&mut [0]);
}

fn accept_for_ever(listener: &TcpListener, accepted: &AtomicUsize) {
    for stream in listener.incoming() {
        let stream = stream.expect("nothing is short here");
        drop(Process::builder().spawn(move || serve_one(stream)).unwrap());
        accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gives the exit code.
fn be_gateway() -> u8 {
    let signals = Signals::new(&[Signal::Interrupt]).unwrap();
    let listener = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    let (accepted, count) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::load);
    let counted = Arc::clone(&accepted);
    drop(spawn(move || accept_for_ever(&listener, &counted)));
    assert_eq!(signals.wait(), Ok(Signal::Interrupt));
    assert_eq!(count(&accepted, Ordering::Relaxed), CONNECTIONS);
    Runtime::current().unwrap().shut_down();
    130
}

/// Whether the last words come, once and whole, before the connection ends.
fn hears_last_words(at: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(at).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    heard == LAST_WORDS
}

#[test]
fn a_signal_has_a_thousand_connections_say_their_last_words_within_their_grace() {
    // Two for each connection, since the last words have a handle of their own.
    let mut sim = Sim::new(31).descriptors_max(3_000);
    let gateway = sim.node("gateway", |env| {
        let code = Runtime::builder(env).workers(2).run(be_gateway).unwrap();
        assert_eq!(code, 130);
    });
    let at = SocketAddr::new(gateway.address().into(), PORT);
    let clients = sim.node("clients", move |env| {
        let main = || {
            let heard = AtomicUsize::new(0);
            scope(|scope| {
                for _ in 0..CONNECTIONS {
                    // A backlog does not hold all of them.
                    fiber::sleep(PAUSE);
                    scope.spawn(|| {
                        heard.fetch_add(usize::from(hears_last_words(at)), Ordering::Relaxed)
                    });
                }
            });
            assert_eq!(heard.into_inner(), CONNECTIONS);
            let over = Instant::ORIGIN + SIGNAL_AT + GRACE;
            assert!(fiber::time::now() < over, "it took longer than the grace");
        };
        Runtime::builder(env).workers(2).run(main).unwrap();
    });
    sim.at(SIGNAL_AT, Action::Signal(gateway, Signal::Interrupt));
    sim.network(Network::lan())
        .until(clients)
        .run()
        .expect_finished();
}

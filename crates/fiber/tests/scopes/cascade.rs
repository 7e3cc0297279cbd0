//! A signal that ends a server, whose connections say good-bye.

use alloc::sync::Arc;
use core::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::io::{Read, Write};

use fiber::{
    io::{
        TcpListener, TcpStream,
        signal::{Signal, Signals, raise},
    },
    scope, sleep, try_scope, yield_now,
};
use host_sim::{Action, Sim};

use crate::support::{on_linux, run_to_the_end};

const PORT: u16 = 7000;

/// Accepts so many connections, and counts those that have asked to cancel their orders before they
/// closed.
fn exchange(listener: &TcpListener, connections: usize) -> usize {
    let cancels = AtomicUsize::new(0);
    scope(|s| {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let cancels = &cancels;
            drop(s.spawn(move || {
                let mut order = [0; 6];
                while (&stream).read_exact(&mut order).is_ok() {
                    assert_eq!(&order, b"CANCEL");
                    cancels.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
    });
    cancels.into_inner()
}

/// Keeps so many connections open until a signal comes, which `ready` may send.
fn gateway(exchange: SocketAddr, connections: usize, ready: impl FnOnce()) {
    let signals = Signals::new(&[Signal::Interrupt]).unwrap();
    let open = AtomicUsize::new(0);
    let served: Result<(), _> = try_scope(|s| {
        for _ in 0..connections {
            drop(s.spawn(|| {
                let stream = TcpStream::connect(exchange).unwrap();
                scope(|s| {
                    s.defer(|| (&stream).write_all(b"CANCEL").unwrap());
                    open.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::MAX);
                });
            }));
        }
        while open.load(Ordering::SeqCst) < connections {
            sleep(Duration::from_millis(1));
        }
        ready();
        assert_eq!(signals.wait().unwrap(), Signal::Interrupt);
        s.cancel();
        yield_now();
    });
    assert!(served.is_err());
}

#[test]
fn an_interrupt_has_every_connection_send_its_last_words_in_a_simulated_world() {
    for seed in 0..3 {
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let mut sim = Sim::new(seed).descriptors_max(4096);
        let server = sim.node("exchange", move |env| {
            let serve = || {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
                exchange(&listener, 1000)
            };
            counted.store(run_to_the_end(env, 2, serve), Ordering::SeqCst);
        });
        let at = SocketAddr::from((server.address(), PORT));
        let client = sim.node("gateway", move |env| {
            run_to_the_end(env, 2, || gateway(at, 1000, || ()));
        });
        sim.at(
            Duration::from_secs(60),
            Action::Signal(client, Signal::Interrupt),
        );
        sim.run().expect_finished();
        assert_eq!(told.load(Ordering::SeqCst), 1000);
    }
}

#[test]
fn an_interrupt_has_every_connection_send_its_last_words_on_linux() {
    on_linux(2, || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let cancels = scope(|s| {
            let exchange = s.spawn(|| exchange(&listener, 100));
            gateway(at, 100, || raise(Signal::Interrupt).unwrap());
            exchange.join().unwrap()
        });
        assert_eq!(cancels, 100);
    });
}

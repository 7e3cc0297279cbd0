//! Readiness among other arms: each wins in turn, and those that lose have taken nothing.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::io::{Read, Write};

use fiber_core::{
    choose,
    operation::{Latch, Operation, timeout},
};
use fiber_io::{
    TcpStream,
    signal::{Signal, Signals, raise},
};
use fiber_sched::{sleep, spawn};

use crate::{
    LONG, MOMENT, settle,
    support::{everywhere, listener, pair, simulated},
};

#[test]
fn each_arm_wins_in_turn_and_leaves_no_request_behind() {
    everywhere(|| {
        let (client, server) = pair();
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let mut told = Vec::new();
        for round in 0..5 {
            let door = Arc::new(Latch::new());
            let opener = Arc::clone(&door);
            let address = (round == 2).then_some(address);
            let span = if round == 4 { MOMENT } else { LONG };
            let writer = client.try_clone().unwrap();
            let partner = spawn(move || {
                sleep(MOMENT);
                match round {
                    0 => (&writer).write_all(b"x").unwrap(),
                    1 => drop(opener.open()),
                    2 => drop(TcpStream::connect(address.unwrap()).unwrap()),
                    _ => {}
                }
            });
            let mut child = spawn(move || {
                let rest = if round == 3 { MOMENT } else { LONG };
                sleep(rest);
            });
            told.push(choose! {
                ready = server.readable_operation() => {
                    ready.unwrap();
                    assert_eq!(server.try_read(&mut [0; 8]).unwrap(), Some(1));
                    0
                }
                () = door.wait_operation("a door") => 1,
                accepted = listener.accept_operation() => {
                    accepted.unwrap();
                    2
                }
                ended = child.join_operation() => {
                    ended.unwrap();
                    3
                }
                () = timeout(span) => 4,
            });
            child.cancel();
            partner.join().unwrap();
            settle();
        }
        assert_eq!(told, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn bytes_stay_where_they_are_when_another_arm_wins() {
    everywhere(|| {
        const BYTES: usize = 300;
        let (client, server) = pair();
        let writer = spawn(move || {
            for byte in 0..BYTES {
                (&client).write_all(&[byte.to_le_bytes()[0]]).unwrap();
                if byte % 7 == 0 {
                    sleep(Duration::from_micros(byte as u64));
                }
            }
        });
        let mut got = Vec::new();
        loop {
            let span = Duration::from_micros(got.len() as u64 % 60);
            choose! {
                ready = server.readable_operation() => ready.unwrap(),
                () = timeout(span) => continue,
            }
            let mut bytes = [0; 3];
            match server.try_read(&mut bytes).unwrap() {
                Some(0) => break,
                Some(count) => got.extend_from_slice(&bytes[..count]),
                None => panic!("nobody else reads"),
            }
        }
        let all: Vec<u8> = (0..BYTES).map(|byte| byte.to_le_bytes()[0]).collect();
        assert_eq!(got, all);
        writer.join().unwrap();
        settle();
    });
}

#[test]
fn connections_go_to_one_acceptor_each_however_many_want_them() {
    everywhere(|| {
        const CLIENTS: usize = 12;
        let (listener, accepted) = (Arc::new(listener()), Arc::new(AtomicUsize::new(0)));
        let address = listener.local_addr().unwrap();
        let done = Arc::new(Latch::new());
        let acceptors: Vec<_> = (0..4)
            .map(|which| {
                let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
                let done = Arc::clone(&done);
                spawn(move || {
                    loop {
                        let span = Duration::from_micros(50 * (which + 1));
                        choose! {
                            connection = listener.accept_operation() => {
                                let (stream, _) = connection.unwrap();
                                (&stream).write_all(b"hello").unwrap();
                                accepted.fetch_add(1, Ordering::Relaxed);
                            }
                            () = done.wait_operation("the last client") => break,
                            () = timeout(span) => {}
                        }
                    }
                })
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.read_exact(&mut [0; 5]).unwrap();
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        done.open();
        for acceptor in acceptors {
            acceptor.join().unwrap();
        }
        assert_eq!(accepted.load(Ordering::Relaxed), CLIENTS);
        settle();
    });
}

#[test]
fn a_signal_is_an_arm_and_is_still_there_when_another_wins() {
    simulated(|| {
        let signals = Signals::new(&[Signal::User1]).unwrap();
        for _ in 0..3 {
            let waited = signals.wait_operation().perform_timeout(MOMENT);
            waited.expect_err("nobody has sent one");
            let sender = spawn(|| {
                sleep(MOMENT);
                raise(Signal::User1).unwrap();
            });
            let told = choose! {
                signal = signals.wait_operation() => signal.unwrap(),
                () = timeout(LONG) => Signal::Quit,
            };
            assert_eq!(told, Signal::User1);
            assert_eq!(signals.try_wait().unwrap(), None, "told once");
            sender.join().unwrap();
        }
        let door = Latch::new();
        door.open();
        let lost = (0..20).filter(|_| {
            raise(Signal::User1).unwrap();
            sleep(MOMENT);
            choose! {
                signal = signals.wait_operation() => {
                    signal.unwrap();
                    false
                }
                () = door.wait_operation("a door") => {
                    assert_eq!(signals.try_wait().unwrap(), Some(Signal::User1));
                    true
                }
            }
        });
        assert!((1..20).contains(&lost.count()), "each wins sometimes");
        settle();
    });
}

//! Listening, connecting, accepting, closing.

extern crate std;

use alloc::vec::Vec;
use core::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
};
use std::sync::{Mutex, PoisonError};

use super::{
    bench::{Bench, NETWORK},
    rig::PATIENCE,
};
use crate::{
    IoErrorKind,
    env::{TryNow, Wait},
    request::{
        End, Extent, Outcome, RawDescriptor, Request, RequestKind, Shutdown, SocketOption, Token,
    },
};

const NOWHERE: RawDescriptor = RawDescriptor(i32::MAX.cast_unsigned());

pub(super) fn what_a_host_does_not_offer_is_unsupported(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let caps = *rig.env.caps();
        let unsupported = |outcome| {
            matches!(outcome, Outcome::Failed(error) if error.kind() == IoErrorKind::Unsupported)
        };
        let descriptor = NOWHERE;
        let immediate = [
            Request::Shutdown {
                descriptor,
                how: Shutdown::Both,
            },
            Request::Duplicate { descriptor },
            Request::ReadOption {
                descriptor,
                option: SocketOption::NoDelay,
            },
        ];
        for request in immediate.iter().filter(|request| !caps.has(request.kind())) {
            assert!(unsupported(rig.now(request)), "{:?} is not offered", request.kind());
        }
        let mut staged = Vec::new();
        if !caps.has(RequestKind::Recv) {
            staged.push(rig.recv(descriptor, 8, Extent::Some));
        }
        if !caps.has(RequestKind::Send) {
            staged.push(rig.send(descriptor, b"nothing", Extent::All));
        }
        if !caps.has(RequestKind::Accept) {
            staged.push(rig.accept(descriptor));
        }
        if !caps.has(RequestKind::Connect) {
            staged.push(rig.connect(rig.listen));
        }
        for token in staged {
            assert!(unsupported(rig.finish(token).outcome), "it is not offered");
        }
    });
}

pub(super) fn immediate_requests_are_answered_at_once(bench: &Bench<'_>) {
    let more = &[
        RequestKind::SetOption,
        RequestKind::ReadOption,
        RequestKind::Duplicate,
        RequestKind::Shutdown,
    ];
    bench.port(&[NETWORK, more], |rig| {
        let pair = rig.pair();
        let descriptor = pair.client;
        let option = SocketOption::NoDelay;
        for value in [1, 0] {
            let outcome = rig.now(&Request::SetOption {
                descriptor,
                option,
                value,
            });
            assert_eq!(outcome, Outcome::Done(0), "NoDelay can be set");
            let read = rig.now(&Request::ReadOption { descriptor, option });
            let set = matches!(read, Outcome::Done(now) if (now != 0) == (value != 0));
            assert!(set, "NoDelay was set to {value} and reads as {read:?}");
        }
        let error = rig.now(&Request::ReadOption {
            descriptor,
            option: SocketOption::Error,
        });
        assert_eq!(error, Outcome::Done(0), "a healthy connection has no error");
        let second = rig.duplicate(descriptor);
        rig.close(second);
        let how = Shutdown::Both;
        assert_eq!(
            rig.now(&Request::Shutdown { descriptor, how }),
            Outcome::Done(0)
        );
    });
}

pub(super) fn a_listener_at_port_zero_has_an_address(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (first, one) = rig.listener(4);
        let (_, two) = rig.listener(4);
        assert_ne!(one.port(), 0, "a free port was chosen");
        assert_ne!(one, two, "two listeners have two addresses");
        let again = rig.listen_at(one, 4);
        let in_use =
            matches!(again, Outcome::Failed(error) if error.kind() == IoErrorKind::AddrInUse);
        assert!(in_use, "the address {one} is taken, but: {again:?}");
        rig.close(first);
        let again = rig.listen_at(one, 4);
        assert!(
            matches!(again, Outcome::Opened(_)),
            "the address {one} is free: {again:?}"
        );
    });
}

pub(super) fn both_ends_agree_on_their_addresses(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (listener, address) = rig.listener(4);
        let (accept, connect) = (rig.accept(listener), rig.connect(address));
        let client = rig.finish(connect).opened();
        let accepted = rig.finish(accept);
        let server = accepted.opened();
        let local = rig.address(client, End::Local);
        assert_eq!(rig.address(client, End::Peer), address);
        assert_eq!(rig.address(server, End::Local), address);
        assert_eq!(rig.address(server, End::Peer), local);
        assert_eq!(
            accepted.address,
            Some(local),
            "Accept writes the peer's address"
        );
    });
}

pub(super) fn nobody_listens_is_connection_refused(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (listener, address) = rig.listener(4);
        rig.close(listener);
        for _ in 0..3 {
            let token = rig.connect(address);
            let ended = rig.finish(token);
            assert_eq!(
                ended.error(),
                Some(IoErrorKind::ConnectionRefused),
                "nobody listens at {address}, but: {:?}",
                ended.outcome
            );
        }
    });
}

pub(super) fn an_echo_brings_back_the_same_bytes(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        for len in [1, 2, 63, 1000, 4096, 30_000] {
            let bytes: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[0] ^ 0x35).collect();
            rig.send_all(pair.client, &bytes);
            let there = rig.recv_all(pair.server, bytes.len());
            assert_eq!(there, bytes, "on the way there");
            rig.send_all(pair.server, &there);
            assert_eq!(
                rig.recv_all(pair.client, bytes.len()),
                bytes,
                "on the way back"
            );
        }
        rig.close_pair(pair);
    });
}

pub(super) fn connections_wait_in_the_backlog_until_they_are_accepted(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (listener, address) = rig.listener(16);
        let connects: Vec<Token> = (0..8).map(|_| rig.connect(address)).collect();
        let clients: Vec<RawDescriptor> = connects
            .into_iter()
            .map(|token| rig.finish(token).opened())
            .collect();
        for (&client, mark) in clients.iter().zip(1u8..) {
            rig.send_all(client, &[mark]);
        }
        let mut marks = Vec::new();
        for _ in &clients {
            let token = rig.accept(listener);
            let server = rig.finish(token).opened();
            marks.extend(rig.recv_all(server, 1));
        }
        marks.sort_unstable();
        assert_eq!(
            marks,
            (1..=8).collect::<Vec<u8>>(),
            "each client is accepted once"
        );
    });
}

pub(super) fn an_armed_accept_serves_each_client_once(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (listener, address) = rig.listener(16);
        let accepts: Vec<Token> = (0..4).map(|_| rig.accept(listener)).collect();
        rig.watch();
        assert!(
            accepts.iter().all(|&token| rig.is_pending(token)),
            "nobody has connected"
        );
        let peers = connect_in_turn(rig, address, 4);
        let mut seen: Vec<SocketAddr> = Vec::new();
        for token in accepts {
            let ended = rig.finish(token);
            ended.opened();
            seen.extend(ended.address);
        }
        seen.sort_unstable();
        assert_eq!(seen, peers, "four clients, four accepts");
    });
}

fn connect_in_turn(
    rig: &mut super::rig::Rig<'_>,
    address: SocketAddr,
    n: usize,
) -> Vec<SocketAddr> {
    let mut peers = Vec::new();
    for _ in 0..n {
        let token = rig.connect(address);
        let client = rig.finish(token).opened();
        peers.push(rig.address(client, End::Local));
    }
    peers.sort_unstable();
    peers
}

pub(super) fn a_client_that_has_gone_can_still_be_accepted(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (listener, address) = rig.listener(16);
        let token = rig.connect(address);
        let client = rig.finish(token).opened();
        rig.send_all(client, b"last words");
        rig.close(client);
        rig.watch();
        let token = rig.accept(listener);
        let ended = rig.finish(token);
        if ended.error() == Some(IoErrorKind::ConnectionAborted) {
            return;
        }
        assert_eq!(rig.recv_to_end(ended.opened()), b"last words");
    });
}

pub(super) fn a_duplicate_keeps_the_connection_open(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Duplicate]], |rig| {
        let pair = rig.pair();
        let second = rig.duplicate(pair.server);
        rig.close(pair.server);
        rig.send_all(pair.client, b"still here");
        assert_eq!(rig.recv_all(second, 10), b"still here");
        let token = rig.recv(pair.client, 8, Extent::Some);
        rig.watch();
        assert!(
            rig.is_pending(token),
            "one of two descriptors was closed: no end yet"
        );
        rig.close(second);
        assert_eq!(rig.finish(token).done(), 0, "both are closed: the end");
    });
}

pub(super) fn a_duplicate_of_a_listener_accepts_as_well(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Duplicate]], |rig| {
        let (listener, address) = rig.listener(4);
        let second = rig.duplicate(listener);
        rig.close(listener);
        let (client, server) = rig.join(second, address);
        rig.send_all(client, b"hello");
        assert_eq!(rig.recv_all(server, 5), b"hello");
    });
}

pub(super) fn a_close_is_the_end_of_the_peers_stream(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.server, 8, Extent::Some);
        rig.watch();
        assert!(
            rig.is_pending(token),
            "nothing was sent and nothing was closed"
        );
        rig.close(pair.client);
        assert_eq!(rig.finish(token).done(), 0, "the end of the stream");
    });
}

pub(super) fn a_reused_number_has_nothing_of_its_predecessor(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (listener, address) = rig.listener(16);
        for round in 0..40u8 {
            let (client, server) = rig.join(listener, address);
            let armed = [
                rig.recv(server, 16, Extent::Some),
                rig.recv(client, 16, Extent::All),
            ];
            if round % 2 == 0 {
                rig.turn(Wait::No);
            }
            armed.iter().for_each(|&token| rig.cancel(token));
            for token in armed {
                assert!(
                    rig.finish(token).is_cancelled(),
                    "there was nothing to receive"
                );
            }
            rig.send_all(client, &[round]);
            if round % 3 != 0 {
                assert_eq!(rig.recv_all(server, 1), [round], "another round's byte");
            }
            rig.close(client);
            rig.close(server);
        }
    });
}

pub(super) fn try_now_never_waits(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let (empty, _) = rig.recv_now(pair.server, 8);
        let readable = TryNow::WouldBlock(crate::request::Interest::Readable);
        assert!(
            [readable, TryNow::NotPossible].contains(&empty),
            "there is nothing to receive, but: {empty:?}"
        );
        rig.send_all(pair.client, b"now");
        if empty == TryNow::NotPossible {
            return;
        }
        let mut got = Vec::new();
        rig.until("the arrival of three bytes", |rig| {
            let (answer, bytes) = rig.recv_now(pair.server, 8);
            if answer != readable {
                assert_eq!(answer, TryNow::Done(Outcome::Done(bytes.len() as u64)));
                got.extend(bytes);
            }
            got.len() == 3
        });
        assert_eq!(got, b"now");
    });
}

pub(super) fn workers_talk_to_each_other(bench: &Bench<'_>) {
    const ROUNDS: u8 = 20;
    let place: Mutex<Option<SocketAddr>> = Mutex::new(None);
    let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
    bench.ports(2, &[NETWORK], |rig, worker| {
        let limit = rig.env.now() + PATIENCE;
        if worker.index() == 0 {
            let (listener, address) = rig.listener(4);
            *lock() = Some(address);
            let token = rig.accept(listener);
            let server = rig.finish(token).opened();
            for round in 0..ROUNDS {
                assert_eq!(rig.recv_all(server, 1), [round], "a byte of another round");
                rig.send_all(server, &[round, round]);
            }
            return;
        }
        rig.until("the other worker's listener", |_| lock().is_some());
        let address = *lock();
        let token = rig.connect(address.expect("waited for"));
        let client = rig.finish(token).opened();
        for round in 0..ROUNDS {
            rig.send_all(client, &[round]);
            assert_eq!(
                rig.recv_all(client, 2),
                [round; 2],
                "a byte of another round"
            );
        }
        assert!(
            rig.env.now() < limit,
            "bytes from another worker do not end a wait"
        );
    });
}

pub(super) fn a_descriptor_works_on_every_worker(bench: &Bench<'_>) {
    let shared: Mutex<Option<RawDescriptor>> = Mutex::new(None);
    let over = AtomicBool::new(false);
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    bench.ports(2, &[NETWORK], |rig, worker| {
        if worker.index() == 0 {
            let pair = rig.pair();
            rig.send_all(pair.client, b"from there");
            *lock() = Some(pair.server);
            rig.until("the other worker's use", |_| over.load(Ordering::Acquire));
            assert_eq!(rig.recv_all(pair.client, 4), b"back");
            return;
        }
        rig.until("the other worker's connection", |_| lock().is_some());
        let server = lock().expect("waited for");
        assert_eq!(rig.recv_all(server, 10), b"from there");
        rig.send_all(server, b"back");
        over.store(true, Ordering::Release);
    });
}

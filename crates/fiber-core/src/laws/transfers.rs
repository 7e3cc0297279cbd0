//! Bytes: what arrives, in which order, how much at once, and how streams end.

use alloc::vec::Vec;

use super::{
    bench::{Bench, NETWORK},
    rig::Rig,
};
use crate::{
    IoErrorKind,
    env::TryNow,
    request::{Extent, Interest, Outcome, RawDescriptor, Request, RequestKind, Shutdown, Token},
};

/// `len` bytes of a stream, from position `from`, each telling something of its place.
pub(super) fn pattern(from: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0];
    (from..from + len).map(byte).collect()
}

pub(super) fn recv_some_takes_what_is_there(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.server, 4096, Extent::Some);
        rig.watch();
        assert!(rig.is_pending(token), "nothing was sent yet");
        rig.send_all(pair.client, b"some");
        let mut got = rig.finish(token).bytes;
        assert!(!got.is_empty(), "there is no end of the stream");
        while got.len() < 4 {
            let token = rig.recv(pair.server, 4096, Extent::Some);
            got.extend(rig.finish(token).bytes);
        }
        assert_eq!(got, b"some");
    });
}

pub(super) fn recv_all_waits_for_every_byte(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.server, 3000, Extent::All);
        for part in 0..3 {
            rig.watch();
            assert!(
                rig.is_pending(token),
                "{part} thousand of three thousand bytes"
            );
            rig.send_all(pair.client, &pattern(part * 1000, 1000));
        }
        let ended = rig.finish(token);
        assert_eq!((ended.done(), ended.bytes), (3000, pattern(0, 3000)));
    });
}

pub(super) fn recv_all_is_cut_short_by_the_end(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.server, 100, Extent::All);
        rig.send_all(pair.client, b"short");
        rig.close(pair.client);
        let ended = rig.finish(token);
        assert_eq!((ended.done(), &*ended.bytes), (5, &b"short"[..]));
        let token = rig.recv(pair.server, 100, Extent::All);
        assert_eq!(rig.finish(token).done(), 0, "the end of the stream");
    });
}

pub(super) fn the_end_of_the_stream_stays(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        rig.send_all(pair.client, b"bye");
        rig.close(pair.client);
        assert_eq!(
            rig.recv_to_end(pair.server),
            b"bye",
            "what was sent comes first"
        );
        for _ in 0..3 {
            let token = rig.recv(pair.server, 8, Extent::Some);
            assert_eq!(rig.finish(token).done(), 0, "the end again");
        }
    });
}

pub(super) fn small_sends_arrive_in_their_order(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        for batch in 0..8 {
            let sends: Vec<Token> = (0..32)
                .map(|part| {
                    let bytes = pattern((batch * 32 + part) * 10, 10);
                    rig.send(pair.client, &bytes, Extent::All)
                })
                .collect();
            let bytes = rig.recv_all(pair.server, 320);
            assert_eq!(bytes, pattern(batch * 320, 320), "out of order");
            for &token in &sends {
                assert_eq!(rig.finish(token).done(), 10);
            }
            let order = rig.order().iter().filter(|token| sends.contains(token));
            assert!(
                order.eq(&sends),
                "sends completed in another order than they happened"
            );
        }
    });
}

pub(super) fn send_all_reaches_a_slow_reader_whole(bench: &Bench<'_>) {
    const TOTAL: usize = 4 << 20;
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let send = rig.send(pair.client, &pattern(0, TOTAL), Extent::All);
        rig.watch();
        let mut received = 0;
        while received < TOTAL {
            let len = 64 << 10;
            let token = rig.recv(pair.server, len, Extent::Some);
            let bytes = rig.finish(token).bytes;
            assert!(!bytes.is_empty(), "the stream ended after {received} bytes");
            assert!(
                bytes == pattern(received, bytes.len()),
                "other bytes after {received}"
            );
            received += bytes.len();
        }
        assert_eq!(rig.finish(send).done(), TOTAL, "Send All sends all");
    });
}

pub(super) fn both_directions_flow_at_once(bench: &Bench<'_>) {
    const TOTAL: usize = 1 << 20;
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let ends = [pair.client, pair.server];
        let sends = ends.map(|end| rig.send(end, &pattern(0, TOTAL), Extent::All));
        let recvs = ends.map(|end| rig.recv(end, TOTAL, Extent::All));
        for token in recvs {
            assert!(rig.finish(token).bytes == pattern(0, TOTAL), "other bytes");
        }
        for token in sends {
            assert_eq!(rig.finish(token).done(), TOTAL);
        }
    });
}

pub(super) fn vectored_transfers_keep_the_order_of_their_buffers(bench: &Bench<'_>) {
    let vectored = &[RequestKind::RecvVectored, RequestKind::SendVectored];
    bench.port(&[NETWORK, vectored], |rig| {
        let pair = rig.pair();
        let bytes = pattern(0, 600);
        let parts = [&bytes[..1], &bytes[1..1], &bytes[1..300], &bytes[300..]];
        let token = rig.send_vectored(pair.client, &parts);
        let mut sent = rig.finish(token).done();
        assert!((1..=600).contains(&sent), "{sent} of 600 bytes were sent");
        rig.send_all(pair.client, &bytes[sent..]);
        sent = 600;
        let mut got = Vec::new();
        while got.len() < sent {
            let token = rig.recv_vectored(pair.server, &[100, 0, 1, 250, 300]);
            let ended = rig.finish(token);
            assert!(ended.done() > 0, "the stream has not ended");
            got.extend(ended.bytes);
        }
        assert_eq!(got, bytes);
        rig.close(pair.client);
        let token = rig.recv_vectored(pair.server, &[10, 10]);
        assert_eq!(rig.finish(token).done(), 0, "the end of the stream");
    });
}

pub(super) fn a_half_shut_connection_works_the_other_way(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Shutdown]], |rig| {
        let pair = rig.pair();
        rig.send_all(pair.client, b"question");
        let answer = rig.recv(pair.client, 6, Extent::All);
        let shut = Request::Shutdown {
            descriptor: pair.client,
            how: Shutdown::Write,
        };
        assert_eq!(rig.now(&shut), Outcome::Done(0));
        assert_eq!(rig.recv_to_end(pair.server), b"question");
        rig.send_all(pair.server, b"answer");
        assert_eq!(rig.finish(answer).bytes, b"answer");
        let token = rig.send(pair.client, b"more", Extent::All);
        assert_eq!(rig.finish(token).error(), Some(IoErrorKind::BrokenPipe));
    });
}

pub(super) fn a_shutdown_ends_a_waiting_recv(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Shutdown]], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.server, 8, Extent::Some);
        rig.watch();
        assert!(rig.is_pending(token), "nothing was sent");
        let shut = Request::Shutdown {
            descriptor: pair.server,
            how: Shutdown::Both,
        };
        assert_eq!(rig.now(&shut), Outcome::Done(0));
        assert_eq!(rig.finish(token).done(), 0, "no more reading: the end");
    });
}

pub(super) fn writing_to_a_peer_that_has_gone_fails(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        rig.close(pair.server);
        let mut error = None;
        rig.until("an error of a write to a closed connection", |rig| {
            let token = rig.send(pair.client, b"hello?", Extent::All);
            error = rig.finish(token).error();
            error.is_some()
        });
        let fitting = [IoErrorKind::BrokenPipe, IoErrorKind::ConnectionReset];
        assert!(
            error.is_some_and(|kind| fitting.contains(&kind)),
            "{error:?}"
        );
    });
}

pub(super) fn readiness_to_read_comes_with_the_bytes(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Ready]], |rig| {
        let pair = rig.pair();
        let waiters = [(); 3].map(|()| rig.ready(pair.server, Interest::Readable));
        rig.watch();
        assert!(
            waiters.iter().all(|&token| rig.is_pending(token)),
            "nothing was sent"
        );
        rig.send_all(pair.client, b"ready");
        for token in waiters {
            assert_eq!(rig.finish(token).outcome, Outcome::Done(0));
        }
        let token = rig.ready(pair.server, Interest::Readable);
        assert_eq!(
            rig.finish(token).outcome,
            Outcome::Done(0),
            "it is still ready"
        );
        assert_eq!(take(rig, pair.server, 5), b"ready");
        let token = rig.ready(pair.server, Interest::Readable);
        rig.watch();
        assert!(rig.is_pending(token), "everything was taken");
        rig.close(pair.client);
        assert_eq!(
            rig.finish(token).outcome,
            Outcome::Done(0),
            "the end can be read"
        );
    });
}

/// Receives `len` bytes that have arrived, without waiting where the host can do that.
fn take(rig: &mut Rig<'_>, descriptor: RawDescriptor, len: usize) -> Vec<u8> {
    match rig.recv_now(descriptor, len) {
        (TryNow::NotPossible, _) => rig.recv_all(descriptor, len),
        (TryNow::Done(Outcome::Done(_)), mut bytes) => {
            if bytes.len() < len {
                bytes.extend(rig.recv_all(descriptor, len - bytes.len()));
            }
            bytes
        }
        (other, _) => panic!("the descriptor is ready, but: {other:?}"),
    }
}

pub(super) fn readiness_of_a_listener_means_a_connection(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Ready]], |rig| {
        let (listener, address) = rig.listener(4);
        let token = rig.ready(listener, Interest::Readable);
        rig.watch();
        assert!(rig.is_pending(token), "nobody has connected");
        let connect = rig.connect(address);
        assert_eq!(rig.finish(token).outcome, Outcome::Done(0));
        rig.finish(connect).opened();
        let accept = rig.accept(listener);
        rig.finish(accept).opened();
    });
}

pub(super) fn readiness_to_write_comes_with_room(bench: &Bench<'_>) {
    const MOST: usize = 64 << 20;
    bench.port(&[NETWORK, &[RequestKind::Ready]], |rig| {
        let pair = rig.pair();
        let token = rig.ready(pair.client, Interest::Writable);
        assert_eq!(
            rig.finish(token).outcome,
            Outcome::Done(0),
            "a fresh one has room"
        );
        let mut sent = 0;
        loop {
            match rig.send_now(pair.client, &pattern(sent, 64 << 10)) {
                TryNow::Done(Outcome::Done(number)) => {
                    sent += usize::try_from(number).expect("a count of bytes");
                }
                TryNow::WouldBlock(interest) => {
                    assert_eq!(interest, Interest::Writable);
                    break;
                }
                TryNow::NotPossible => return,
                TryNow::Done(other) => panic!("a send to a full connection: {other:?}"),
            }
            assert!(sent < MOST, "a connection buffers without bound");
        }
        let token = rig.ready(pair.client, Interest::Writable);
        let mut received = 0;
        while received < sent {
            let len = (sent - received).min(64 << 10);
            let bytes = rig.recv_all(pair.server, len);
            assert!(
                bytes == pattern(received, len),
                "other bytes after {received}"
            );
            received += len;
        }
        assert_eq!(
            rig.finish(token).outcome,
            Outcome::Done(0),
            "there is room again"
        );
    });
}

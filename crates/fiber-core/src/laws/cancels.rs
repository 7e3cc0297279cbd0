//! Cancelling: one completion each, and no byte lost.

use alloc::vec::Vec;

use super::{
    bench::{Bench, NETWORK},
    rig::Rig,
    transfers::pattern,
};
use crate::{
    IoErrorKind,
    env::Wait,
    request::{Extent, Interest, Outcome, Request, RequestKind, Token},
};

pub(super) fn a_cancelled_recv_completes_once_as_cancelled(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        for extent in [Extent::Some, Extent::All] {
            let token = rig.recv(pair.server, 64, extent);
            rig.watch();
            rig.cancel(token);
            rig.cancel(token);
            assert!(
                rig.finish(token).is_cancelled(),
                "{extent:?}: nothing was sent"
            );
            rig.watch();
        }
        rig.send_all(pair.client, b"after");
        assert_eq!(
            rig.recv_all(pair.server, 5),
            b"after",
            "the connection is unharmed"
        );
    });
}

pub(super) fn a_cancel_in_the_turn_of_its_request_works(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.server, 64, Extent::Some);
        rig.cancel(token);
        assert!(rig.finish(token).is_cancelled(), "nothing was sent");
    });
}

pub(super) fn a_cancelled_accept_takes_no_connection(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (listener, address) = rig.listener(4);
        let token = rig.accept(listener);
        rig.watch();
        rig.cancel(token);
        assert!(rig.finish(token).is_cancelled(), "nobody has connected");
        let (client, server) = rig.join(listener, address);
        rig.send_all(client, b"x");
        assert_eq!(rig.recv_all(server, 1), b"x");
    });
}

pub(super) fn a_cancelled_ready_completes_once_as_cancelled(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Ready]], |rig| {
        let pair = rig.pair();
        let gone = rig.ready(pair.server, Interest::Readable);
        let stays = rig.ready(pair.server, Interest::Readable);
        rig.watch();
        rig.cancel(gone);
        assert!(rig.finish(gone).is_cancelled(), "nothing was sent");
        rig.watch();
        assert!(rig.is_pending(stays), "only one of two was cancelled");
        rig.send_all(pair.client, b"x");
        assert_eq!(rig.finish(stays).outcome, Outcome::Done(0));
    });
}

pub(super) fn a_cancel_that_races_with_readiness_ends_it_once(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::Ready]], |rig| {
        let pair = rig.pair();
        for round in 0..60 {
            let ready = rig.ready(pair.server, Interest::Readable);
            if round % 2 == 0 {
                rig.turn(Wait::No);
            }
            let sent = (round % 3 == 0).then(|| rig.send(pair.client, b"x", Extent::All));
            if round % 4 < 2 {
                rig.turn(Wait::No);
            }
            rig.cancel(ready);
            if round % 5 == 0 {
                rig.cancel(ready);
            }
            let ended = rig.finish(ready);
            let Some(sent) = sent else {
                assert!(ended.is_cancelled(), "nothing was sent");
                continue;
            };
            let fine = ended.is_cancelled() || ended.outcome == Outcome::Done(0);
            assert!(fine, "it ended with {:?}", ended.outcome);
            assert_eq!(rig.finish(sent).done(), 1);
            let again = rig.ready(pair.server, Interest::Readable);
            assert_eq!(rig.finish(again).outcome, Outcome::Done(0));
            assert_eq!(rig.recv_all(pair.server, 1), b"x", "it is still there");
        }
    });
}

pub(super) fn a_cancelled_connect_ends_either_way(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let (_, address) = rig.listener(1);
        // Nobody accepts: at some point connections cannot be made any more.
        let connects: Vec<Token> = (0..12).map(|_| rig.connect(address)).collect();
        rig.watch();
        connects.iter().for_each(|&token| rig.cancel(token));
        for token in connects {
            let ended = rig.finish(token);
            let fine = match ended.error() {
                None => matches!(ended.outcome, Outcome::Opened(_)),
                Some(kind) => {
                    [IoErrorKind::Cancelled, IoErrorKind::ConnectionRefused].contains(&kind)
                }
            };
            assert!(fine, "a cancelled connect ended with {:?}", ended.outcome);
        }
    });
}

pub(super) fn a_cancelled_send_tells_how_much_was_sent(bench: &Bench<'_>) {
    const TOTAL: usize = 32 << 20;
    bench.port(&[NETWORK], |rig| {
        if !rig.env.caps().lossless_cancel {
            return;
        }
        let pair = rig.pair();
        let token = rig.send(pair.client, &pattern(0, TOTAL), Extent::All);
        rig.watch();
        assert!(rig.is_pending(token), "a connection buffers without bound");
        rig.cancel(token);
        let ended = rig.finish(token);
        let sent = if ended.is_cancelled() {
            0
        } else {
            ended.done()
        };
        assert!(sent < TOTAL, "nobody has received");
        rig.close(pair.client);
        let got = rig.recv_to_end(pair.server);
        assert_eq!(
            got.len(),
            sent,
            "what was sent and what was reported differ"
        );
        assert!(got == pattern(0, sent), "other bytes");
    });
}

pub(super) fn a_cancel_that_races_with_bytes_loses_none(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        for round in 0..60 {
            let extent = [Extent::Some, Extent::All][round % 2];
            race(rig, pair.client, pair.server, extent, round);
        }
    });
}

/// Sends eight bytes, some before and some after a cancel of the receiver, and collects them.
fn race(
    rig: &mut Rig<'_>,
    client: crate::request::RawDescriptor,
    server: crate::request::RawDescriptor,
    extent: Extent,
    round: usize,
) {
    let bytes = pattern(round * 8, 8);
    let recv = rig.recv(server, 8, extent);
    if round % 4 < 2 {
        rig.turn(Wait::No);
    }
    let first = rig.send(client, &bytes[..5], Extent::All);
    if round.is_multiple_of(3) {
        rig.turn(Wait::No);
    }
    rig.cancel(recv);
    let second = rig.send(client, &bytes[5..], Extent::All);
    let ended = rig.finish(recv);
    let mut got = if ended.is_cancelled() {
        if !rig.env.caps().lossless_cancel {
            // Bytes may be lost here; what follows must not hang on them.
            rig.finish(first);
            rig.finish(second);
            while rig.recv_or_give_up(server).is_some() {}
            return;
        }
        Vec::new()
    } else {
        assert!(ended.done() > 0, "the stream has not ended");
        ended.bytes
    };
    assert_eq!(rig.finish(first).done(), 5);
    assert_eq!(rig.finish(second).done(), 3);
    if got.len() < 8 {
        got.extend(rig.recv_all(server, 8 - got.len()));
    }
    assert_eq!(
        got, bytes,
        "bytes were lost, doubled or mixed up by a cancel"
    );
}

pub(super) fn unknown_tokens_are_ignored(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let armed = rig.recv(pair.server, 8, Extent::Some);
        rig.cancel(Token::new(1 << 20, 7));
        rig.cancel(Token::new((1 << 30) - 1, u32::MAX));
        rig.cancel(Token::QUIET);
        let own = rig.token();
        rig.plain_as(own, Request::Cancel { token: own });
        let over = rig.send(pair.client, b"", Extent::All);
        rig.finish(over);
        rig.cancel(over);
        rig.watch();
        assert!(rig.is_pending(armed), "none of these cancels was for it");
    });
}

pub(super) fn a_cancel_for_an_old_generation_hits_nothing(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let slot = rig.token().slot();
        for generation in 2..12 {
            let (old, new) = (
                Token::new(slot, generation - 1),
                Token::new(slot, generation),
            );
            rig.recv_as(new, pair.server, 8, Extent::Some);
            rig.turn(Wait::No);
            rig.cancel(old);
            rig.turn(Wait::No);
            rig.watch();
            assert!(rig.is_pending(new), "a cancel for {old:?} has hit {new:?}");
            rig.cancel(new);
            assert!(rig.finish(new).is_cancelled(), "nothing was sent");
        }
    });
}

pub(super) fn cancel_all_on_hits_one_descriptor_only(bench: &Bench<'_>) {
    bench.port(&[NETWORK, &[RequestKind::CancelAllOn]], |rig| {
        let (here, there) = (rig.pair(), rig.pair());
        let mut hit = alloc::vec![rig.recv(here.server, 8, Extent::All)];
        let mut spared = alloc::vec![
            rig.recv(here.client, 8, Extent::Some),
            rig.recv(there.server, 8, Extent::Some),
            rig.accept(here.listener),
        ];
        if rig.env.caps().has(RequestKind::Ready) {
            hit.push(rig.ready(here.server, Interest::Readable));
            spared.push(rig.ready(there.server, Interest::Readable));
        }
        rig.watch();
        rig.plain(Request::CancelAllOn {
            descriptor: here.server,
        });
        for token in hit {
            assert!(
                rig.finish(token).is_cancelled(),
                "it waited on the descriptor"
            );
        }
        rig.watch();
        for &token in &spared {
            assert!(rig.is_pending(token), "it waits on another descriptor");
        }
        rig.send_all(there.client, b"x");
        rig.send_all(here.client, b"y");
        assert_eq!(
            rig.recv_all(here.server, 1),
            b"y",
            "the descriptor works on"
        );
    });
}

pub(super) fn a_connection_goes_on_after_a_storm_of_cancels(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        for round in 0..200u32 {
            let token = rig.recv(pair.server, 8, Extent::Some);
            if round % 2 == 0 {
                rig.turn(Wait::No);
            }
            rig.cancel(token);
            if round % 7 == 0 {
                rig.turn(Wait::No);
            }
        }
        rig.until("the end of two hundred cancelled requests", |rig| {
            rig.pending().is_empty()
        });
        rig.send_all(pair.client, b"alive");
        assert_eq!(rig.recv_all(pair.server, 5), b"alive");
    });
}

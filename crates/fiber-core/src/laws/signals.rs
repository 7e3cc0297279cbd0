//! Signals: who is told of one, and that none is lost.
//!
//! Signals are sent to a whole process, so these laws run one at a time in it.

extern crate std;

use alloc::vec::Vec;
use std::sync::{Mutex, PoisonError};

use super::{bench::Bench, rig::Rig};
use crate::{
    IoErrorKind,
    env::TryNow,
    request::{Extent, Interest, Outcome, RawDescriptor, Request, RequestKind},
    signal::{Signal, SignalSet},
};

/// What signals need.
const SIGNALS: &[RequestKind] = &[
    RequestKind::OpenSignals,
    RequestKind::RaiseSignal,
    RequestKind::Recv,
    RequestKind::Close,
    RequestKind::Cancel,
];

/// Runs `body` with a port, if the host offers signals and these kinds of requests.
fn alone(bench: &Bench<'_>, more: &[RequestKind], body: impl Fn(&mut Rig<'_>) + Sync) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    bench.port(&[SIGNALS, more], body);
}

#[track_caller]
fn open(rig: &mut Rig<'_>, signals: &[Signal]) -> RawDescriptor {
    let set = SignalSet::new(signals);
    match rig.now(&Request::OpenSignals { set }) {
        Outcome::Opened(raw) => raw,
        other => panic!("OpenSignals should open, but: {other:?}"),
    }
}

#[track_caller]
fn raise(rig: &mut Rig<'_>, signal: Signal) {
    let outcome = rig.now(&Request::RaiseSignal { signal });
    assert_eq!(outcome, Outcome::Done(0), "a signal can be raised");
}

/// Waits for the next signal.
#[track_caller]
fn next(rig: &mut Rig<'_>, descriptor: RawDescriptor) -> Option<Signal> {
    let token = rig.recv(descriptor, 1, Extent::Some);
    let ended = rig.finish(token);
    assert_eq!(ended.done(), 1, "one byte for each signal");
    Signal::from_number(ended.bytes[0])
}

pub(super) fn a_signal_is_read_once_it_is_wanted(bench: &Bench<'_>) {
    alone(bench, &[], |rig| {
        let signals = open(rig, &[Signal::User1]);
        let early = rig.recv(signals, 1, Extent::Some);
        rig.watch();
        assert!(rig.is_pending(early), "nobody has raised a signal");
        raise(rig, Signal::User1);
        assert_eq!(rig.finish(early).bytes, [Signal::User1.number()]);
        raise(rig, Signal::User1);
        assert_eq!(next(rig, signals), Some(Signal::User1));
        let readable = TryNow::WouldBlock(Interest::Readable);
        let (nothing, _) = rig.recv_now(signals, 1);
        assert_eq!(nothing, readable, "whether one is there is told at once");
        raise(rig, Signal::User1);
        rig.until("the arrival of a signal", |rig| {
            let (answer, bytes) = rig.recv_now(signals, 1);
            answer == TryNow::Done(Outcome::Done(1)) && bytes == [Signal::User1.number()]
        });
    });
}

pub(super) fn a_cancelled_wait_for_a_signal_takes_none(bench: &Bench<'_>) {
    alone(bench, &[], |rig| {
        let signals = open(rig, &[Signal::User2]);
        let token = rig.recv(signals, 1, Extent::Some);
        rig.watch();
        rig.cancel(token);
        assert!(rig.finish(token).is_cancelled(), "nobody has raised one");
        raise(rig, Signal::User2);
        assert_eq!(next(rig, signals), Some(Signal::User2));
    });
}

pub(super) fn each_descriptor_is_told_what_it_wants(bench: &Bench<'_>) {
    alone(bench, &[], |rig| {
        let first = open(rig, &[Signal::Hangup]);
        let second = open(rig, &[Signal::Hangup, Signal::Quit]);
        let other = open(rig, &[Signal::Quit]);
        let spared = rig.recv(other, 1, Extent::Some);
        raise(rig, Signal::Hangup);
        assert_eq!(next(rig, second), Some(Signal::Hangup));
        assert_eq!(next(rig, first), Some(Signal::Hangup));
        rig.watch();
        assert!(rig.is_pending(spared), "it was told what it does not want");
    });
}

pub(super) fn many_signals_of_one_kind_lose_none_of_another(bench: &Bench<'_>) {
    alone(bench, &[], |rig| {
        let signals = open(rig, &[Signal::Interrupt, Signal::Terminate]);
        for _ in 0..1000 {
            raise(rig, Signal::Interrupt);
        }
        raise(rig, Signal::Terminate);
        rig.watch();
        let mut seen = Vec::new();
        while seen.last() != Some(&Some(Signal::Terminate)) {
            assert!(seen.len() < 100, "signals that are not read are merged");
            let signal = next(rig, signals);
            seen.push(signal);
        }
        assert!(seen.contains(&Some(Signal::Interrupt)), "{seen:?}");
    });
}

pub(super) fn a_closed_descriptor_is_told_nothing_and_leaves_nothing(bench: &Bench<'_>) {
    alone(bench, &[], |rig| {
        let stays = open(rig, &[Signal::Terminate]);
        for _ in 0..20 {
            let goes = open(rig, &[Signal::Terminate]);
            let token = rig.recv(goes, 1, Extent::Some);
            rig.cancel(token);
            rig.finish(token);
            raise(rig, Signal::Terminate);
            assert_eq!(next(rig, stays), Some(Signal::Terminate));
            rig.close(goes);
            let fresh = open(rig, &[Signal::Terminate]);
            let (nothing, _) = rig.recv_now(fresh, 1);
            let readable = TryNow::WouldBlock(Interest::Readable);
            assert_eq!(nothing, readable, "raised before it was opened");
            rig.close(fresh);
        }
    });
}

pub(super) fn signals_are_not_duplicated_and_an_empty_set_is_refused(bench: &Bench<'_>) {
    alone(bench, &[RequestKind::Duplicate], |rig| {
        let failed = |outcome| match outcome {
            Outcome::Failed(error) => Some(error.kind()),
            _ => None,
        };
        let set = SignalSet::new(&[]);
        let empty = rig.now(&Request::OpenSignals { set });
        assert_eq!(failed(empty), Some(IoErrorKind::InvalidInput));
        let descriptor = open(rig, &[Signal::Quit]);
        let second = rig.now(&Request::Duplicate { descriptor });
        assert_eq!(failed(second), Some(IoErrorKind::Unsupported));
    });
}

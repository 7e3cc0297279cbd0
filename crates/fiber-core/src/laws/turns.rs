//! Waits and wakes: what a turn does when nothing comes from the world.

extern crate std;

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use std::sync::{Mutex, PoisonError};

use super::{
    bench::{Bench, NETWORK},
    rig::PATIENCE,
};
use crate::{
    env::{Unpark, Wait},
    request::{Extent, Outcome, Request, RequestKind},
};

pub(super) fn a_nop_completes_once_with_zero(bench: &Bench<'_>) {
    bench.port(&[&[RequestKind::Nop]], |rig| {
        let token = rig.plain(Request::Nop);
        assert_eq!(rig.finish(token).outcome, Outcome::Done(0));
        rig.watch();
    });
}

pub(super) fn a_completion_at_hand_ends_an_endless_wait(bench: &Bench<'_>) {
    bench.port(&[&[RequestKind::Nop]], |rig| {
        for _ in 0..10 {
            let token = rig.plain(Request::Nop);
            while rig.is_pending(token) {
                rig.turn(Wait::Forever);
            }
            rig.finish(token);
        }
    });
}

pub(super) fn a_turn_that_may_not_wait_does_not(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let start = rig.env.now();
        for _ in 0..100 {
            assert_eq!(rig.turn(Wait::No), 0, "nothing was asked");
        }
        let took = rig.env.now().saturating_since(start);
        assert!(
            took < PATIENCE,
            "a hundred turns without a wait took {took:?}"
        );
    });
}

pub(super) fn a_wait_ends_at_its_deadline_and_not_before(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        for micros in [0, 1, 50, 999, 1_000, 1_001, 2_500, 10_000] {
            let start = rig.env.now();
            let deadline = start + Duration::from_micros(micros);
            assert_eq!(rig.turn(Wait::Until(deadline)), 0, "nothing was asked");
            let now = rig.env.now();
            assert!(
                now >= deadline,
                "a wait until {deadline:?} ended at {now:?}"
            );
            assert!(
                now < start + PATIENCE,
                "a wait of {micros} µs ended at {now:?}"
            );
        }
        let before = rig.env.now();
        rig.turn(Wait::Until(crate::env::Instant::ORIGIN));
        let took = rig.env.now().saturating_since(before);
        assert!(
            took < PATIENCE,
            "a deadline in the past was waited for: {took:?}"
        );
    });
}

pub(super) fn a_wait_ends_at_its_deadline_with_requests_in_flight(bench: &Bench<'_>) {
    bench.port(&[NETWORK], |rig| {
        let pair = rig.pair();
        let token = rig.recv(pair.server, 8, Extent::Some);
        rig.watch();
        assert!(rig.is_pending(token), "nothing was sent");
        let deadline = rig.env.now() + Duration::from_millis(3);
        rig.turn(Wait::Until(deadline));
        let now = rig.env.now();
        assert!(
            now >= deadline,
            "a wait until {deadline:?} ended at {now:?}"
        );
    });
}

pub(super) fn an_early_unpark_ends_the_next_wait(bench: &Bench<'_>) {
    bench.port(&[], |rig| {
        let unparker = rig.unparker();
        for _ in 0..10 {
            unparker.unpark();
            unparker.unpark();
            assert_eq!(rig.turn(Wait::Forever), 0, "nothing was asked");
        }
    });
}

pub(super) fn an_unpark_ends_a_wait_from_another_worker(bench: &Bench<'_>) {
    const ROUNDS: u32 = 20;
    let sleeper: Mutex<Option<Arc<dyn Unpark>>> = Mutex::new(None);
    let (wanted, woken) = (AtomicU32::new(0), AtomicU32::new(0));
    bench.ports(2, &[], |rig, worker| {
        if worker.index() == 0 {
            let unparker = rig.unparker();
            *sleeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(unparker);
            for round in 1..=ROUNDS {
                wanted.store(round, Ordering::Release);
                let limit = rig.env.now() + PATIENCE;
                rig.turn(Wait::Until(limit));
                assert!(rig.env.now() < limit, "an unpark did not end the wait");
                woken.store(round, Ordering::Release);
            }
            return;
        }
        for round in 1..=ROUNDS {
            rig.until("the other worker's wait", |_| {
                wanted.load(Ordering::Acquire) >= round
            });
            // Odd rounds race with the beginning of the wait, even ones come later.
            if round % 2 == 0 {
                let soon = rig.env.now() + Duration::from_millis(2);
                rig.turn(Wait::Until(soon));
            }
            let other = sleeper
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            other.expect("stored before `wanted`").unpark();
            rig.until("the other worker's return", |_| {
                woken.load(Ordering::Acquire) >= round
            });
        }
    });
}

pub(super) fn an_unparker_outlives_its_port(bench: &Bench<'_>) {
    let kept: Mutex<Option<Arc<dyn Unpark>>> = Mutex::new(None);
    bench.port(&[], |rig| {
        let unparker = rig.unparker();
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(unparker);
    });
    let kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    kept.expect("stored above").unpark();
}

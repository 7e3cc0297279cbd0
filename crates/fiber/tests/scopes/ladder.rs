//! A cancel at every point at which a scope with children and handlers can be hit.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use fiber::{
    ExitReason, core::operation::Latch, core::operation::perform, scope, spawn, yield_now,
};
use host_sim::{Order, Sim};

use crate::support::run_to_the_end;

/// What was begun, and what has ended.
#[derive(Default)]
struct Ledger {
    begun: AtomicUsize,
    ended: AtomicUsize,
    handlers: AtomicUsize,
    handled: AtomicUsize,
    latch: Latch,
}

/// Begun until it is dropped.
struct Entry<'a>(&'a Ledger);

impl<'a> Entry<'a> {
    fn new(ledger: &'a Ledger) -> Self {
        ledger.begun.fetch_add(1, Ordering::SeqCst);
        Self(ledger)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Scopes in scopes, which park in their bodies, in their children, at their ends and in their
/// handlers.
fn work(ledger: &Ledger, depth: usize) {
    let handler = || {
        yield_now();
        yield_now();
        ledger.handled.fetch_add(1, Ordering::SeqCst);
    };
    scope(|s| {
        let _body = Entry::new(ledger);
        ledger.handlers.fetch_add(2, Ordering::SeqCst);
        s.defer(handler);
        s.defer(handler);
        let opens = Entry::new(ledger);
        drop(s.spawn(move || {
            let _entry = opens;
            yield_now();
            ledger.latch.open();
        }));
        let joined = Entry::new(ledger);
        let joined = s.spawn(move || {
            let _entry = joined;
            yield_now();
            7
        });
        yield_now();
        perform(ledger.latch.wait_operation("the latch"));
        if depth > 0 {
            work(ledger, depth - 1);
        }
        assert_eq!(joined.join().unwrap(), 7);
        let last = Entry::new(ledger);
        drop(s.spawn(move || {
            let _entry = last;
            (0..3).for_each(|_| yield_now());
        }));
    });
}

/// Cancels the work when its canceller has had `after` turns; true if it was hit.
fn cancel_after(after: usize) -> bool {
    let ledger = Arc::new(Ledger::default());
    let own = Arc::clone(&ledger);
    let victim = spawn(move || {
        work(&own, 1);
        // Whoever was hit and has not unwound does so here.
        fiber::checkpoint();
    });
    (0..after).for_each(|_| yield_now());
    victim.cancel();
    let hit = match victim.join() {
        Ok(()) => false,
        Err(ExitReason::Cancelled(_)) => true,
        Err(other) => panic!("after {after} turns: {other}"),
    };
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    assert_eq!(
        count(&ledger.begun),
        count(&ledger.ended),
        "after {after} turns"
    );
    assert_eq!(
        count(&ledger.handlers),
        count(&ledger.handled),
        "after {after} turns"
    );
    assert_eq!(Arc::strong_count(&ledger), 1, "after {after} turns");
    hit
}

#[test]
fn a_cancel_at_every_suspension_leaks_nothing_and_every_handler_runs_once() {
    for workers in [1, 2] {
        let mut sim = Sim::new(0).order(Order::Fifo);
        sim.node("only", move |env| {
            run_to_the_end(env, workers, || {
                let hits = (0..1000).take_while(|after| cancel_after(*after)).count();
                assert!((20..1000).contains(&hits), "{hits} points were tried");
            });
        });
        sim.run().expect_finished();
    }
}

#[test]
fn a_cancel_at_any_moment_of_any_schedule_leaks_nothing() {
    host_sim::check(1000, |mut sim| {
        let seed = usize::try_from(sim.seed()).unwrap();
        sim.node("only", move |env| {
            let workers = [1, 2, 4][seed % 3];
            run_to_the_end(env, workers, || cancel_after(seed % 40));
        });
        sim.run()
    });
}

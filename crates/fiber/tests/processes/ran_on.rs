//! What a fiber does that keeps its worker busy until its process has ended without it.

use alloc::boxed::Box;
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::thread;

use fiber::{
    FiberBuilder, Process, WorkerId,
    core::{
        Context,
        operation::{Operation, always, never},
    },
    operation::perform,
    sleep,
    sync::channel,
    yield_now,
};

use crate::world::losing_unwatched;

/// Long enough for a worker of a busy machine to come to its next turn.
const GRACE: Duration = Duration::from_millis(25);

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Has a fiber compute until its process has ended without it, and do this then; gives whether what
/// tells of that was run.
fn told_by_one_that_ran_on(perform_it: fn(&'static AtomicBool)) -> bool {
    let told = leak(AtomicBool::new(false));
    losing_unwatched(2, 1, move || {
        let [begins, computes, over] = leak([const { AtomicBool::new(false) }; 3]);
        // On the worker that knows of it: that cannot tell it of the death meanwhile.
        let there = Context::with(|context| context.unwrap().worker());
        let process = loop {
            let (ready, is_ready) = channel::bounded(1);
            let process = Process::builder().name("doomed").grace(GRACE);
            let process = process.spawn(move || {
                let here = Context::with(|context| context.unwrap().worker());
                ready.send(here).unwrap();
                if here != there {
                    return;
                }
                while !begins.load(Ordering::SeqCst) {
                    yield_now();
                }
                computes.store(true, Ordering::SeqCst);
                while !over.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                perform_it(told);
            });
            let process = process.unwrap();
            if is_ready.recv().unwrap() == there {
                break process.process().clone();
            }
            process.join().unwrap();
        };
        // On the other worker, as is who sees to the death.
        let killer = FiberBuilder::new().worker(WorkerId(1 - there.0));
        let killer = killer.spawn(move || {
            begins.store(true, Ordering::SeqCst);
            while !computes.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            process.kill("enough");
            let exit = perform(process.end_operation());
            assert_eq!(exit.report.fibers_running, 1, "{exit}");
            over.store(true, Ordering::SeqCst);
        });
        killer.unwrap().join().unwrap();
        // As soon as it rests.
        let there = FiberBuilder::new().worker(there);
        there.spawn(|| sleep(GRACE)).unwrap().join().unwrap();
    });
    told.load(Ordering::SeqCst)
}

#[test]
fn one_that_was_abandoned_as_it_ran_is_not_told_that_it_has_lost() {
    assert!(!told_by_one_that_ran_on(|told| {
        never::<()>()
            .wrap_abort(|| told.store(true, Ordering::SeqCst))
            .perform();
    }));
}

#[test]
fn one_that_was_abandoned_as_it_ran_performs_nothing() {
    assert!(!told_by_one_that_ran_on(|told| {
        always(())
            .wrap(|()| told.store(true, Ordering::SeqCst))
            .perform();
    }));
}

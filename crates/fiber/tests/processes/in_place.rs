//! Deaths that nobody has to see to, for there is nothing to be waited for; and what looks like
//! one, and is not.

use alloc::sync::Arc;
use core::{mem, time::Duration};

use fiber::{
    FiberBuilder, Namespace, Process, ProcessBuilder, Runtime, WorkerId,
    core::{Context, registry::Object},
    fiber_local,
    io::TcpListener,
    mask, park, sleep, spawn, spawn_many,
    sync::channel::oneshot,
    yield_now,
};

use crate::{
    support::{in_worlds, on_linux},
    world::everywhere,
};

fn short() -> ProcessBuilder {
    Process::builder().grace(Duration::from_millis(5))
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// How many fibers were ever launched.
fn launched() -> u64 {
    let stats = Runtime::current().unwrap().stats();
    stats.workers.iter().map(|worker| worker.launched).sum()
}

#[test]
fn a_process_with_nothing_left_ends_without_another_fiber() {
    everywhere(|| {
        let before = launched();
        for round in 0..3 {
            let process = Process::builder().spawn(move || round).unwrap();
            assert_eq!(process.join().unwrap(), round);
        }
        assert_eq!(launched() - before, 3);
    });
}

#[test]
fn what_it_has_at_its_worker_is_closed_without_another_fiber() {
    everywhere(|| {
        let before = launched();
        let process = Process::builder().spawn(|| {
            // Left for the end to be closed.
            listen().into_id();
            drop(listen());
        });
        let process = process.unwrap();
        let monitor = process.process().monitor();
        process.join().unwrap();
        let report = monitor.wait().report;
        assert_eq!((report.listeners_closed, report.is_clean()), (1, true));
        assert_eq!(launched() - before, 1);
    });
}

/// Somebody else is inside of one of two, so that it is not done at once.
#[test]
fn what_is_closed_in_place_is_told_of_when_that_is_not_all() {
    everywhere(|| {
        let (lend, lent) = oneshot::channel();
        let process = Process::builder().spawn(move || {
            let listener = Arc::new(listen());
            lend.send(Arc::clone(&listener)).unwrap();
            listen().into_id();
            sleep(Duration::from_millis(1));
            mem::forget(listener);
        });
        let monitor = process.unwrap().process().monitor();
        let inside = spawn(move || lent.recv().unwrap().accept().map(drop));
        let report = monitor.wait().report;
        assert_eq!((report.listeners_closed, report.is_clean()), (2, true));
        inside.join().unwrap().unwrap_err();
    });
}

/// Waits without end.
struct Waits;

impl Drop for Waits {
    fn drop(&mut self) {
        park();
    }
}

#[test]
fn a_destructor_that_waits_behind_the_main_function_is_killed() {
    fiber_local! {
        static WAITS: Waits = Waits;
    }
    in_worlds(200, || {
        short()
            .spawn(|| WAITS.with(|_| ()))
            .unwrap()
            .join()
            .unwrap();
        let monitor = short().spawn(|| Waits).unwrap().process().monitor();
        assert!(monitor.wait().report.is_clean());
    });
}

#[test]
fn a_fiber_that_comes_to_a_process_at_its_very_end_ends_with_it() {
    in_worlds(200, || {
        let process = short().spawn(yield_now).unwrap();
        for _ in 0..10 {
            drop(process.process().spawn(|| mask(park)));
            yield_now();
        }
        process.join().unwrap();
    });
}

/// Workers that sleep have closed what the process had there, and nobody was waiting for that.
fn closed_at_sleeping_workers() {
    let waits = |worker| {
        let builder = FiberBuilder::new().worker(WorkerId(worker));
        builder.spawn(|| drop(listen().accept())).unwrap()
    };
    let waiting = [0, 1].map(waits);
    let process = Process::builder().spawn(|| {
        let closes = spawn_many(2, |_| {
            sleep(Duration::from_millis(1));
            drop(listen());
        });
        for closes in closes {
            closes.join().unwrap();
        }
        sleep(Duration::from_millis(1));
    });
    let process = process.unwrap();
    let monitor = process.process().monitor();
    process.join().unwrap();
    // Its grace was not over first.
    assert!(monitor.wait().report.is_clean());
    for fiber in waiting {
        fiber.cancel();
        fiber.join().unwrap_err();
    }
}

#[test]
fn what_sleeping_workers_have_closed_holds_up_no_death() {
    on_linux(2, closed_at_sleeping_workers);
    in_worlds(200, || {
        if Runtime::current().unwrap().workers().0 > 1 {
            closed_at_sleeping_workers();
        }
    });
}

#[test]
fn an_object_that_is_left_at_the_end_is_told_of_as_closed_and_nobody_is_asleep() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let object = Arc::new(()) as Object;
            Context::with(|it| it.unwrap().name_object(Namespace::MAILBOX, object)).unwrap();
        });
        let monitor = process.unwrap().process().monitor();
        let report = monitor.wait().report;
        assert_eq!((report.others_closed, report.is_clean()), (1, true));
    });
}

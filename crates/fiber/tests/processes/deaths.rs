//! Deaths that something is in the way of: others' work, a limit, an end without end.

use alloc::sync::Arc;
use core::{
    hint,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{sync::mpsc, thread};

use fiber::{
    DumpOptions, End, ExitReason, Fiber, FiberBuilder, Process, ProcessBuilder, RunError, Runtime,
    SharedEnv, SpawnError, StackClass, block_on, blocking, core::registry::IdSpace, into_future,
    mask, park, sleep, spawn, sync::channel,
};
use host_linux::{Config, Linux};
use host_sim::Sim;

use crate::world::{everywhere, on_a_thread_that_may_stay};

/// Never lets its fiber end.
struct Stays;

impl Drop for Stays {
    fn drop(&mut self) {
        loop {
            sleep(Duration::from_millis(1));
        }
    }
}

fn short() -> ProcessBuilder {
    Process::builder().grace(Duration::from_millis(5))
}

fn in_sims(main: fn()) {
    for seed in 0..30 {
        let mut sim = Sim::new(seed);
        let workers = u16::try_from(seed % 2).unwrap() + 1;
        sim.node("only", move |env| {
            Runtime::builder(env).workers(workers).run(main).unwrap();
        });
        sim.run().expect_finished();
    }
}

#[test]
fn who_starts_a_process_again_and_again_does_not_keep_a_run() {
    fn main() {
        drop(spawn(|| {
            loop {
                let process = Process::builder().spawn(park).unwrap();
                let _ = process.join();
            }
        }));
        sleep(Duration::from_millis(1));
    }
    for workers in [1, 2] {
        let linux = Linux::new(Config::default()).unwrap();
        Runtime::builder(linux).workers(workers).run(main).unwrap();
    }
    in_sims(main);
}

#[test]
fn a_masked_process_that_has_for_ever_to_end_is_told_of() {
    for workers in [1, 2] {
        let mut sim = Sim::new(u64::from(workers));
        sim.node("only", move |env| {
            let run = Runtime::builder(env).workers(workers).run(|| {
                let builder = Process::builder().grace(Duration::MAX);
                drop(builder.spawn(|| mask(park)));
                sleep(Duration::from_millis(1));
            });
            assert!(matches!(run, Err(RunError::AllAsleep(_))), "{run:?}");
        });
        sim.run().expect_finished();
    }
}

#[test]
fn who_sees_to_a_death_cannot_be_killed() {
    on_a_thread_that_may_stay(|| {
        let linux = Linux::new(Config::default()).unwrap();
        let run = Runtime::builder(linux).workers(1).run(|| {
            // Its death lasts until it was looked at, whatever holds that up.
            let builder = Process::builder().grace(Duration::from_secs(2));
            let process = builder.spawn(|| {
                let _stays = Stays;
                park();
            });
            let process = process.unwrap();
            sleep(Duration::from_millis(1));
            process.kill("now");
            sleep(Duration::from_millis(1));
            let options = DumpOptions::default().frames_max(0);
            let dump = Runtime::current().unwrap().dump_with(&options);
            let mut fibers = dump.workers.iter().flat_map(|worker| &worker.fibers);
            let guardian = fibers.find(|fiber| fiber.name.as_deref() == Some("guardian"));
            let guardian = Fiber::of_id(guardian.unwrap().id.unwrap()).unwrap();
            guardian.kill("you, too");
            process.join().unwrap_err();
        });
        run.unwrap();
    });
}

#[test]
fn nobody_else_closes_the_id_of_a_fiber_or_a_process() {
    everywhere(|| {
        let fiber = spawn(park);
        let process = Process::builder().spawn(park).unwrap();
        sleep(Duration::from_millis(1));
        let id = fiber.fiber().id().unwrap();
        fiber::id::close(id).unwrap_err();
        fiber::id::close(process.id()).unwrap_err();
        IdSpace::of_process().close(id).unwrap_err();
        assert_eq!(Fiber::of_id(id).as_ref(), Ok(fiber.fiber()));
        assert_eq!(Process::of_id(process.id()).as_ref(), Ok(process.process()));
        fiber.cancel();
        process.cancel("enough");
        fiber.join().unwrap_err();
        process.join().unwrap_err();
    });
}

#[test]
fn who_blocks_another_worker_does_not_hold_up_a_death() {
    let linux = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(linux).workers(1).dedicated(1).run(|| {
        let (end, until) = mpsc::channel::<()>();
        let blocks = move || until.recv().unwrap_or_default();
        let blocks = FiberBuilder::new().dedicated().spawn(blocks).unwrap();
        sleep(Duration::from_millis(5));
        let process = Process::builder().spawn(park).unwrap();
        process.kill("now");
        process.join().unwrap_err();
        drop(end);
        blocks.join().unwrap();
    });
    run.unwrap();
}

#[test]
fn a_death_is_told_of_although_a_fiber_comes_to_no_suspension_point() {
    let linux = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(linux).workers(1).dedicated(1).run(|| {
        let (end, until) = mpsc::channel::<()>();
        let (blocks, is_blocking) = channel::bounded(1);
        let process = short().spawn(move || {
            let blocks = move || {
                blocks.send(()).unwrap();
                until.recv().unwrap_or_default();
            };
            drop(FiberBuilder::new().dedicated().spawn(blocks).unwrap());
            park();
        });
        let process = process.unwrap();
        is_blocking.recv().unwrap();
        process.kill("now");
        let exit = process.join().unwrap_err();
        assert_eq!(exit.report.fibers_running, 1, "{exit}");
        drop(end);
    });
    run.unwrap();
}

#[test]
fn a_main_function_that_comes_to_no_suspension_point_keeps_nobody_who_joins() {
    let linux = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(linux).workers(2).run(|| {
        let (begun, end) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let theirs = (Arc::clone(&begun), Arc::clone(&end));
        let process = short().spawn(move || {
            theirs.0.store(true, Ordering::SeqCst);
            while !theirs.1.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        });
        let process = process.unwrap();
        while !begun.load(Ordering::SeqCst) {
            hint::spin_loop();
        }
        process.kill("now");
        let exit = process.join().unwrap_err();
        assert_eq!(exit.report.fibers_running, 1, "{exit}");
        end.store(true, Ordering::SeqCst);
    });
    run.unwrap();
}

#[test]
fn a_process_that_is_killed_has_one_grace() {
    let mut sim = Sim::new(1);
    sim.node("only", |env| {
        let run = Runtime::builder(env).workers(1).run(|| {
            let now = || Runtime::current().unwrap().env().now();
            let builder = Process::builder().grace(Duration::from_secs(10));
            let process = builder.spawn(|| {
                let _stays = Stays;
                park();
            });
            let process = process.unwrap();
            sleep(Duration::from_millis(1));
            let begin = now();
            process.kill("now");
            let exit = process.join().unwrap_err();
            assert_eq!(exit.report.fibers_abandoned, 1, "{exit}");
            let span = now().saturating_since(begin);
            assert!(span < Duration::from_secs(15), "{span:?}");
        });
        run.unwrap();
    });
    sim.run().expect_finished();
}

#[test]
fn a_future_of_a_fiber_that_is_abandoned_says_so() {
    on_a_thread_that_may_stay(|| {
        let linux = Linux::new(Config::default()).unwrap();
        let run = Runtime::builder(linux).workers(1).run(|| {
            let (give, take) = channel::bounded(1);
            let (begins, has_begun) = channel::bounded(1);
            let process = short().spawn(move || {
                let future = into_future(move || {
                    let _stays = Stays;
                    begins.send(()).unwrap();
                    park();
                });
                give.send(future.unwrap()).unwrap();
                park();
            });
            let process = process.unwrap();
            has_begun.recv().unwrap();
            let future = take.recv().unwrap();
            process.kill("now");
            let ended = block_on(future);
            assert!(matches!(ended, Err(ExitReason::Abandoned(_))), "{ended:?}");
            process.join().unwrap_err();
        });
        run.unwrap();
    });
}

#[test]
fn one_that_is_abandoned_in_a_blocking_call_keeps_no_helper() {
    on_a_thread_that_may_stay(|| {
        let linux = Linux::new(Config::default().helpers_max(1).helper_jobs_max(1)).unwrap();
        let run = Runtime::builder(linux).workers(1).run(|| {
            let (end, until) = mpsc::channel::<()>();
            let process = short().spawn(move || blocking(move || until.recv().unwrap_or_default()));
            let process = process.unwrap();
            sleep(Duration::from_millis(1));
            process.kill("now");
            process.join().unwrap_err();
            drop(end);
            assert_eq!(blocking(|| 6), 6);
        });
        run.unwrap();
    });
}

#[test]
fn a_fiber_of_a_process_for_which_there_is_no_id_does_not_start() {
    let linux = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(linux).workers(1).ids_max(2).run(|| {
        let process = short().spawn(park).unwrap();
        sleep(Duration::from_millis(1));
        process.kill("now");
        let exit = process.join().unwrap_err();
        assert!(exit.report.is_clean(), "{exit}");
        assert!(matches!(exit.end, End::NotStarted(_)), "{exit}");
    });
    run.unwrap();
}

#[test]
fn a_process_for_which_there_is_no_id_is_not_made() {
    let linux = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(linux).workers(1).ids_max(1).run(|| {
        for _ in 0..2 {
            let refused = Process::builder().spawn(|| ());
            assert!(matches!(refused, Err(SpawnError::Ids(_))), "{refused:?}");
        }
        assert!(Runtime::current().unwrap().processes().is_empty());
    });
    run.unwrap();
}

#[test]
fn a_report_counts_all_who_were_asked_to_unwind() {
    everywhere(|| {
        let (up, is_up) = channel::bounded(1);
        let process = Process::builder().spawn(move || {
            for _ in 0..10 {
                drop(spawn(park));
            }
            up.send(()).unwrap();
            park();
        });
        let process = process.unwrap();
        is_up.recv().unwrap();
        process.kill("now");
        let exit = process.join().unwrap_err();
        assert_eq!(exit.report.fibers_unwound, 11, "{exit}");
    });
}

fn chain(length: usize) {
    if length > 0 {
        let builder = Process::builder().stack(StackClass::K64);
        drop(builder.spawn(move || chain(length - 1)));
    }
    park();
}

#[test]
fn a_long_chain_of_processes_ends_on_a_small_stack() {
    let linux = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(linux).workers(1).run(|| {
        let first = Process::builder()
            .stack(StackClass::K64)
            .spawn(|| chain(1500));
        let first = first.unwrap();
        sleep(Duration::from_millis(100));
        let top = first.process().clone();
        let kills = FiberBuilder::new()
            .stack(StackClass::K64)
            .spawn(move || top.kill("now"));
        kills.unwrap().join().unwrap();
        first.join().unwrap_err();
    });
    run.unwrap();
}

#[test]
fn a_process_that_was_seen_to_leaves_nothing_behind() {
    let linux = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(Arc::clone(&linux) as SharedEnv)
        .workers(1)
        .run(|| {
            let process = Process::builder().spawn(park).unwrap();
            sleep(Duration::from_millis(1));
            process.cancel("enough");
            let record = Arc::downgrade(process.process().record());
            process.join().unwrap_err();
            record
        });
    let record = run.unwrap();
    assert_eq!(record.strong_count(), 0);
    assert_eq!(Arc::strong_count(&linux), 1);
}

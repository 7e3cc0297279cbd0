//! Processes that are there when a run ends, in whatever way.

use core::time::Duration;

use fiber::{
    End, Process, RunError, Runtime, SpawnError, defer, mask, park, spawn, sync::channel, yield_now,
};
use host_linux::{Config, Linux};
use host_sim::Sim;

use crate::{support::Count, world::everywhere};

/// A process whose fibers, and whose child's, count down when they end.
fn busy(left: &Count) -> fiber::ProcessHandle<()> {
    let left = left.clone();
    let process = Process::builder().spawn(move || {
        let (one, other) = (left.clone(), left.clone());
        drop(spawn(move || {
            let _counted = OnDrop(one);
            park();
        }));
        let child = Process::builder().spawn(move || {
            let _counted = OnDrop(other);
            park();
        });
        drop(child);
        let _counted = OnDrop(left);
        park();
    });
    process.unwrap()
}

/// [`busy`], once all three of its fibers have begun.
fn begun(left: &Count) -> fiber::ProcessHandle<()> {
    let process = busy(left);
    let has_begun = |process: &Process, fibers| process.stats().parks >= fibers;
    loop {
        let parent = process.process();
        let child = parent.children();
        if has_begun(parent, 2) && child.first().is_some_and(|child| has_begun(child, 1)) {
            return process;
        }
        fiber::sleep(Duration::from_millis(1));
    }
}

struct OnDrop(Count);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

fn on_each_host(main: fn() -> Count) {
    for workers in [1, 2] {
        let linux = Linux::new(Config::default()).unwrap();
        let ended = Runtime::builder(linux).workers(workers).run(main).unwrap();
        assert_eq!(ended.get(), 3);
    }
    host_sim::check(200, |mut sim| {
        let workers = u16::try_from(sim.seed() % 2).unwrap() + 1;
        sim.node("only", move |env| {
            let ended = Runtime::builder(env).workers(workers).run(main).unwrap();
            assert_eq!(ended.get(), 3);
        });
        let outcome = sim.run();
        assert_eq!(outcome.abandoned, host_sim::Abandoned::default());
        outcome
    });
}

#[test]
fn what_is_alive_when_the_main_function_returns_ends_in_order() {
    on_each_host(|| {
        let ended = Count::default();
        drop(begun(&ended));
        ended
    });
}

#[test]
fn a_process_that_sleeps_for_ever_is_told_of_and_ends() {
    for workers in [1, 2, 4] {
        let mut sim = Sim::new(u64::from(workers));
        sim.node("only", move |env| {
            let ended = Count::default();
            let inside = ended.clone();
            let run = Runtime::builder(env).workers(workers).run(move || {
                let exit = busy(&inside).join().unwrap_err();
                assert!(matches!(exit.end, End::Cancelled(_)), "{exit}");
            });
            let Err(RunError::AllAsleep(asleep)) = run else {
                panic!("{run:?}");
            };
            assert_eq!(asleep.fibers.len(), 4, "{asleep}");
            assert_eq!(ended.get(), 3);
        });
        sim.run().expect_finished();
    }
}

#[test]
fn a_panic_of_the_first_process_ends_the_others_in_order() {
    for workers in [1, 2] {
        let ended = Count::default();
        let inside = ended.clone();
        let linux = Linux::new(Config::default()).unwrap();
        let run = Runtime::builder(linux).workers(workers).run(move || {
            let _process = begun(&inside);
            std::panic::resume_unwind(Box::new("over"));
        });
        assert!(matches!(run, Err(RunError::Panicked(_))));
        assert_eq!(ended.get(), 3);
    }
}

#[test]
fn a_masked_process_does_not_keep_a_run() {
    for workers in [1, 2] {
        let mut sim = Sim::new(u64::from(workers));
        sim.node("only", move |env| {
            let run = Runtime::builder(env).workers(workers).run(|| {
                let builder = Process::builder().grace(Duration::from_millis(5));
                drop(builder.spawn(|| mask(park)));
                fiber::sleep(Duration::from_millis(1));
            });
            run.unwrap();
        });
        sim.run().expect_finished();
    }
}

#[test]
fn a_shutdown_ends_though_a_fiber_of_the_first_process_goes_on_to_start_others() {
    everywhere(|| {
        let refused = Count::default();
        let seen = refused.clone();
        let (tell, told) = channel::unbounded();
        let starter = spawn(move || {
            loop {
                match Process::builder().spawn(park) {
                    Ok(_) => {
                        let _ = tell.send(());
                        yield_now();
                    }
                    Err(SpawnError::ShuttingDown) => break seen.add(),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for _ in 0..3 {
            told.recv().unwrap();
        }
        let runtime = Runtime::current().unwrap();
        runtime.shut_down();
        starter.join().unwrap();
        assert_eq!(refused.get(), 1);
        // Fibers are as free as ever, and a second one has nothing to do.
        spawn(|| ()).join().unwrap();
        runtime.shut_down();
    });
}

#[test]
fn who_ends_in_a_shutdown_may_start_others_that_end_with_it() {
    everywhere(|| {
        let ran = Count::default();
        let seen = ran.clone();
        let (tell, told) = channel::bounded(1);
        let process = Process::builder().spawn(move || {
            defer(move || {
                let helper = Process::builder().spawn(|| ());
                // It is cancelled at once, as all that a dying process spawns.
                seen.add();
                drop(helper.unwrap().join());
            });
            tell.send(()).unwrap();
            park();
        });
        told.recv().unwrap();
        Runtime::current().unwrap().shut_down();
        let exit = process.unwrap().join().unwrap_err();
        assert!(exit.end.is_normal() && exit.report.is_clean(), "{exit}");
        assert_eq!(ran.get(), 1);
    });
}

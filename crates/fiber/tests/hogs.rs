//! Fibers that do not let others run: what they are told, and what is told about them.
//!
//! These tests look at real workers on real threads, and wait for what must come; none of them
//! looks at a clock.
#![expect(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests run on std, and may panic"
)]

use std::{
    collections::HashSet,
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use fiber::core::Context;
use fiber::{
    Builder, FiberBuilder, HogKind, HogReport, Id, Runtime, Watchdog, checkpoint, park, sleep,
    spawn, yield_now,
};
use host_linux::{Config, Io, Linux};

const MILLI: Duration = Duration::from_millis(1);

/// A runtime on each driver that is to be had.
fn on_each_driver(workers: u16, run: impl Fn(Builder)) {
    for driver in [Io::Ring, Io::Poll] {
        match Linux::new(Config::default().io(driver)) {
            Ok(linux) => run(Runtime::builder(linux).workers(workers)),
            Err(error) => eprintln!("skipped on {driver:?}: {error}"),
        }
    }
}

/// A builder that gives its reports to a channel.
fn reporting(builder: Builder) -> (Builder, mpsc::Receiver<HogReport>) {
    let (tell, told) = mpsc::channel();
    let builder = builder.on_hog(move |report| drop(tell.send(report.clone())));
    (builder, told)
}

/// Nothing is told of a thread that the kernel lets wait, for a page of the program perhaps.
fn busy_only(builder: Builder) -> Builder {
    builder.watchdog(Watchdog::default().stuck_after(Duration::MAX))
}

/// Spins, without a suspension point, until told to stop.
#[inline(never)]
fn spin_like_a_hog(stop: &AtomicBool) -> u64 {
    let mut count = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        // Nearly all of the time is spent here, where nothing is called.
        let mut steps = 0_u32;
        while steps < 10_000_000 {
            steps += 1;
        }
        count += u64::from(black_box(steps));
    }
    count
}

#[test]
fn sched_09a_others_make_progress_beside_a_loop_with_a_checkpoint() {
    on_each_driver(1, |builder| {
        builder
            .run(|| {
                let stop = Arc::new(AtomicBool::new(false));
                let stopped = stop.clone();
                let looper = spawn(move || {
                    while !stopped.load(Ordering::Relaxed) {
                        checkpoint();
                    }
                });
                // One that runs whenever it can, and ones that wake a thousand and a hundred times
                // a second.
                let spinner = spawn(|| (0..1000).for_each(|_| yield_now()));
                let fast = spawn(|| (0..50).for_each(|_| sleep(MILLI)));
                let slow = spawn(|| (0..5).for_each(|_| sleep(MILLI * 10)));
                for fiber in [spinner, fast, slow] {
                    fiber.join().unwrap();
                }
                stop.store(true, Ordering::Relaxed);
                looper.join().unwrap();
            })
            .unwrap();
    });
}

#[test]
fn sched_09a_a_loop_with_rare_checkpoints_gives_way_at_the_end_of_its_slice() {
    on_each_driver(1, |builder| {
        builder
            .watchdog(Watchdog::default().hog_after(Duration::MAX))
            .run(|| {
                let turns = Arc::new(AtomicU64::new(0));
                let seen = turns.clone();
                let other = spawn(move || {
                    loop {
                        seen.fetch_add(1, Ordering::Relaxed);
                        yield_now();
                    }
                });
                yield_now();
                // Rare checkpoints: the budget of 128 of them lasts many slices. Whoever ends
                // these may be late, but not for ever.
                let (mut since, mut shortest) = (0, u64::MAX);
                while shortest >= 128 {
                    let before = turns.load(Ordering::Relaxed);
                    let rounds: u64 = (0..100_000).map(black_box).sum();
                    assert!(rounds > 0);
                    checkpoint();
                    since += 1;
                    if turns.load(Ordering::Relaxed) != before {
                        shortest = shortest.min(since);
                        since = 0;
                    }
                }
                other.cancel();
            })
            .unwrap();
    });
}

#[test]
fn sched_09b_two_fibers_that_take_turns_end_beside_a_spinning_main_fiber() {
    on_each_driver(1, |builder| {
        builder
            .run(|| {
                let count = Arc::new(AtomicUsize::new(0));
                for parity in 0..2 {
                    let count = count.clone();
                    drop(spawn(move || {
                        while count.load(Ordering::SeqCst) < 100 {
                            if count.load(Ordering::SeqCst) % 2 == parity {
                                count.fetch_add(1, Ordering::SeqCst);
                            }
                            yield_now();
                        }
                    }));
                }
                while count.load(Ordering::SeqCst) < 100 {
                    checkpoint();
                }
            })
            .unwrap();
    });
}

#[test]
fn sched_16_a_worker_s_runcount_rises_if_it_makes_progress_and_stands_still_if_not() {
    on_each_driver(1, |builder| {
        builder
            .run(|| {
                let resumes = || Runtime::current().unwrap().stats().workers[0].resumes;
                let mut last = resumes();
                for _ in 0..100 {
                    yield_now();
                    let now = resumes();
                    assert!(now > last, "a resume is counted");
                    last = now;
                }
                let stop = AtomicBool::new(true);
                for _ in 0..100 {
                    spin_like_a_hog(&stop);
                    assert_eq!(resumes(), last, "nothing was resumed");
                }
            })
            .unwrap();
    });
}

/// Who was a hog, and what was told of that.
fn report_of_a_hog(told: &Arc<Mutex<mpsc::Receiver<HogReport>>>) -> (Option<Id>, HogReport) {
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    let named = FiberBuilder::new().name("miller");
    let hog = named.spawn(move || spin_like_a_hog(&stops)).unwrap();
    let waits = FiberBuilder::new().name("customer").spawn(park).unwrap();
    let id = hog.fiber().id();
    let told = told.clone();
    let helper = std::thread::spawn(move || {
        let told = told.lock().unwrap();
        let report = told.recv().unwrap();
        // Many times the period between two looks.
        let again = told.recv_timeout(MILLI * 300);
        stop.store(true, Ordering::Relaxed);
        (report, again.is_ok())
    });
    hog.join().unwrap();
    let (report, again) = helper.join().unwrap();
    waits.cancel();
    assert!(!again, "it is reported once");
    (id, report)
}

#[test]
fn a_hog_is_reported_once_with_its_name_its_spawn_site_and_where_it_is() {
    on_each_driver(1, |builder| {
        let (builder, told) = reporting(busy_only(builder));
        let told = Arc::new(Mutex::new(told));
        builder
            .run(|| {
                // A thread that stands still cannot be looked at: then there is no more than that
                // it has a hog.
                let (id, report) = loop {
                    let (id, report) = report_of_a_hog(&told);
                    if report.fiber.is_some() {
                        break (id, report);
                    }
                };
                let HogKind::Busy { cpu } = report.kind else {
                    panic!("{report}");
                };
                assert!(cpu >= MILLI * 100, "{report}");
                assert_eq!(report.fiber, id);
                assert_eq!(report.name.as_deref(), Some("miller"));
                assert!(report.spawned_at.unwrap().file().ends_with("hogs.rs"));
                let frames = report.frames.iter();
                let functions: Vec<_> = frames.map(|frame| &frame.function).collect();
                assert!(
                    functions
                        .iter()
                        .any(|name| name.contains("spin_like_a_hog")),
                    "{report}"
                );
                let text = report.to_string();
                assert!(
                    text.contains("checkpoint") && text.contains("miller"),
                    "{text}"
                );
            })
            .unwrap();
    });
}

#[test]
fn hogs_are_reported_after_one_at_whose_report_the_program_has_panicked() {
    on_each_driver(1, |builder| {
        let (tell, told) = mpsc::channel();
        let builder = builder.on_hog(move |_| {
            tell.send(()).unwrap();
            std::panic::resume_unwind(Box::new("a report that is not liked"));
        });
        builder
            .run(move || {
                for _ in 0..2 {
                    while told.try_recv().is_err() {
                        std::hint::spin_loop();
                    }
                    yield_now();
                }
            })
            .unwrap();
    });
}

#[test]
fn a_fiber_that_gives_way_in_time_is_not_reported() {
    on_each_driver(1, |builder| {
        let (builder, told) = reporting(busy_only(builder));
        builder
            .run(|| {
                for _ in 0..60 {
                    spin_for(MILLI * 5);
                    yield_now();
                }
            })
            .unwrap();
        assert!(
            told.recv().is_err(),
            "all reports are in, and there is none"
        );
    });
}

const PART: &str = "FIBER_TEST_PART";

#[test]
fn lk_13_a_std_mutex_held_across_a_park_names_who_blocks_its_worker_and_who_waits_there() {
    if std::env::var_os(PART).is_some() {
        return block_a_worker_for_ever();
    }
    play_a_deadlock();
}

/// The codes with which the process ends that has told of a deadlock, and of something else: a
/// worker that stood still before, or that does not answer.
const SEEN: i32 = 17;
const NOT_SEEN: i32 = 18;

/// Nobody can end this deadlock, so it has a process of its own.
fn play_a_deadlock() {
    let test =
        "lk_13_a_std_mutex_held_across_a_park_names_who_blocks_its_worker_and_who_waits_there";
    let child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(PART, "deadlock")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&child.stdout);
    if child.status.code() == Some(NOT_SEEN) {
        return play_a_deadlock();
    }
    assert_eq!(child.status.code(), Some(SEEN), "{stdout}");
    let line = |start: &str| stdout.lines().find(|line| line.contains(start)).unwrap();
    assert!(
        line("keeps worker 0 asleep in the kernel").contains("'second'"),
        "{stdout}"
    );
    assert!(line("waiting: 'first'").contains("for unpark"), "{stdout}");
    assert!(line("waiting: 'main'").contains("for join"), "{stdout}");
    assert!(
        stdout.contains("2 other fibers wait for the worker"),
        "{stdout}"
    );
}

fn block_a_worker_for_ever() {
    let linux = Linux::new(Config::default()).unwrap();
    let stuck = |report: &HogReport| {
        assert!(matches!(report.kind, HogKind::Asleep { .. }), "{report}");
        println!("{report}");
        let seen = report.name.as_deref() == Some("second");
        std::process::exit(if seen { SEEN } else { NOT_SEEN });
    };
    let builder = Runtime::builder(linux).workers(1).on_hog(stuck);
    let builder = builder.watchdog(Watchdog::default().stuck_after(MILLI * 100));
    let _ = builder.run(|| {
        let lock = Arc::new(Mutex::new(()));
        let held = lock.clone();
        let first = FiberBuilder::new().name("first").spawn(move || {
            let _guard = held.lock().unwrap();
            park();
        });
        yield_now();
        let second = FiberBuilder::new().name("second").spawn(move || {
            // The worker's thread sleeps here, and the first fiber, which has the lock, cannot run.
            drop(lock.lock());
        });
        let first = first.unwrap();
        assert!(!first.is_finished());
        second.unwrap().join().unwrap();
    });
}

#[test]
fn a_runtime_without_a_watchdog_reports_nothing() {
    on_each_driver(1, |builder| {
        let (builder, told) = reporting(builder);
        let builder = builder.watchdog(None);
        builder.run(|| spin_for(MILLI * 250)).unwrap();
        assert!(told.recv().is_err());
    });
}

#[test]
fn every_runtime_s_hogs_are_its_own() {
    on_each_driver(1, |builder| {
        let (builder, told) = reporting(builder);
        let idle = std::thread::spawn(|| {
            let env = Linux::new(Config::default()).unwrap();
            let (builder, told) = reporting(Runtime::builder(env).workers(1));
            builder.run(|| sleep(MILLI * 250)).unwrap();
            told.recv().is_err()
        });
        let reports = builder.run(move || {
            while told.try_recv().is_err() {
                std::hint::spin_loop();
            }
            told
        });
        assert_eq!(reports.unwrap().iter().count(), 0, "there was one");
        assert!(idle.join().unwrap(), "the one that sleeps has none");
    });
}

#[test]
fn the_watchdog_sleeps_while_all_workers_do() {
    on_each_driver(2, |builder| {
        builder
            .run(|| {
                // It gives itself its name once it runs, which may be later than this.
                let watch = loop {
                    match watch_thread() {
                        Some(watch) => break watch,
                        None => sleep(MILLI),
                    }
                };
                sleep(MILLI * 50);
                let before = switches_of(&watch);
                // Some thirty periods. It looks once when the worker falls asleep, and once more
                // when it wakes.
                sleep(MILLI * 300);
                let after = switches_of(&watch);
                assert!(after - before < 10, "it woke {} times", after - before);
            })
            .unwrap();
    });
}

#[test]
fn many_short_runtimes_share_one_watching_thread_that_ends_after_them() {
    const RUNS: usize = 500;
    let env = Linux::new(Config::default().io(Io::Poll)).unwrap();
    let mut seen = HashSet::new();
    for _ in 0..RUNS {
        let builder = Runtime::builder(env.clone()).workers(1);
        builder.run(yield_now).unwrap();
        seen.extend(watch_threads());
    }
    // Where this one stands still for long, the next run has another.
    assert!(seen.len() < RUNS / 2, "{}", seen.len());
    while !watch_threads().is_empty() {
        std::thread::yield_now();
    }
}

/// The folders of the watching threads of this process.
fn watch_threads() -> Vec<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let folders = threads.map(|thread| thread.unwrap().path());
    let named = |folder: &PathBuf| {
        // A thread may end meanwhile.
        fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == "fiber-watch")
    };
    folders.filter(named).collect()
}

fn watch_thread() -> Option<PathBuf> {
    watch_threads().into_iter().next()
}

/// How often a thread has gone to sleep.
fn switches_of(thread: &Path) -> u64 {
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// Uses so much processor time at the least.
fn spin_for(span: Duration) {
    Context::with(|context| {
        let env = context.unwrap().env();
        let until = env.cpu() + span;
        while env.cpu() < until {}
    });
}

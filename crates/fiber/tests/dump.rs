//! What a dump shows of the fibers of a runtime.
#![expect(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::unwrap_used,
    reason = "tests run on std, and may panic"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fiber::{
    Dump, DumpOptions, FiberBuilder, FiberDump, FiberState, JoinHandle, Runtime, StackClass,
    WorkerState, checkpoint, park, sleep, spawn, spawn_local,
    sync::{Mutex, channel},
    yield_now,
};
use host_linux::{Config, Io, Linux};
use host_sim::Sim;

/// A runtime on Linux, with either driver.
fn on_linux(workers: u16, main: impl Fn() + Copy + Send + 'static) {
    for driver in [Io::Ring, Io::Poll] {
        match Linux::new(Config::default().io(driver)) {
            Ok(linux) => {
                let builder = Runtime::builder(linux).workers(workers);
                builder.run(main).expect("the run succeeds");
            }
            Err(error) => eprintln!("skipped on {driver:?}: {error}"),
        }
    }
}

/// Gives every worker, and the helper that reads names, time enough.
fn patient() -> DumpOptions {
    DumpOptions::default().grace(Duration::from_secs(30))
}

fn dump() -> Dump {
    Runtime::current().unwrap().dump_with(&patient())
}

fn named(dump: &Dump, name: &str) -> FiberDump {
    let fibers = dump.workers.iter().flat_map(|worker| &worker.fibers);
    let mut found = fibers.filter(|fiber| fiber.name.as_deref() == Some(name));
    let fiber = found.next().unwrap_or_else(|| panic!("no {name}: {dump}"));
    assert!(found.next().is_none(), "{name} is there twice: {dump}");
    fiber.clone()
}

fn spawn_named<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    FiberBuilder::new().name(name).spawn(body).unwrap()
}

fn settle() {
    (0..20).for_each(|_| yield_now());
}

/// Waits until all have started. Until then one may be on its way from one worker to another, and
/// each of them tells of its own at a moment of its own.
fn start_all(fibers: &[JoinHandle<()>]) {
    while !fibers.iter().all(|fiber| fiber.fiber().is_started()) {
        yield_now();
    }
}

/// Parks this deep, so that the depth can be counted.
#[inline(never)]
fn park_below(depth: u32) {
    if depth == 0 {
        park();
    } else {
        park_below(depth - 1);
    }
    std::hint::black_box(depth);
}

#[test]
fn st_06_the_backtrace_of_a_parked_fiber_has_at_least_its_frames() {
    on_linux(1, || {
        let deep = spawn_named("deep", || park_below(9));
        settle();
        let deep_dump = named(&dump(), "deep");
        let frames = deep_dump.frames.iter();
        let depth = frames
            .filter(|frame| frame.function.contains("park_below"))
            .count();
        assert_eq!(depth, 10, "{deep_dump:?}");
        assert_eq!(deep_dump.state, FiberState::Parked);
        assert_eq!(deep_dump.waiting_for, "unpark");
        assert_eq!(deep_dump.id, deep.fiber().id());
        assert!(deep_dump.spawned_at.file().ends_with("dump.rs"));
        assert!(!deep.is_finished(), "it was not woken");
        deep.fiber().unpark();
        deep.join().unwrap();
    });
}

#[test]
fn fibers_are_shown_in_the_state_in_which_they_are() {
    on_linux(1, || {
        let sleeps = spawn_named("sleeps", || sleep(Duration::from_secs(3600)));
        settle();
        let ready = spawn_named("ready", || {
            loop {
                yield_now();
            }
        });
        settle();
        let dump = dump();
        let state = |name: &str| (named(&dump, name).state, named(&dump, name).waiting_for);
        assert_eq!(state("sleeps"), (FiberState::Parked, "sleep"));
        assert_eq!(state("ready").0, FiberState::Ready);
        assert_eq!(state("main"), (FiberState::Parked, "a dump"));
        let frames = named(&dump, "main").frames;
        assert!(
            frames
                .iter()
                .any(|frame| frame.function.contains("dump_with")),
            "{frames:?}"
        );
        sleeps.cancel();
        ready.cancel();
    });
}

/// What a guard is forgotten of, and what somebody still has.
fn leaks() {
    let (lost, held) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
    let forgets = lost.clone();
    let gone = spawn(move || std::mem::forget(forgets.lock().unwrap()));
    gone.join().unwrap();
    let locks = |name, mutex: &Arc<Mutex<()>>| {
        let mutex = mutex.clone();
        spawn_named(name, move || drop(mutex.lock()))
    };
    let guard = held.lock().unwrap();
    let limited = lost.clone();
    let (sender, receiver) = channel::rendezvous::<()>();
    let started = [
        locks("orphan", &lost),
        locks("waits", &held),
        spawn_named("gives up", move || {
            drop(limited.lock_timeout(Duration::from_secs(3600)));
        }),
        spawn_named("is unparked", park),
        spawn_named("receives", move || receiver.iter().for_each(drop)),
    ];
    let unparked = spawn_named("lost", park);
    while !unparked.fiber().is_started() {
        yield_now();
    }
    unparked.detach();
    start_all(&started);
    settle();
    let dump = dump();
    let look = |name: &str| {
        let fiber = named(&dump, name);
        (fiber.is_orphaned, fiber.held_by.len(), fiber.peers)
    };
    assert_eq!(look("orphan"), (true, 1, None), "{dump}");
    assert_eq!(look("waits"), (false, 1, None), "{dump}");
    assert_eq!(look("gives up"), (false, 1, None), "{dump}");
    assert_eq!(look("is unparked"), (false, 0, Some(1)), "{dump}");
    assert_eq!(look("receives"), (false, 0, Some(1)), "{dump}");
    assert_eq!(look("lost"), (true, 0, Some(0)), "{dump}");
    let text = dump.to_string();
    assert_eq!(text.matches("nobody is left to end").count(), 2, "{text}");
    drop((guard, sender));
    started.iter().for_each(JoinHandle::cancel);
}

#[test]
fn those_whose_wait_nobody_is_left_to_end_are_flagged() {
    on_linux(1, leaks);
    host_sim::check(100, |mut sim| {
        let workers = 1 + u16::try_from(sim.seed() % 2).unwrap();
        sim.node("only", move |env| {
            Runtime::builder(env).workers(workers).run(leaks).unwrap();
        });
        sim.run()
    });
}

#[test]
fn fibers_that_have_not_started_are_shown_as_such() {
    for workers in 1..3 {
        on_linux(workers, || {
            // Far more than start in a turn, and each lets others run. Another worker would take
            // some, and perhaps all of them.
            let spawns = match Runtime::current().unwrap().workers() {
                (1, _) => spawn,
                _ => spawn_local,
            };
            let fresh: Vec<_> = (0..2000).map(|_| spawns(settle as fn())).collect();
            let dump = dump();
            let fibers = dump.workers.iter().flat_map(|worker| &worker.fibers);
            let unstarted = fibers.filter(|fiber| fiber.state == FiberState::Unstarted);
            let unstarted: Vec<_> = unstarted.collect();
            assert!(unstarted.len() > 100, "{dump}");
            assert!(unstarted.iter().all(|fiber| fiber.frames.is_empty()));
            assert!(
                dump.to_string().contains(" not started, spawned at"),
                "{dump}"
            );
            for fiber in fresh {
                fiber.join().unwrap();
            }
        });
    }
}

#[test]
fn a_fiber_with_little_stack_left_is_shown_without_a_backtrace() {
    on_linux(1, || {
        let small = FiberBuilder::new().name("small").stack(StackClass::K16);
        let small = small.spawn(park).unwrap();
        settle();
        let found = named(&dump(), "small");
        assert!(found.frames.is_empty(), "{found:?}");
        assert_eq!(found.state, FiberState::Parked);
        small.cancel();
    });
}

#[test]
fn a_plain_thread_takes_a_dump_while_all_workers_sleep() {
    on_linux(2, || {
        let runtime = Runtime::current().unwrap();
        let parked: Vec<_> = (0..10).map(|_| spawn_named("sleeper", park)).collect();
        start_all(&parked);
        let main = fiber::current().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let finished = done.clone();
        let outsider = std::thread::spawn(move || {
            let dump = runtime.dump_with(&patient());
            finished.store(true, Ordering::SeqCst);
            main.unpark();
            dump
        });
        while !done.load(Ordering::SeqCst) {
            park();
        }
        let dump = outsider.join().unwrap();
        assert_eq!(dump.workers.len(), 2);
        let answered = |state| state == WorkerState::Answered;
        assert!(dump.workers.iter().all(|w| answered(w.state)), "{dump}");
        let fibers: usize = dump.workers.iter().map(|worker| worker.fibers.len()).sum();
        assert_eq!(fibers, 11, "{dump}");
        parked.iter().for_each(JoinHandle::cancel);
    });
}

#[test]
fn a_worker_that_a_fiber_keeps_is_shown_with_that_fiber() {
    on_linux(1, || {
        let stop = Arc::new(AtomicBool::new(false));
        let running = Arc::new(AtomicBool::new(false));
        let (stops, runs) = (stop.clone(), running.clone());
        let hog = spawn_named("hog", move || {
            runs.store(true, Ordering::SeqCst);
            while !stops.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let runtime = Runtime::current().unwrap();
        let outsider = std::thread::spawn(move || {
            while !running.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            let quick = DumpOptions::default().grace(Duration::from_millis(50));
            // A thread that stands still cannot be looked at.
            let dump = loop {
                let dump = runtime.dump_with(&quick);
                if !dump.workers[0].fibers.is_empty() {
                    break dump;
                }
            };
            stop.store(true, Ordering::Relaxed);
            dump
        });
        hog.join().unwrap();
        let dump = outsider.join().unwrap();
        assert_eq!(dump.workers[0].state, WorkerState::Busy, "{dump}");
        assert_eq!(named(&dump, "hog").state, FiberState::Running, "{dump}");
        assert_eq!(named(&dump, "main").waiting_for, "join", "{dump}");
        assert!(dump.to_string().contains("a fiber keeps it"), "{dump}");
    });
}

#[test]
fn a_dump_shows_no_more_fibers_than_it_may_and_counts_the_others() {
    on_linux(2, || {
        let parked: Vec<_> = (0..100).map(|_| spawn(park)).collect();
        start_all(&parked);
        let few = patient().fibers_max(7);
        let dump = Runtime::current().unwrap().dump_with(&few);
        let shown: usize = dump.workers.iter().map(|worker| worker.fibers.len()).sum();
        let left_out: usize = dump.workers.iter().map(|worker| worker.left_out).sum();
        assert_eq!((shown, left_out), (7, 94), "{dump}");
        assert!(dump.to_string().contains("101 fibers"), "{dump}");
        parked.iter().for_each(JoinHandle::cancel);
    });
}

#[test]
fn fibers_that_wait_at_the_same_place_are_shown_once_with_their_number() {
    on_linux(1, || {
        let parked: Vec<_> = (0..50).map(|_| spawn(|| park_below(2))).collect();
        settle();
        let text = dump().to_string();
        assert!(text.contains("50 waiting for unpark"), "{text}");
        assert!(text.contains("and 42 more"), "{text}");
        assert_eq!(text.matches("park_below").count(), 3, "{text}");
        parked.iter().for_each(JoinHandle::cancel);
    });
}

#[test]
fn dumps_and_work_go_on_side_by_side() {
    on_linux(2, || {
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..20)
            .map(|_| {
                let stop = stop.clone();
                spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        checkpoint();
                        yield_now();
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            let dump = dump();
            let fibers: usize = dump.workers.iter().map(|worker| worker.fibers.len()).sum();
            assert!(fibers > 0, "{dump}");
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_dump_after_the_run_finds_nobody() {
    let env = Linux::new(Config::default()).unwrap();
    let run = Runtime::builder(env).run(|| Runtime::current().unwrap());
    let dump = run.unwrap().dump();
    assert!(dump.workers.iter().all(|worker| worker.fibers.is_empty()));
    let closed = |state| state == WorkerState::Closed;
    assert!(dump.workers.iter().all(|worker| closed(worker.state)));
}

#[test]
fn a_simulated_runtime_gives_the_same_dump_under_the_same_seed() {
    let dump_of = |seed| {
        let (tell, told) = std::sync::mpsc::channel();
        let mut sim = Sim::new(seed);
        let node = sim.node("node", move |env| {
            let tell = tell.clone();
            let run = Runtime::builder(env).workers(2).run(move || {
                let parked: Vec<_> = (0..5).map(|_| spawn(park)).collect();
                sleep(Duration::from_millis(1));
                tell.send(dump().to_string()).unwrap();
                parked.iter().for_each(JoinHandle::cancel);
            });
            run.unwrap();
        });
        sim.until(node).run().expect_finished();
        told.recv().unwrap()
    };
    for seed in 0..8 {
        let text = dump_of(seed);
        assert_eq!(text, dump_of(seed), "seed {seed}");
        assert!(text.contains("5 waiting for unpark"), "{text}");
    }
}

#[test]
fn a_dump_has_no_names_rather_than_wait_for_helpers_that_are_stuck() {
    let linux = Linux::new(Config::default().helpers_max(1)).unwrap();
    let run = Runtime::builder(linux).workers(2).run(|| {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let stuck = spawn(move || fiber::blocking(move || released.recv().unwrap()));
        let runtime = Runtime::current().unwrap();
        loop {
            let options = DumpOptions::default().grace(Duration::from_millis(20));
            let dump = runtime.dump_with(&options);
            // Before the helper has begun with that call, it is free for a dump.
            let all: usize = dump.workers.iter().map(|worker| worker.fibers.len()).sum();
            assert!(all > 0, "{dump}");
            let frames = |fiber: &FiberDump| fiber.frames.len();
            if dump
                .workers
                .iter()
                .flat_map(|worker| &worker.fibers)
                .all(|f| frames(f) == 0)
            {
                break;
            }
        }
        release.send(()).unwrap();
        stuck.join().unwrap();
    });
    run.unwrap();
}

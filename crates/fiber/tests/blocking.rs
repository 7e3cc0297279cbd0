//! Blocking calls on helper threads: what is borrowed, who waits, what comes back.
#![expect(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::unwrap_used,
    reason = "tests run on std, and may panic"
)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use fiber::{
    ExitReason, Runtime, SharedEnv, blocking, checkpoint, no_suspend, scope, sleep, spawn,
    try_blocking, yield_now,
};
use host_linux::{Config, Io, Linux};
use host_sim::{Action, Sim};

/// Runs `main` on one and on two workers, on Linux with both drivers and in simulated worlds.
fn everywhere(main: impl Fn() + Copy + Send + 'static) {
    on_linux(Config::default(), main);
    simulated(main);
}

fn on_linux(config: Config, main: impl Fn() + Copy + Send + 'static) {
    on_workers(config, 1, main);
    on_workers(config, 2, main);
}

fn on_workers(config: Config, workers: u16, main: impl Fn() + Copy + Send + 'static) {
    for driver in [Io::Ring, Io::Poll] {
        match Linux::new(config.io(driver)) {
            Ok(linux) => run(linux, workers, main),
            Err(error) => eprintln!("skipped on {driver:?}: {error}"),
        }
    }
}

fn simulated(main: impl Fn() + Copy + Send + 'static) {
    for seed in 0..12 {
        let mut sim = Sim::new(seed).helpers_max(2);
        let workers = u16::try_from(seed % 2).unwrap() + 1;
        let node = sim.node("node", move |env| run(env, workers, main));
        sim.until(node).run().expect_finished();
    }
}

fn run(env: SharedEnv, workers: u16, main: impl FnOnce() + Send) {
    Runtime::builder(env)
        .workers(workers)
        .closed_world()
        .run(main)
        .expect("the run succeeds");
}

#[test]
fn a_blocking_call_borrows_locals_and_gives_its_value() {
    everywhere(|| {
        let text = String::from("borrowed");
        let mut seen = Vec::new();
        let length = blocking(|| {
            seen.push(text.as_str());
            text.len()
        });
        assert_eq!((length, seen), (8, vec!["borrowed"]));
    });
}

#[test]
fn others_run_on_the_same_worker_while_a_call_blocks_its_helper() {
    on_linux(Config::default(), || {
        let (send, receive) = mpsc::channel();
        let blocked = spawn(move || blocking(move || receive.recv().unwrap()));
        sleep(Duration::from_millis(1));
        send.send(7).unwrap();
        assert_eq!(blocked.join().unwrap(), 7);
    });
}

#[test]
fn a_call_runs_on_another_thread_than_its_fiber() {
    on_linux(Config::default(), || {
        let here = std::thread::current().id();
        assert_ne!(blocking(|| std::thread::current().id()), here);
        assert_eq!(std::thread::current().id(), here, "the fiber has not moved");
    });
}

#[test]
fn a_panic_in_the_call_comes_back_to_the_caller_with_its_payload() {
    everywhere(|| {
        let caught = catch_unwind(|| blocking(|| resume_unwind(Box::new(42_u8))));
        let payload: Result<(), _> = caught;
        assert_eq!(*payload.unwrap_err().downcast::<u8>().unwrap(), 42);
    });
}

#[test]
fn a_cancel_waits_until_the_call_has_ended_and_is_delivered_after_it() {
    on_linux(Config::default(), || {
        let (open, gate) = mpsc::channel();
        let began = Arc::new(AtomicBool::new(false));
        let returned = Arc::new(AtomicUsize::new(0));
        let (begins, returns) = (began.clone(), returned.clone());
        let fiber = spawn(move || {
            let value: usize = blocking(move || {
                begins.store(true, Ordering::SeqCst);
                gate.recv().unwrap()
            });
            returns.store(value, Ordering::SeqCst);
            checkpoint();
            returns.store(0, Ordering::SeqCst);
        });
        while !began.load(Ordering::SeqCst) {
            yield_now();
        }
        fiber.cancel();
        yield_now();
        assert!(!fiber.is_finished(), "its call has not ended");
        open.send(5).unwrap();
        assert!(matches!(fiber.join(), Err(ExitReason::Cancelled(_))));
        assert_eq!(returned.load(Ordering::SeqCst), 5, "the value was not lost");
    });
}

#[test]
fn calls_above_the_bound_wait_in_the_order_in_which_they_came() {
    const CALLS: usize = 20;
    let config = Config::default().helpers_max(1).helper_jobs_max(1);
    on_workers(config, 1, || {
        let order = Mutex::new(Vec::new());
        let (open, gate) = mpsc::channel();
        scope(|s| {
            // It has the only place until the gate is opened.
            s.spawn(|| blocking(move || gate.recv().unwrap()));
            while try_blocking(|| ()).is_ok() {
                yield_now();
            }
            for call in 0..CALLS {
                let order = &order;
                let asked = Arc::new(AtomicBool::new(false));
                let asks = asked.clone();
                s.spawn(move || {
                    // Nothing suspends between this and the wait for a place.
                    asks.store(true, Ordering::SeqCst);
                    blocking(|| order.lock().unwrap().push(call));
                });
                while !asked.load(Ordering::SeqCst) {
                    yield_now();
                }
            }
            open.send(()).unwrap();
        });
        assert_eq!(*order.lock().unwrap(), (0..CALLS).collect::<Vec<_>>());
    });
}

#[test]
fn more_calls_than_the_pool_holds_are_all_run_and_never_more_at_once() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    on_linux(Config::default().helpers_max(3).helper_jobs_max(5), || {
        let fibers: Vec<_> = (0..200)
            .map(|index| {
                spawn(move || {
                    blocking(|| {
                        let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
                        MOST.fetch_max(running, Ordering::SeqCst);
                        std::thread::yield_now();
                        RUNNING.fetch_sub(1, Ordering::SeqCst);
                        index
                    })
                })
            })
            .collect();
        let sum: usize = fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum();
        assert_eq!(sum, 199 * 200 / 2);
        assert!(MOST.load(Ordering::SeqCst) <= 3);
    });
}

#[test]
fn simulated_helpers_are_bounded_and_serve_everybody() {
    simulated(|| {
        let fibers: Vec<_> = (0..30).map(|n| spawn(move || blocking(|| n))).collect();
        let sum: usize = fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum();
        assert_eq!(sum, 29 * 30 / 2);
    });
}

#[test]
fn try_blocking_gives_the_call_back_when_the_pool_is_full() {
    on_linux(Config::default().helpers_max(1).helper_jobs_max(1), || {
        let (open, gate) = mpsc::channel::<()>();
        scope(|s| {
            s.spawn(|| blocking(move || gate.recv().unwrap()));
            let full = loop {
                match try_blocking(|| 7) {
                    Ok(value) => assert_eq!(value, 7),
                    Err(full) => break full,
                }
                yield_now();
            };
            assert_eq!((full.call)(), 7);
            open.send(()).unwrap();
        });
        assert_eq!(blocking(|| 8), 8, "there is room again");
    });
}

#[test]
fn one_that_waits_for_room_can_be_cancelled_and_takes_no_place_along() {
    on_linux(Config::default().helpers_max(1).helper_jobs_max(1), || {
        let (open, gate) = mpsc::channel::<()>();
        let holds = Arc::new(AtomicBool::new(false));
        let held = holds.clone();
        let holder = spawn(move || {
            blocking(move || {
                held.store(true, Ordering::SeqCst);
                gate.recv().unwrap();
            });
        });
        while !holds.load(Ordering::SeqCst) {
            yield_now();
        }
        let waits = spawn(|| blocking(|| unreachable!("it was cancelled before its turn")));
        yield_now();
        waits.cancel();
        assert!(matches!(waits.join(), Err(ExitReason::Cancelled(_))));
        open.send(()).unwrap();
        holder.join().unwrap();
        assert_eq!(blocking(|| 9), 9);
    });
}

#[test]
fn on_a_plain_thread_the_call_just_runs() {
    let here = std::thread::current().id();
    assert_eq!(blocking(|| std::thread::current().id()), here);
    assert_eq!(try_blocking(|| 3).unwrap(), 3);
}

#[test]
fn a_blocking_call_inside_of_no_suspend_panics_and_is_not_run() {
    everywhere(|| {
        let mut ran = false;
        let call = AssertUnwindSafe(|| no_suspend(|| blocking(|| ran = true)));
        let payload = catch_unwind(call).unwrap_err();
        let message = payload.downcast_ref::<String>().unwrap();
        assert!(message.contains("no_suspend"), "{message}");
        assert!(!ran);
    });
}

#[test]
fn a_node_that_loses_power_during_blocking_calls_is_simply_gone() {
    for seed in 0..40 {
        let mut sim = Sim::new(seed).helpers_max(2);
        let node = sim.node("node", |env| {
            run(env, 2, || {
                let fibers: Vec<_> = (0..8)
                    .map(|_| {
                        spawn(|| {
                            loop {
                                blocking(|| ());
                                sleep(Duration::from_micros(3));
                            }
                        })
                    })
                    .collect();
                fibers.into_iter().for_each(|fiber| {
                    let _: Result<(), _> = fiber.join();
                });
            });
        });
        let at = Duration::from_micros(1000 + seed * 17);
        sim.at(at, Action::Kill(node));
        let outcome = sim.run();
        assert!(!outcome.verdict.to_string().contains("panic"), "{outcome}");
    }
}

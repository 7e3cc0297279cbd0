//! Virtual time, virtual threads, and how a run ends.

extern crate alloc;

mod support;

use alloc::{rc::Rc, sync::Arc};
use core::cell::Cell;
use core::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use std::{sync::Mutex, thread};

use fiber_core::env::{SharedEnv, ThreadHooks};
use host_sim::{Action, Sim, Verdict};

use support::{alone, workers};

fn hour() -> Duration {
    Duration::from_secs(3600)
}

#[test]
fn an_hour_of_sleep_passes_in_a_few_steps_and_never_ends_early() {
    for seed in 0..20 {
        let mut sim = Sim::new(seed).time_limit(hour() * 2);
        sim.node("sleeper", |env| {
            alone(&env, |hand| {
                let start = hand.env.now();
                hand.sleep(hour());
                let slept = hand.env.now().saturating_since(start);
                assert!(slept >= hour() && slept < hour() + Duration::from_millis(1));
            });
        });
        let outcome = sim.run().expect_finished();
        assert!(outcome.steps < 10, "{outcome}");
    }
}

#[test]
fn spinning_until_a_time_ends() {
    let mut sim = Sim::new(1);
    sim.node("spinner", |env| {
        let until = env.now() + Duration::from_millis(1);
        while env.now() < until {}
    });
    sim.run().expect_finished();
}

#[test]
fn workers_interleave_differently_under_different_seeds() {
    let order = |seed| {
        let seen = Rc::new(Cell::new(Vec::new()));
        let mut sim = Sim::new(seed);
        let out = Rc::clone(&seen);
        sim.node("many", move |env| {
            let order = Mutex::new(Vec::new());
            workers(&env, 4, |hand, worker| {
                for _ in 0..4 {
                    order.lock().unwrap().push(worker.0);
                    hand.yield_now();
                }
            });
            out.set(order.into_inner().unwrap());
        });
        sim.run().expect_finished();
        seen.take()
    };
    let mut orders: Vec<Vec<u16>> = (0..20).map(order).collect();
    assert_eq!(orders[3], order(3));
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 15, "only {} orders", orders.len());
}

#[test]
fn a_world_in_which_nothing_can_happen_is_stalled_and_says_who_waits() {
    let mut sim = Sim::new(1);
    sim.node("stuck", |env| {
        alone(&env, |hand| {
            let listener = hand.listen("0.0.0.0:80").unwrap();
            let _ = hand.accept(listener);
        });
    });
    let outcome = sim.run();
    let Verdict::Stalled(report) = &outcome.verdict else {
        panic!("{outcome}");
    };
    assert!(report.contains("stuck (10.0.0.1) worker 0"), "{report}");
    assert!(
        report.contains("Accept on listener at 0.0.0.0:80"),
        "{report}"
    );
    assert_eq!(outcome.abandoned.threads, 1);
}

#[test]
fn limits_end_what_would_not_end() {
    let endless = |env: SharedEnv| {
        alone(&env, |hand| {
            loop {
                hand.yield_now();
            }
        })
    };
    let mut sim = Sim::new(1).step_limit(1000);
    sim.node("endless", endless);
    assert_eq!(sim.run().verdict, Verdict::StepLimit);
    let mut sim = Sim::new(1).time_limit(Duration::from_micros(50));
    sim.node("endless", endless);
    assert!(matches!(sim.run().verdict, Verdict::TimedOut(_)));
    let mut sim = Sim::new(1);
    sim.node("periodic", |env| {
        alone(&env, |hand| {
            loop {
                hand.sleep(Duration::from_secs(1));
            }
        })
    });
    assert!(matches!(sim.run().verdict, Verdict::TimedOut(_)));
}

#[test]
fn a_panic_on_any_worker_is_the_verdict_with_its_message() {
    for culprit in 0..3 {
        let mut sim = Sim::new(1);
        sim.node("other", |_| ());
        sim.node("fragile", move |env| {
            workers(&env, 3, |hand, worker| {
                assert!(worker.0 != culprit, "worker {} has had enough", worker.0);
                hand.wait_forever();
            });
        });
        let outcome = sim.run();
        let Verdict::Panicked { node, message } = &outcome.verdict else {
            panic!("{outcome}");
        };
        assert_eq!(node, "fragile");
        assert_eq!(*message, format!("worker {culprit} has had enough"));
    }
}

#[test]
fn a_killed_node_is_not_unwound_and_boots_afresh() {
    struct Loud(Arc<AtomicU32>);
    impl Drop for Loud {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (boots, drops) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut sim = Sim::new(1);
    let (booted, dropped) = (Arc::clone(&boots), Arc::clone(&drops));
    let victim = sim.node("victim", move |env| {
        let life = booted.fetch_add(1, Ordering::Relaxed);
        let _loud = Loud(Arc::clone(&dropped));
        workers(&env, 2, |hand, _| {
            let _loud = Loud(Arc::clone(&dropped));
            if life < 2 {
                hand.wait_forever();
            }
        });
    });
    for life in 0..2 {
        sim.at(Duration::from_millis(10 + life * 10), Action::Kill(victim));
        sim.at(
            Duration::from_millis(15 + life * 10),
            Action::Restart(victim),
        );
    }
    let outcome = sim.run().expect_finished();
    assert_eq!(boots.load(Ordering::Relaxed), 3);
    assert_eq!(drops.load(Ordering::Relaxed), 3, "those of the last life");
    assert_eq!(outcome.abandoned.nodes, 2);
    assert_eq!(outcome.abandoned.threads, 4);
}

#[test]
fn plain_code_parks_in_virtual_time() {
    let mut sim = Sim::new(1);
    sim.node("plain", |env| {
        let hooks = env.hooks();
        let before = env.now();
        (hooks.park)(Some(Duration::from_secs(5)));
        assert!(env.now().saturating_since(before) >= Duration::from_secs(5));
        let unparker = (hooks.unparker)();
        let job = Box::new(move || unparker.unpark());
        env.offload(job).unwrap();
        (hooks.park)(None);
        (hooks.unparker)().unpark();
        (hooks.park)(None);
    });
    sim.run().expect_finished();
}

#[test]
fn a_helper_job_may_block_like_a_thread() {
    let mut sim = Sim::new(1);
    sim.node("plain", |env| {
        let hooks = env.hooks();
        let done = (hooks.unparker)();
        let job = Box::new(move || {
            (hooks.park)(Some(Duration::from_secs(1)));
            done.unpark();
        });
        env.offload(job).unwrap();
        (hooks.park)(None);
        assert!(env.now().as_nanos() >= 1_000_000_000);
    });
    sim.run().expect_finished();
}

#[test]
fn the_callers_thread_slot_survives_a_simulation() {
    let mut first = Sim::new(1);
    first.node("first", |_| ());
    first.run().expect_finished();
    let hooks = ThreadHooks::installed().unwrap();
    let mark = 7;
    (hooks.set_slot)((&raw const mark).cast());
    let mut sim = Sim::new(1);
    sim.node("inner", |env| {
        workers(&env, 3, |hand, worker| {
            let hooks = ThreadHooks::installed().unwrap();
            assert!((hooks.slot)().is_null());
            let own = worker.0;
            (hooks.set_slot)((&raw const own).cast());
            for _ in 0..10 {
                hand.yield_now();
                assert_eq!((hooks.slot)(), (&raw const own).cast());
            }
            (hooks.set_slot)(core::ptr::null());
        });
    });
    sim.run().expect_finished();
    assert_eq!((hooks.slot)(), (&raw const mark).cast());
    (hooks.set_slot)(core::ptr::null());
}

#[test]
fn a_simulation_runs_inside_another() {
    let mut outer = Sim::new(1);
    outer.node("outer", |env| {
        let before = env.now();
        let mut inner = Sim::new(2);
        inner.node("inner", |env| alone(&env, |hand| hand.sleep(hour() / 10)));
        inner.run().expect_finished();
        assert!(env.now().saturating_since(before) < Duration::from_micros(1));
        alone(&env, |hand| hand.sleep(Duration::from_secs(1)));
    });
    outer.run().expect_finished();
}

#[test]
fn simulations_run_side_by_side_on_threads() {
    let hash = |seed| {
        let mut sim = Sim::new(seed);
        sim.node("many", |env| {
            workers(&env, 3, |hand, _| {
                for _ in 0..50 {
                    hand.sleep(Duration::from_micros(100));
                }
            });
        });
        sim.run().expect_finished().hash
    };
    let expected: Vec<_> = (0..4).map(hash).collect();
    let threads: Vec<_> = (0..4)
        .map(|seed| thread::spawn(move || hash(seed)))
        .collect();
    let got: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn each_node_has_entropy_and_a_wall_clock_of_its_own() {
    type Seen = ([u8; 16], Duration);
    let seen: Rc<Cell<Vec<Seen>>> = Rc::default();
    let mut sim = Sim::new(9);
    for name in ["a", "b"] {
        let seen = Rc::clone(&seen);
        sim.node(name, move |env| {
            let mut bytes = [0; 16];
            env.fill(&mut bytes);
            let mut all = seen.take();
            all.push((bytes, env.wall().since_unix()));
            seen.set(all);
        });
    }
    sim.run().expect_finished();
    let seen = seen.take();
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
}

/// Does something as it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Two nodes share the thread of the system: one parks in a destructor while it unwinds, the other
/// looks on. Returns how often the first one came back.
fn parks_while_it_unwinds(killed_at: Option<Duration>) -> u32 {
    let back = Arc::new(AtomicU32::new(0));
    let mut sim = Sim::new(1);
    let resumed = Arc::clone(&back);
    let unwinds = sim.node("unwinds", move |env| {
        let unwound = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            let _on_drop = OnDrop(|| {
                assert!(thread::panicking());
                (env.hooks().park)(Some(Duration::from_secs(5)));
                assert!(thread::panicking());
                resumed.fetch_add(1, Ordering::Relaxed);
            });
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(unwound.is_err() && !thread::panicking());
    });
    sim.node("looks on", |env| {
        for _ in 0..100 {
            (env.hooks().park)(Some(Duration::from_millis(100)));
            assert!(!thread::panicking());
        }
    });
    if let Some(at) = killed_at {
        sim.at(at, Action::Kill(unwinds));
    }
    sim.run().expect_finished();
    assert!(!thread::panicking());
    back.load(Ordering::Relaxed)
}

#[test]
fn a_node_that_waits_while_it_unwinds_disturbs_no_other() {
    assert_eq!(parks_while_it_unwinds(None), 1);
}

#[test]
fn a_node_that_is_killed_while_it_unwinds_disturbs_no_other() {
    assert_eq!(parks_while_it_unwinds(Some(Duration::from_secs(1))), 0);
    assert_eq!(parks_while_it_unwinds(None), 1);
}

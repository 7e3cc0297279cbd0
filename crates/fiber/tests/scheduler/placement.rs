//! Where fibers live.

use alloc::sync::Arc;
use core::time::Duration;
use std::{
    collections::HashSet,
    sync::{Mutex, mpsc},
    thread,
};

use fiber::{
    FiberBuilder, Runtime, SpawnError, WorkerId, core::Context, sleep, spawn, spawn_any,
    spawn_local, spawn_many, yield_now,
};
use host_linux::{Config, Linux};

use crate::support::{Count, in_worlds, on_linux};

fn here() -> WorkerId {
    Context::with(|context| context.unwrap().worker())
}

fn pinned_to_each() {
    let (workers, _) = Runtime::current().unwrap().workers();
    for worker in (0..workers).map(|index| WorkerId(u16::try_from(index).unwrap())) {
        let fiber = FiberBuilder::new().worker(worker).spawn(move || {
            assert_eq!(here(), worker);
            yield_now();
            assert_eq!(here(), worker);
            // What it spawns for its own worker lives there, too.
            spawn_local(move || assert_eq!(here(), worker))
                .join()
                .unwrap();
        });
        fiber.unwrap().join().unwrap();
    }
}

#[test]
fn a_fiber_lives_on_the_worker_that_it_was_given() {
    for workers in [1, 2, 4] {
        on_linux(workers, pinned_to_each);
    }
    in_worlds(300, pinned_to_each);
}

#[test]
fn a_worker_that_does_not_exist_is_an_error_that_says_how_many_do() {
    on_linux(2, || {
        let spawned = FiberBuilder::new().worker(WorkerId(2)).spawn(|| ());
        let error = spawned.unwrap_err();
        assert_eq!(
            error,
            SpawnError::NoSuchWorker {
                worker: WorkerId(2),
                workers: 2
            }
        );
        assert!(error.to_string().contains("worker 2"), "{error}");
    });
}

#[test]
fn many_fibers_are_spread_evenly() {
    on_linux(2, || {
        let held = Arc::new(fiber::sync::Semaphore::new(0));
        let started = Count::default();
        let (hold, count) = (Arc::clone(&held), started.clone());
        let fibers = spawn_many(1000, move |_| {
            count.add();
            drop(hold.acquire());
        });
        while started.get() < 1000 {
            yield_now();
        }
        let stats = Runtime::current().unwrap().stats();
        let lived: Vec<_> = stats.workers.iter().map(|worker| worker.started).collect();
        assert_eq!(lived.iter().sum::<u64>(), 1001, "{stats}");
        held.add_permits(1000);
        for fiber in fibers {
            fiber.join().unwrap();
        }
    });
}

#[test]
fn fibers_that_may_live_anywhere_live_on_more_than_one_worker() {
    on_linux(4, || {
        let (tell, told) = mpsc::channel();
        let fibers: Vec<_> = (0..200)
            .map(|_| {
                let tell = tell.clone();
                spawn_any(move || tell.send(here()).unwrap())
            })
            .collect();
        // This blocks the thread: only another worker can start one meanwhile.
        assert_ne!(told.recv().unwrap(), here());
        for fiber in fibers {
            fiber.join().unwrap();
        }
    });
}

fn with_dedicated<T: Send>(dedicated: u16, main: impl FnOnce() -> T + Send) -> T {
    Runtime::builder(Linux::new(Config::default()).unwrap())
        .workers(2)
        .dedicated(dedicated)
        .run(main)
        .unwrap()
}

#[test]
fn a_dedicated_worker_has_one_fiber_at_a_time_and_is_free_again_when_it_ends() {
    with_dedicated(1, || {
        let dedicated = || FiberBuilder::new().dedicated();
        for _ in 0..3 {
            let (release, released) = mpsc::channel();
            let only = dedicated()
                .spawn(move || {
                    // This blocks the thread: nobody else lives there.
                    released.recv().unwrap();
                    here()
                })
                .unwrap();
            let second = dedicated().spawn(|| ());
            assert_eq!(
                second.unwrap_err(),
                SpawnError::NoDedicatedWorker { dedicated: 1 }
            );
            release.send(()).unwrap();
            assert_eq!(only.join().unwrap(), WorkerId(2));
        }
        // A panic and a cancel free it, too, also before the first run.
        let broken = dedicated().spawn(|| panic!("as planned")).unwrap();
        assert!(broken.join().is_err());
        let never = dedicated().spawn(|| ()).unwrap();
        never.cancel();
        let _ = never.join();
        dedicated().spawn(|| ()).unwrap().join().unwrap();
    });
}

#[test]
fn what_a_dedicated_fiber_spawns_lives_elsewhere_unless_it_is_local() {
    with_dedicated(1, || {
        let fiber = FiberBuilder::new().dedicated().spawn(|| {
            let own = here();
            let elsewhere = spawn(here).join().unwrap();
            let local = spawn_local(here).join().unwrap();
            (own, elsewhere, local)
        });
        let (own, elsewhere, local) = fiber.unwrap().join().unwrap();
        assert_eq!(own, local);
        assert_ne!(own, elsewhere);
    });
}

#[test]
fn a_dedicated_fiber_that_polls_and_yields_sees_what_is_sent_later() {
    with_dedicated(1, || {
        let (sender, receiver) = fiber::sync::channel::bounded(1);
        let poller = FiberBuilder::new().dedicated().spawn(move || {
            loop {
                if let Ok(value) = receiver.try_recv() {
                    return value;
                }
                yield_now();
            }
        });
        sleep(Duration::from_millis(10));
        sender.send(7).unwrap();
        assert_eq!(poller.unwrap().join().unwrap(), 7);
    });
}

/// Home is overloaded: its worker is held up, and hundreds of fibers wait there.
#[test]
fn sleeping_workers_help_one_that_is_overloaded() {
    on_linux(2, || {
        let homes = Arc::new(Mutex::new(HashSet::new()));
        let started = Count::default();
        let fibers: Vec<_> = (0..300)
            .map(|_| {
                let (homes, started) = (Arc::clone(&homes), started.clone());
                spawn(move || {
                    homes.lock().unwrap().insert(here());
                    started.add();
                })
            })
            .collect();
        // Not a yield: this worker starts none of them.
        while started.get() < 300 {
            thread::yield_now();
        }
        for fiber in fibers {
            fiber.join().unwrap();
        }
        assert_eq!(homes.lock().unwrap().len(), 1, "{homes:?}");
        let stats = Runtime::current().unwrap().stats();
        let stolen: u64 = stats.workers.iter().map(|worker| worker.stolen).sum();
        assert!(stolen > 0, "{stats}");
    });
}

#[inline(never)]
fn use_some_stack() -> usize {
    let room = core::hint::black_box([1_u8; 20 << 10]);
    room.iter().map(|&byte| usize::from(byte)).sum()
}

#[test]
fn statistics_say_how_deep_the_fibers_of_a_place_use_their_stacks() {
    on_linux(2, || {
        let fibers: Vec<_> = (0..5000).map(|_| spawn(use_some_stack)).collect();
        for fiber in fibers {
            assert_eq!(fiber.join().unwrap(), 20 << 10);
        }
        loop {
            // A worker publishes its numbers before it sleeps.
            sleep(Duration::from_millis(1));
            let stats = Runtime::current().unwrap().stats();
            if let Some(deepest) = stats.stack_use.first() {
                assert!(deepest.deepest_bytes > 20 << 10, "{stats}");
                assert!(stats.to_string().contains("placement.rs"), "{stats}");
                assert!(stats.stacks.in_use() > 0, "{stats}");
                return;
            }
        }
    });
}

/// Two workers are blocked, one of them by a fiber that it was rung up for while it slept, just as
/// it was called for another. The third must come and start that one.
#[test]
fn a_worker_that_was_called_and_has_its_own_to_do_has_the_next_one_called() {
    let long = Duration::from_secs(10);
    for _ in 0..20 {
        on_linux(3, || {
            // The others are asleep then, most probably; the rest holds anyway.
            sleep(Duration::from_millis(1));
            let (tell_placed, told_placed) = mpsc::channel();
            let (tell_main, told_main) = mpsc::channel();
            let placed = spawn_any(move || told_placed.recv_timeout(long).is_ok());
            let at_home = spawn(move || {
                tell_placed.send(()).unwrap();
                tell_main.send(()).unwrap();
            });
            let told = told_main.recv_timeout(long);
            assert!(told.is_ok(), "a worker sleeps while a fiber waits");
            assert!(placed.join().unwrap());
            at_home.join().unwrap();
        });
    }
}

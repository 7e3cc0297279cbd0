//! Nobody is kept from running.

use alloc::sync::Arc;
use core::{
    hint,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::thread;

use fiber::{
    FiberBuilder, Priority, checkpoint, sleep, spawn, spawn_any, sync::channel, timeout, yield_now,
};
use host_sim::Sim;

use crate::support::{Count, WORKERS, in_turn, in_world, on_both, on_linux};

const MS: Duration = Duration::from_millis(1);

/// A fiber that asks again and again sees what is sent while it does.
fn polling(meanwhile: Duration) {
    let (sender, receiver) = channel::bounded(1);
    let poller = spawn(move || {
        loop {
            if let Ok(value) = receiver.try_recv() {
                return value;
            }
            yield_now();
        }
    });
    sleep(meanwhile);
    sender.send(7).unwrap();
    assert_eq!(poller.join().unwrap(), 7);
}

#[test]
fn a_fiber_that_polls_and_yields_sees_what_is_sent_later() {
    for workers in [1, 2, 4] {
        on_linux(workers, || polling(MS * 10));
    }
    // A turn of 128 polls takes 70 ns there: ten of them, and no worker is held up.
    host_sim::check(1000, |sim| {
        let workers = WORKERS[usize::try_from(sim.seed() % 3).unwrap()];
        let sim = sim.stalls(0, Duration::ZERO);
        in_world(sim, workers, || polling(Duration::from_nanos(700)))
    });
}

#[test]
fn two_fibers_that_hand_over_by_spinning_with_checkpoints_both_advance_on_one_worker() {
    let race = || {
        let turn = Arc::new(AtomicUsize::new(0));
        for parity in 0..2 {
            let turn = Arc::clone(&turn);
            drop(spawn(move || {
                loop {
                    let now = turn.load(Ordering::SeqCst);
                    if now >= 100 {
                        return;
                    }
                    if now % 2 == parity {
                        turn.store(now + 1, Ordering::SeqCst);
                    }
                    checkpoint();
                }
            }));
        }
        while turn.load(Ordering::SeqCst) < 100 {
            checkpoint();
        }
    };
    on_linux(1, race);
    in_world(Sim::new(5), 1, race).expect_finished();
}

#[test]
fn a_loop_of_checkpoints_lets_timers_fire_on_its_worker() {
    let spins_until_a_timer_has_fired = || {
        let fired = Count::default();
        let seen = fired.clone();
        drop(spawn(move || {
            sleep(MS);
            fired.add();
        }));
        while seen.get() == 0 {
            checkpoint();
        }
    };
    on_linux(1, spins_until_a_timer_has_fired);
    in_world(Sim::new(6), 1, spins_until_a_timer_has_fired).expect_finished();
}

/// Four fibers, spawned by one and not started, count up in lock-step without ever giving way:
/// that ends only if all four run at once, so that three of them were taken by other workers.
#[test]
fn as_many_fibers_as_workers_run_at_once() {
    on_linux(4, || {
        for _ in 0..10 {
            let step = Arc::new(AtomicUsize::new(0));
            let fibers: Vec<_> = (0..4)
                .map(|place| {
                    let step = Arc::clone(&step);
                    spawn(move || {
                        for round in 0..3 {
                            while step.load(Ordering::SeqCst) != 4 * round + place {
                                hint::spin_loop();
                                // The machine may have fewer processors than there are workers.
                                thread::yield_now();
                            }
                            step.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            for fiber in fibers {
                fiber.join().unwrap();
            }
        }
    });
}

/// A deadline is met although what it is about could always go on.
#[test]
fn a_deadline_is_met_in_spite_of_partners_that_are_always_ready() {
    let busy_until_the_deadline = || {
        let (sender, receiver) = channel::bounded(4);
        let partner = spawn(move || while sender.send(()).is_ok() {});
        let ended = timeout(MS * 20, || {
            loop {
                receiver.recv().unwrap();
            }
        });
        assert!(ended.is_err(), "the loop has no other end");
        drop(receiver);
        partner.join().unwrap();
    };
    on_linux(1, busy_until_the_deadline);
    in_world(Sim::new(8), 1, busy_until_the_deadline).expect_finished();
}

#[test]
fn timed_waits_are_all_answered_while_workers_steal() {
    let waits = |fibers: usize, workers| {
        on_linux(workers, move || {
            let (_sender, receiver) = channel::bounded::<()>(1);
            let waiting: Vec<_> = (0..fibers)
                .map(|index| {
                    let receiver = receiver.clone();
                    let waits = move || receiver.recv_timeout(MS).is_err();
                    if index % 2 == 0 {
                        spawn(waits)
                    } else {
                        spawn_any(waits)
                    }
                })
                .collect();
            for fiber in waiting {
                assert!(fiber.join().unwrap(), "nobody sends");
            }
        });
    };
    waits(100_000, 4);
    waits(1_000, 1);
}

#[test]
fn work_that_is_interrupted_by_checkpoints_is_all_done_when_a_waiting_run_ends() {
    let steps = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&steps);
    on_linux(2, move || {
        for _ in 0..4 {
            let steps = Arc::clone(&steps);
            drop(spawn(move || {
                for _ in 0..20_000 {
                    steps.fetch_add(1, Ordering::Relaxed);
                    checkpoint();
                }
            }));
        }
    });
    assert_eq!(seen.load(Ordering::Relaxed), 80_000);
}

/// High ones run first, and low ones are not shut out by others that are always ready.
#[test]
fn an_urgent_fiber_goes_first_and_none_is_shut_out() {
    in_turn(|| {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let fibers: Vec<_> = [Priority::Low, Priority::Normal, Priority::High]
            .into_iter()
            .map(|priority| {
                let order = Arc::clone(&order);
                FiberBuilder::new()
                    .priority(priority)
                    .spawn(move || order.lock().unwrap().push(priority))
                    .unwrap()
            })
            .collect();
        for fiber in fibers {
            fiber.join().unwrap();
        }
        let order = order.lock().unwrap();
        assert_eq!(*order, [Priority::High, Priority::Normal, Priority::Low]);
    });
    let nobody_is_shut_out = || {
        let (stop, rounds) = (Count::default(), Count::default());
        let spinners: Vec<_> = (0..3)
            .map(|_| {
                let (stop, rounds) = (stop.clone(), rounds.clone());
                FiberBuilder::new()
                    .priority(Priority::High)
                    .spawn(move || {
                        while stop.get() == 0 {
                            rounds.add();
                            yield_now();
                        }
                    })
                    .unwrap()
            })
            .collect();
        // The caller has the normal priority: it goes on at all only as an exception.
        yield_now();
        let before = rounds.get();
        let low = FiberBuilder::new().priority(Priority::Low);
        low.spawn(|| ()).unwrap().join().unwrap();
        let rounds_meanwhile = (rounds.get() - before) / 3;
        assert!(rounds_meanwhile < 60, "{rounds_meanwhile} rounds of others");
        stop.add();
        for spinner in spinners {
            spinner.join().unwrap();
        }
    };
    on_linux(1, nobody_is_shut_out);
    in_world(Sim::new(9), 1, nobody_is_shut_out).expect_finished();
}

#[test]
fn sleepers_of_many_lengths_all_wake() {
    on_both(|| {
        let naps: Vec<_> = (0..30_u32)
            .map(|index| spawn_any(move || sleep(MS * (index % 7) / 4)))
            .collect();
        for nap in naps {
            nap.join().unwrap();
        }
    });
}

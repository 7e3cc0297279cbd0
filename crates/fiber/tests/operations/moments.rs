//! Time as an arm.

use alloc::{sync::Arc, vec::Vec};
use core::{hint::spin_loop, pin::Pin, time::Duration};

use fiber::{
    Instant, choose, mask,
    operation::{Latch, Operation, Published, WaitCell, deadline, timeout, try_perform},
    sleep, spawn,
    sync::{Mutex, channel},
    time,
};

use crate::support::{in_worlds, on_both, on_linux};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(500);

#[test]
fn a_latch_is_waited_for_in_vain_then_with_success_then_at_once() {
    on_both(|| {
        let latch = Arc::new(Latch::new());
        let wait = |latch: &Latch| {
            choose! {
                () = latch.wait_operation("a latch") => true,
                () = timeout(MS * 50) => false,
            }
        };
        assert!(!wait(&latch));
        assert!(!wait(&latch));
        let opener = spawn({
            let latch = Arc::clone(&latch);
            move || latch.open()
        });
        latch.wait_operation("a latch").perform();
        opener.join().unwrap();
        assert!(wait(&latch));
        assert!(wait(&latch));
    });
}

#[test]
fn moments_come_in_their_order_and_exactly_on_time_in_a_world() {
    in_worlds(1000, || {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let start = time::now();
        let sleepers: Vec<_> = (1..=10)
            .rev()
            .map(|n| {
                let ended = Arc::clone(&ended);
                spawn(move || {
                    deadline(start + MS * n * 100).perform();
                    ended.lock().unwrap().push(n);
                })
            })
            .collect();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        assert_eq!(*ended.lock().unwrap(), (1..=10).collect::<Vec<_>>());
    });
}

#[test]
fn of_several_moments_the_first_one_is_chosen() {
    on_both(|| {
        for winner in 0..3_u32 {
            let span = |arm| if arm == winner { MS } else { LONG };
            let chosen = choose! {
                () = timeout(span(0)) => 0,
                () = timeout(span(1)) => 1,
                () = deadline(time::now() + span(2)) => 2,
            };
            assert_eq!(chosen, winner);
        }
    });
}

#[test]
fn a_moment_that_stays_comes_although_other_arms_are_always_ready() {
    fn busy(span: Duration) {
        let (sender, receiver) = channel::bounded(1);
        let over = Arc::new(Latch::new());
        let other = spawn({
            let (sender, receiver) = (sender.clone(), receiver.clone());
            let over = Arc::clone(&over);
            move || {
                while !over.is_open() {
                    choose! {
                        sent = sender.send_operation(0) => sent.unwrap(),
                        value = receiver.recv_operation() => { value.unwrap(); }
                    }
                }
            }
        });
        let end = deadline(time::now() + span);
        loop {
            choose! {
                sent = sender.send_operation(0) => sent.unwrap(),
                value = receiver.recv_operation() => { value.unwrap(); }
                () = end => break,
            }
        }
        over.open();
        // It may wait for a partner that is gone.
        while !other.is_finished() {
            let _ = receiver.try_recv();
            let _ = sender.try_send(0);
            sleep(MS);
        }
        other.join().unwrap();
    }
    on_linux(1, || busy(MS * 20));
    on_linux(2, || busy(MS * 20));
    in_worlds(200, || busy(Duration::from_micros(20)));
}

#[test]
fn timers_that_do_not_fire_are_gone_when_their_choice_is() {
    fn rounds(count: u32) {
        let (sender, receiver) = channel::rendezvous();
        let sending = spawn(move || {
            for number in 0..count {
                sender.send(number).unwrap();
            }
        });
        for number in 0..count {
            let received = choose! {
                value = receiver.recv_operation() => value.unwrap(),
                () = timeout(LONG) => panic!("not so late"),
            };
            assert_eq!(received, number);
        }
        sending.join().unwrap();
        // A turn later; its own sleep counts.
        sleep(MS);
        let stats = fiber::Runtime::current().unwrap().stats();
        let timers: u64 = stats.workers.iter().map(|worker| worker.timers).sum();
        assert!(timers <= 1 + stats.workers.len() as u64, "{stats}");
    }
    on_linux(1, || rounds(200_000));
    on_linux(2, || rounds(20_000));
    in_worlds(1000, || rounds(20));
}

#[test]
fn a_cancel_beats_a_moment_that_has_not_come_and_masks_keep_it_out() {
    on_both(|| {
        let sleeper = spawn(|| {
            mask(|| timeout(MS).perform());
            timeout(LONG).perform();
        });
        sleep(Duration::from_micros(10));
        sleeper.cancel();
        assert!(sleeper.join().is_err());
    });
}

/// Can commit before a moment, and is tried when that has come.
struct Before(Instant);

// SAFETY: it has no nodes and is never committed.
unsafe impl Operation for Before {
    type Output = ();

    fn name(&self) -> &'static str {
        "what was before"
    }

    fn try_now(&mut self) -> Option<u16> {
        while time::now() < self.0 {
            spin_loop();
        }
        None
    }

    unsafe fn publish(self: Pin<&mut Self>, _cell: &WaitCell, _base: u16) -> Published {
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, _winner: Option<u16>) {}

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) {}
}

#[test]
fn a_moment_that_comes_during_a_try_is_seen_by_it() {
    on_linux(1, || {
        for _ in 0..50 {
            let at = time::now() + Duration::from_micros(50);
            assert!(try_perform(Before(at).or(deadline(at))).is_ok());
        }
    });
}

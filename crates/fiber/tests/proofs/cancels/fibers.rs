//! Fibers that others wait for: those that wait before they start, and those whose ends are joined.

use alloc::sync::Arc;

use fiber::{
    Fiber, JoinHandle, JoinSet, choose,
    operation::{Operation, timeout},
    sleep, spawn, spawn_when,
    sync::channel::{Receiver, Sender, bounded},
};

use super::{
    Cast, cancel_everywhere,
    plays::{MOMENT, Section, dawdle},
};
use crate::support::EVER;

/// Cancels the fiber when it is dropped.
struct Tied(Fiber);

impl Drop for Tied {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Things that come back when they are dropped.
type Pool = (Sender<()>, Receiver<()>);

struct Borrowed(Sender<()>);

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.0.try_send(()).expect("its place is free");
    }
}

const THINGS: usize = 2;

fn a_pool() -> Arc<Pool> {
    let pool = bounded(THINGS);
    (0..THINGS).for_each(|_| pool.0.send(()).unwrap());
    Arc::new(pool)
}

/// A fiber that has its turn when there is a thing for it.
fn waits_for_a_thing(pool: &Pool, turn: usize) -> JoinHandle<()> {
    let (back, things) = pool.clone();
    let thing = things.into_recv_operation();
    let borrow = thing.wrap(move |thing| thing.map(|()| Borrowed(back)));
    spawn_when(borrow, move |borrowed| {
        let _borrowed = borrowed.unwrap();
        dawdle(turn);
    })
}

/// With the victim, one that has not started yet is cancelled.
fn fibers_that_wait_first(cast: &mut Cast) {
    let pool = a_pool();
    let own = Arc::clone(&pool);
    cast.victim(move || {
        for turn in 0..5 {
            let waits = waits_for_a_thing(&own, turn);
            let _tied = Tied(waits.fiber().clone());
            sleep(MOMENT / 2);
            if turn % 2 == 0 {
                waits.join().unwrap();
            }
        }
    });
    for start in 0..3 {
        let own = Arc::clone(&pool);
        cast.other(move || {
            for turn in start..start + 4 {
                waits_for_a_thing(&own, turn).join().unwrap();
            }
        });
    }
    cast.check(move || {
        sleep(EVER);
        assert_eq!(pool.1.len(), THINGS, "things came back");
    });
}

#[test]
fn a_cancel_at_any_suspension_loses_nothing_that_a_fiber_waits_for_before_it_starts() {
    cancel_everywhere("fibers that wait first", fibers_that_wait_first);
}

fn a_set(cast: &mut Cast, patient: bool) {
    let inside = Section::new(4);
    let room = inside.clone();
    cast.victim(move || {
        let mut set = JoinSet::new();
        for turn in 0..4 {
            let room = room.clone();
            set.spawn(move || {
                let _inside = room.enter(1);
                dawdle(turn);
                sleep(MOMENT);
                turn
            });
        }
        let mut joined = Vec::new();
        while !set.is_empty() {
            let next = match patient {
                true => set.join_next(),
                false => set.join_next_timeout(MOMENT / 4).unwrap_or(None),
            };
            joined.extend(next.map(Result::unwrap));
            dawdle(joined.len());
        }
        joined.sort_unstable();
        assert_eq!(joined, [0, 1, 2, 3], "each once");
    });
    cast.check(move || {
        sleep(EVER);
        drop(inside.enter(4));
    });
}

fn an_end_among_others(cast: &mut Cast) {
    let inside = Section::new(2);
    let room = inside.clone();
    cast.victim(move || {
        let [mut one, mut other] = [1, 2].map(|turn| {
            let room = room.clone();
            spawn(move || {
                let _inside = room.enter(1);
                dawdle(0);
                sleep(MOMENT * turn);
            })
        });
        let _tied = [&one, &other].map(|child| Tied(child.fiber().clone()));
        loop {
            choose! {
                ended = one.join_operation() => break ended.unwrap(),
                ended = other.join_operation() => break ended.unwrap(),
                () = timeout(MOMENT / 2) => dawdle(1),
            }
        }
    });
    cast.check(move || {
        sleep(EVER);
        drop(inside.enter(2));
    });
}

#[test]
fn a_cancel_at_any_suspension_leaves_no_end_untold() {
    cancel_everywhere("join_next", |cast| a_set(cast, true));
    cancel_everywhere("join_next_timeout", |cast| a_set(cast, false));
    cancel_everywhere("join_operation", an_end_among_others);
}

//! Those who wait for each other: readers and writers, barriers, counts, values written once.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use fiber::{
    checkpoint, sleep,
    sync::{Barrier, Counter, Latch, OnceLock, RwLock, WaitGroup},
};

use super::{
    Cast, cancel_everywhere,
    plays::{Flag, MOMENT, Section, dawdle},
};

/// More than ever read at once.
const ALL: usize = 8;

#[derive(Clone, Copy)]
struct Habit {
    writes: bool,
    patient: bool,
}

fn read_or_write(lock: &RwLock<Section>, Habit { writes, patient }: Habit) {
    for turn in 0..5 {
        // Every now and then the other way.
        if writes == (turn != 3) {
            let guard = match patient {
                true => lock.write().ok(),
                false => lock.write_timeout(MOMENT / 2).ok(),
            };
            if let Some(section) = &guard {
                let _inside = section.enter(ALL);
                dawdle(turn);
            }
        } else {
            let guard = match patient {
                true => lock.read().ok(),
                false => lock.read_timeout(MOMENT / 2).ok(),
            };
            if let Some(section) = &guard {
                let _inside = section.enter(1);
                dawdle(turn);
            }
        }
        dawdle(turn + 1);
    }
}

fn a_read_write_lock(cast: &mut Cast, habit: Habit) {
    let lock = Arc::new(RwLock::new(Section::new(ALL)));
    let own = Arc::clone(&lock);
    cast.victim(move || read_or_write(&own, habit));
    for (writes, patient) in [(false, true), (true, false), (false, false), (true, true)] {
        let own = Arc::clone(&lock);
        cast.other(move || read_or_write(&own, Habit { writes, patient }));
    }
    cast.check(move || drop(lock.try_write().expect("free, and not poisoned")));
}

/// The victim wants to write, and holds back one that could read: they go when it has given up.
fn a_writer_in_front(cast: &mut Cast) {
    let lock = Arc::new(RwLock::new(()));
    let (served, own) = (Arc::new(Latch::new()), Arc::clone(&lock));
    let behind = Arc::clone(&served);
    cast.other(move || {
        let _held = own.read().unwrap();
        behind.wait();
    });
    let own = Arc::clone(&lock);
    cast.victim(move || {
        sleep(MOMENT);
        drop(own.write_timeout(MOMENT * 4));
    });
    cast.other(move || {
        sleep(MOMENT * 3);
        drop(lock.read());
        served.open();
    });
}

#[test]
fn a_cancel_at_any_suspension_leaves_no_read_write_lock_held() {
    cancel_everywhere("a writer in front", a_writer_in_front);
    for (writes, patient) in [(false, true), (true, true), (false, false), (true, false)] {
        let name = if writes { "a writer" } else { "a reader" };
        cancel_everywhere(name, move |cast| {
            a_read_write_lock(cast, Habit { writes, patient });
        });
    }
}

/// How many have passed a barrier, and how many of them as leaders.
#[derive(Default)]
struct Passes {
    all: AtomicUsize,
    leaders: AtomicUsize,
}

impl Passes {
    fn count(&self, leads: bool) {
        self.all.fetch_add(1, Ordering::SeqCst);
        self.leaders.fetch_add(usize::from(leads), Ordering::SeqCst);
    }
}

/// Sets the flag when it is dropped.
struct AtEnd(Flag);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.set();
    }
}

fn a_barrier(cast: &mut Cast) {
    let shared = Arc::new((Barrier::new(2), Passes::default()));
    let is_over = Flag::default();
    let (own, end) = (Arc::clone(&shared), AtEnd(is_over.clone()));
    cast.victim(move || {
        let (barrier, passes) = &*own;
        for turn in 0..4 {
            passes.count(barrier.wait().is_leader());
            dawdle(turn);
        }
        drop(end);
    });
    for start in 0..2 {
        let (own, is_over) = (Arc::clone(&shared), is_over.clone());
        cast.other(move || {
            let (barrier, passes) = &*own;
            for turn in start.. {
                if let Ok(passed) = barrier.wait_timeout(MOMENT) {
                    passes.count(passed.is_leader());
                }
                if is_over.is_set() {
                    return;
                }
                dawdle(turn);
            }
        });
    }
    cast.check(move || {
        let (barrier, passes) = &*shared;
        let [all, leaders] = [&passes.all, &passes.leaders].map(|n| n.load(Ordering::SeqCst));
        assert_eq!(all, 2 * leaders, "two make a round, and one of them leads");
        assert!(
            barrier.try_wait().is_none(),
            "nobody is left at the barrier"
        );
    });
}

#[test]
fn a_cancel_at_any_suspension_leaves_nobody_at_a_barrier() {
    cancel_everywhere("a barrier", a_barrier);
}

fn a_counter(cast: &mut Cast) {
    let counter = Arc::new(Counter::new(3));
    let own = Arc::clone(&counter);
    cast.victim(move || {
        let _ = own.wait_timeout(1, MOMENT / 2);
        dawdle(1);
        own.wait(0);
    });
    let own = Arc::clone(&counter);
    cast.other(move || own.wait(0));
    let own = Arc::clone(&counter);
    cast.other(move || {
        for turn in 0..3 {
            dawdle(turn);
            own.sub(1);
            dawdle(0);
        }
    });
    cast.check(move || assert!(counter.try_wait(0)));
}

/// The victim is waited for, and waits itself for those that it has called.
fn a_wait_group(cast: &mut Cast) {
    let (group, errands) = (WaitGroup::new(), WaitGroup::new());
    let (token, errand) = (group.token(), errands.token());
    cast.victim(move || {
        let more = token.clone();
        dawdle(0);
        drop(token);
        errands.wait();
        checkpoint();
        drop(more);
    });
    cast.other(move || {
        (0..3).for_each(dawdle);
        drop(errand);
    });
    cast.other(move || group.wait());
}

#[test]
fn a_cancel_at_any_suspension_is_noticed_by_who_counts() {
    cancel_everywhere("a counter", a_counter);
    cancel_everywhere("a wait group", a_wait_group);
}

fn a_value(cast: &mut Cast) {
    let (lock, made) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let make = |number: usize| {
        let (lock, made) = (Arc::clone(&lock), Arc::clone(&made));
        move || {
            let value = *lock.get_or_init(|| {
                (0..4).for_each(dawdle);
                made.fetch_add(1, Ordering::SeqCst);
                number
            });
            dawdle(0);
            assert_eq!(*lock.wait(), value, "it stays the same");
        }
    };
    cast.victim(make(0));
    cast.other(make(1));
    cast.other(make(2));
    let own = Arc::clone(&lock);
    cast.other(move || {
        own.wait();
    });
    cast.check(move || assert_eq!(made.load(Ordering::SeqCst), 1, "it was made once"));
}

#[test]
fn a_cancel_at_any_suspension_leaves_the_making_of_a_value_to_others() {
    cancel_everywhere("a value", a_value);
}

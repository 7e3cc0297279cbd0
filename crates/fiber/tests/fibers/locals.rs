//! Values that belong to fibers, and to workers.

use alloc::{rc::Rc, sync::Arc};
use core::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicUsize, Ordering},
};
use std::{
    sync::{Barrier, OnceLock},
    thread,
};

use fiber::{
    FiberLocal, Runtime, WorkerId, fiber_local, mask, park, spawn, spawn_any, spawn_local,
    sync::{Mutex, channel},
    worker_local, yield_now,
};
use host_linux::{Config, Linux};

use crate::support::{WORKERS, in_worlds, on_linux};

fn everywhere(main: fn()) {
    for workers in WORKERS {
        on_linux(workers, main);
    }
    in_worlds(200, main);
}

fiber_local! {
    static COUNT: Cell<u32> = Cell::new(0);
    static SHARED: Rc<RefCell<Vec<u32>>> = Rc::default();
    inherited static NUMBER: Option<u32> = None;
    inherited static OTHER: &'static str = "none";
    inherited static FROM_OUTSIDE: &'static str = "bar";
}

#[test]
fn each_fiber_has_its_own_value() {
    everywhere(|| {
        let count = || COUNT.with(|count| count.replace(count.get() + 1));
        assert_eq!((count(), count()), (0, 1));
        let children: Vec<_> = (0..4)
            .map(|_| {
                spawn_any(move || {
                    count();
                    yield_now();
                    SHARED.with(|list| list.borrow_mut().push(count()));
                    SHARED.take().map(|list| list.borrow().clone())
                })
            })
            .collect();
        for child in children {
            assert_eq!(child.join().unwrap(), Some(vec![1]));
        }
        assert_eq!(count(), 2);
    });
}

#[test]
fn a_value_can_be_set_taken_and_replaced_while_it_is_lent() {
    everywhere(|| {
        COUNT.set(Cell::new(5));
        COUNT.with(|before| {
            COUNT.set(Cell::new(6));
            assert_eq!(before.get(), 5, "it lasts as long as it is lent");
        });
        assert_eq!(COUNT.take().map(Cell::into_inner), Some(6));
        assert_eq!(COUNT.take(), None);
        assert_eq!(COUNT.with(Cell::get), 0);
        let lent = fiber::catch_unwind(|| COUNT.with(|_| fiber::core::park::no_suspend(|| ())));
        assert!(lent.is_ok());
    });
}

#[test]
#[should_panic(expected = "needs a fiber")]
fn outside_of_a_fiber_there_is_no_value() {
    COUNT.with(|_| ());
}

#[test]
fn a_child_begins_with_the_value_of_its_parent() {
    everywhere(|| {
        let read = || NUMBER.with(|number| *number);
        assert_eq!(read(), None);
        assert_eq!(spawn(read).join().unwrap(), None);
        let child = spawn(move || {
            NUMBER.set(Some(42));
            let grandchild = spawn_any(read);
            (read(), grandchild.join().unwrap())
        });
        assert_eq!(child.join().unwrap(), (Some(42), Some(42)));
        assert_eq!(read(), None, "what the child sets is its own");
        let inside = NUMBER.scope(Some(100), || {
            let before = spawn_any(read);
            let server = spawn(move || {
                NUMBER.set(Some(1));
                read()
            });
            (read(), before.join().unwrap(), server.join().unwrap())
        });
        assert_eq!(inside, (Some(100), Some(100), Some(1)));
        assert_eq!(read(), None, "the binding is over");
    });
}

#[test]
fn a_child_keeps_what_it_began_with_when_its_parent_changes() {
    everywhere(|| {
        OTHER.set("first");
        let (go, wait) = channel::bounded(1);
        let child = spawn(move || {
            wait.recv().unwrap();
            OTHER.with(|other| *other)
        });
        OTHER.set("second");
        go.send(()).unwrap();
        assert_eq!(child.join().unwrap(), "first");
        OTHER.clear();
        let child = spawn(|| OTHER.with(|other| *other));
        assert_eq!(child.join().unwrap(), "none", "it was taken away");
    });
}

#[test]
fn values_come_from_the_fiber_that_spawns_not_from_the_owner_of_the_scope() {
    everywhere(|| {
        OTHER.set("owner");
        let seen = fiber::scope(|scope| {
            let spawner = scope.spawn(|| {
                OTHER.set("spawner");
                let child = scope.spawn(|| OTHER.with(|other| *other));
                child.join().unwrap()
            });
            spawner.join().unwrap()
        });
        assert_eq!(seen, "spawner");
    });
}

#[test]
fn a_binding_ends_when_it_is_unwound() {
    everywhere(|| {
        let unwound = spawn(|| {
            mask(|| {
                fiber::current().unwrap().cancel();
                let left = std::panic::catch_unwind(|| {
                    OTHER.scope("bound", || std::panic::resume_unwind(Box::new(())))
                });
                assert!(left.is_err());
                OTHER.with(|other| *other)
            })
        });
        assert_eq!(unwound.join().unwrap(), "none");
    });
}

#[test]
fn what_is_set_before_the_run_is_seen_inside() {
    FROM_OUTSIDE.set("foo");
    let env = Linux::new(Config::default()).unwrap();
    let read = || FROM_OUTSIDE.with(|value| *value);
    let seen = Runtime::builder(env)
        .workers(2)
        .run(move || {
            let child = spawn_any(read).join().unwrap();
            FROM_OUTSIDE.set("inside");
            (child, read())
        })
        .unwrap();
    assert_eq!(seen, ("foo", "inside"));
    assert_eq!(read(), "foo");
}

#[test]
fn keys_that_many_threads_use_at_once_are_kept_apart() {
    let env = Linux::new(Config::default()).unwrap();
    Runtime::builder(env)
        .workers(4)
        .run(|| {
            let keys: &'static [FiberLocal<Cell<usize>>] =
                Vec::leak((0..64).map(|_| FiberLocal::new(Cell::default)).collect());
            let fibers = fiber::spawn_many(8, move |number| {
                for (index, key) in keys.iter().enumerate() {
                    key.with(|cell| cell.set(number * 100 + index));
                }
                yield_now();
                let kept = |(index, key): (usize, &FiberLocal<Cell<usize>>)| {
                    key.with(Cell::get) == number * 100 + index
                };
                keys.iter().enumerate().all(kept)
            });
            for fiber in fibers {
                assert!(fiber.join().unwrap());
            }
        })
        .unwrap();
}

/// Counts drops, and does something more at each.
struct AtEnd(Arc<AtomicUsize>, fn(&Self));

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        (self.1)(self);
    }
}

fiber_local! {
    static LAST: RefCell<Option<AtEnd>> = RefCell::new(None);
    static AGAIN: RefCell<Option<AtEnd>> = RefCell::new(None);
}

#[test]
fn destructors_run_on_the_fiber_before_it_ends_and_may_lock_and_wait() {
    static LOCK: OnceLock<Mutex<u32>> = OnceLock::new();
    LOCK.get_or_init(Mutex::default);
    on_linux(2, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let guard = LOCK.get().unwrap().lock().unwrap();
        let (value, started) = (Arc::clone(&dropped), channel::bounded(1));
        let (tell, told) = started;
        let fiber = spawn(move || {
            let end = AtEnd(value, |_| {
                assert!(fiber::current().is_some());
                *LOCK.get().unwrap().lock().unwrap() += 1;
            });
            LAST.with(|last| last.replace(Some(end)));
            tell.send(()).unwrap();
            park();
        });
        told.recv().unwrap();
        fiber.cancel();
        while dropped.load(Ordering::Relaxed) == 0 {
            yield_now();
        }
        assert!(!fiber.is_finished(), "its destructor waits for the lock");
        drop(guard);
        assert!(fiber.join().is_err());
        assert_eq!(*LOCK.get().unwrap().lock().unwrap(), 1);
    });
}

#[test]
fn destructors_that_set_other_values_run_in_four_rounds_at_the_most() {
    everywhere(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let value = Arc::clone(&dropped);
        let fiber = spawn(move || {
            fn set_again(ended: &AtEnd) {
                let next = AtEnd(Arc::clone(&ended.0), set_again);
                AGAIN.with(|again| again.replace(Some(next)));
            }
            let end = AtEnd(value, set_again);
            LAST.with(|last| last.replace(Some(end)));
        });
        fiber.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn a_destructor_that_panics_harms_neither_the_result_nor_the_others() {
    on_linux(1, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (one, other) = (Arc::clone(&dropped), Arc::clone(&dropped));
        let fiber = spawn(move || {
            LAST.with(|last| last.replace(Some(AtEnd(one, |_| ()))));
            AGAIN.with(|again| again.replace(Some(AtEnd(other, |_| panic!("as planned")))));
            3
        });
        assert_eq!(fiber.join().unwrap(), 3);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn inherited_values_end_with_the_last_fiber_that_has_them() {
    struct Held(#[expect(dead_code, reason = "it is held")] Arc<()>);
    fiber_local! {
        inherited static HELD: Option<Held> = None;
    }
    everywhere(|| {
        let value = Arc::new(());
        let held = Held(Arc::clone(&value));
        let parent = spawn(move || {
            HELD.set(Some(held));
            let unstarted = spawn(park);
            unstarted.cancel();
            (spawn(|| ()), unstarted)
        });
        let (child, unstarted) = parent.join().unwrap();
        child.join().unwrap();
        assert!(unstarted.join().is_err());
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

worker_local! {
    static SERVED: Cell<u32> = Cell::new(0);
}

#[test]
fn the_fibers_of_a_worker_share_its_values_and_other_workers_have_others() {
    on_linux(2, || {
        let count = || SERVED.with(|served| served.replace(served.get() + 1));
        let on = |worker| {
            let builder = fiber::FiberBuilder::new().worker(WorkerId(worker));
            builder
                .spawn(move || (thread::current().id(), count()))
                .unwrap()
                .join()
                .unwrap()
        };
        let (first, second) = (on(0), on(1));
        assert_eq!((first.1, second.1), (0, 0));
        assert_ne!(first.0, second.0);
        assert_eq!((on(0).1, on(1).1), (1, 1));
        let here = count();
        assert_eq!(spawn_local(count).join().unwrap(), here + 1);
    });
}

#[test]
fn the_values_of_a_worker_end_with_it() {
    let dropped = Arc::new(AtomicUsize::new(0));
    worker_local! {
        static END: RefCell<Option<AtEnd>> = RefCell::new(None);
    }
    let value = Arc::clone(&dropped);
    on_linux(1, move || {
        END.with(|end| end.replace(Some(AtEnd(value, |_| ()))));
    });
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

/// Dropped on the thread on which it was made.
struct Pinned(thread::ThreadId, Arc<AtomicUsize>);

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.0 == thread::current().id() && fiber::current().is_some() {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_value_that_an_inherited_one_sets_at_the_end_is_dropped_on_its_fiber() {
    fiber_local! {
        static LATE: RefCell<Option<Pinned>> = RefCell::new(None);
        inherited static SETS: Option<Sets> = None;
    }
    struct Sets(Arc<AtomicUsize>);
    impl Drop for Sets {
        fn drop(&mut self) {
            let late = Pinned(thread::current().id(), Arc::clone(&self.0));
            LATE.with(|value| value.replace(Some(late)));
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let value = Arc::clone(&dropped);
    let handle = on_linux(1, move || {
        let fiber = spawn(move || SETS.set(Some(Sets(value))));
        let handle = fiber.fiber().clone();
        fiber.join().unwrap();
        handle
    });
    thread::spawn(move || drop(handle)).join().unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn values_of_a_worker_that_make_each_other_without_end_are_leaked() {
    worker_local! {
        static ONE: RefCell<Option<AtEnd>> = RefCell::new(None);
        static OTHER: RefCell<Option<AtEnd>> = RefCell::new(None);
    }
    fn set_other(ended: &AtEnd) {
        OTHER.with(|other| other.replace(Some(AtEnd(Arc::clone(&ended.0), set_one))));
    }
    fn set_one(ended: &AtEnd) {
        ONE.with(|one| one.replace(Some(AtEnd(Arc::clone(&ended.0), set_other))));
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let first = Arc::clone(&dropped);
    on_linux(1, move || {
        ONE.with(|one| one.replace(Some(AtEnd(first, set_other))));
    });
    assert_eq!(dropped.load(Ordering::Relaxed), 4);
}

#[test]
fn threads_that_make_the_value_of_the_program_at_once_get_the_same() {
    static MAKING: Barrier = Barrier::new(2);
    fiber_local! {
        inherited static SHARED_BY_ALL: std::sync::Mutex<u32> = {
            MAKING.wait();
            std::sync::Mutex::new(0)
        };
    }
    let add = || SHARED_BY_ALL.with(|count| *count.lock().unwrap() += 1);
    thread::scope(|threads| {
        threads.spawn(add);
        threads.spawn(add);
    });
    SHARED_BY_ALL.with(|count| assert_eq!(*count.lock().unwrap(), 2));
}

#[test]
fn fibers_that_make_the_value_of_their_worker_at_once_get_the_same() {
    worker_local! {
        static SLOW: Cell<u32> = {
            yield_now();
            Cell::new(0)
        };
    }
    on_linux(1, || {
        let add = || SLOW.with(|count| count.set(count.get() + 1));
        let fibers = [spawn(add), spawn(add)];
        for fiber in fibers {
            fiber.join().unwrap();
        }
        SLOW.with(|count| assert_eq!(count.get(), 2));
    });
}

//! What a process may have at once, and that it never has more.

use alloc::sync::Arc;
use core::{
    net::Ipv4Addr,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber::{
    End, ExitReason, IoErrorKind, JoinHandle, JoinSet, Process, ProcessBuilder, Runtime,
    SpawnError, StackClass, catch_unwind, core::env::StackError, io::TcpListener, join,
    on_big_stack, park, scope, sleep, spawn, spawn_any, spawn_many, spawn_when, sync::channel,
    yield_now,
};

use crate::{
    support::{Count, on_linux},
    world::everywhere,
};

/// Runs `main` as a process with these limits.
fn limited<T: Send + 'static>(
    builder: ProcessBuilder,
    main: impl FnOnce() -> T + Send + 'static,
) -> T {
    let process = builder.spawn(main).unwrap();
    let handle = process.process().clone();
    let value = process.join().unwrap();
    let stats = handle.stats();
    assert_eq!((stats.fibers, stats.ids, stats.stack_bytes), (0, 0, 0));
    assert!(Runtime::current().unwrap().processes().is_empty());
    value
}

fn is_at_limit<T>(spawned: &Result<T, SpawnError>, what: &str) -> bool {
    matches!(spawned, Err(SpawnError::Limit(limit)) if limit.what == what)
}

fn here() -> Process {
    Process::current().unwrap()
}

/// What a panic of `body` says.
fn panic_of<T>(body: impl FnOnce() -> T) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(body)) else {
        panic!("it did not panic")
    };
    payload.to_string()
}

fn listen() -> Result<TcpListener, IoErrorKind> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.kind())
}

#[test]
fn a_process_at_its_limit_of_fibers_gets_no_more_and_others_do() {
    everywhere(|| {
        limited(Process::builder().fibers_max(3), || {
            let two = [spawn(park), spawn(park)];
            assert!(is_at_limit(
                &fiber::FiberBuilder::new().spawn(park),
                "fibers"
            ));
            assert!(is_at_limit(&here().spawn(park), "fibers"));
            let said = panic_of(|| spawn(park));
            assert!(said.contains("limit of 3 fibers"), "{said}");
            let child = Process::builder().spawn(|| spawn(|| 7).join().unwrap());
            assert_eq!(child.unwrap().join().unwrap(), 7, "children have their own");
            two.iter().for_each(JoinHandle::cancel);
            two.into_iter()
                .for_each(|fiber| drop(fiber.join().unwrap_err()));
            assert_eq!(here().stats().fibers, 1);
        });
        spawn(|| ()).join().unwrap();
    });
}

#[test]
fn who_has_joined_a_fiber_may_spawn_in_its_place_at_once() {
    everywhere(|| {
        limited(Process::builder().fibers_max(2), || {
            for _ in 0..50 {
                spawn_any(|| ()).join().unwrap();
            }
        });
    });
}

#[test]
fn many_are_spawned_together_or_not_at_all() {
    everywhere(|| {
        let ran = Count::default();
        let count = ran.clone();
        limited(Process::builder().fibers_max(5), move || {
            let counted = count.clone();
            let said = panic_of(|| spawn_many(5, move |_| counted.add()));
            assert!(said.contains("limit of 5 fibers"), "{said}");
            assert_eq!((count.get(), here().stats().fibers), (0, 1));
            let counted = count.clone();
            for fiber in spawn_many(4, move |_| counted.add()) {
                fiber.join().unwrap();
            }
        });
        assert_eq!(ran.get(), 4);
    });
}

#[test]
fn a_fiber_that_waits_before_it_starts_counts_too() {
    everywhere(|| {
        limited(Process::builder().fibers_max(2), || {
            let long = || fiber::operation::timeout(Duration::from_secs(1000));
            let first = spawn_when(long(), |()| ());
            let builder = fiber::FiberBuilder::new();
            assert!(is_at_limit(&builder.spawn_when(long(), |()| ()), "fibers"));
            assert_eq!(here().stats().stack_bytes, StackClass::default().bytes());
            first.cancel();
            first.join().unwrap_err();
            spawn_when(fiber::operation::always(5), |five| five)
                .join()
                .unwrap();
        });
    });
}

#[test]
fn a_scope_at_the_limit_has_ended_all_that_it_had_spawned() {
    everywhere(|| {
        limited(Process::builder().fibers_max(3), || {
            let (begun, ended) = (Count::default(), Count::default());
            let said = panic_of(|| {
                scope(|scope| {
                    for _ in 0..3 {
                        drop(scope.spawn(|| {
                            begun.add();
                            let _ended = OnDrop(|| ended.add());
                            park();
                        }));
                        yield_now();
                    }
                });
            });
            assert!(said.contains("limit of 3 fibers"), "{said}");
            assert_eq!(begun.get(), ended.get());
            assert_eq!(here().stats().fibers, 1);
        });
    });
}

#[test]
fn join_and_join_sets_at_the_limit_leave_nothing_behind() {
    everywhere(|| {
        limited(Process::builder().fibers_max(2), || {
            let said = panic_of(|| join!(yield_now(), yield_now(), yield_now()));
            assert!(said.contains("limit of 2 fibers"), "{said}");
            assert_eq!(here().stats().fibers, 1);
            let mut set = JoinSet::new();
            let (go, goes) = channel::bounded(1);
            set.spawn(move || goes.recv().unwrap());
            let said = panic_of(AssertUnwindSafe(|| set.spawn(|| 2)));
            assert!(said.contains("limit of 2 fibers"), "{said}");
            assert_eq!(set.len(), 1);
            go.send(1).unwrap();
            assert_eq!(set.join_next().unwrap().unwrap(), 1);
            set.spawn(|| 3);
            assert_eq!(set.join_next().unwrap().unwrap(), 3);
        });
    });
}

#[test]
fn stacks_are_limited_by_their_bytes_and_the_closures_are_dropped() {
    const K64: usize = StackClass::K64.bytes();
    everywhere(|| {
        let builder = Process::builder().stack(StackClass::K64);
        limited(builder.stack_bytes_max(3 * K64), || {
            let spawn_64 = || fiber::FiberBuilder::new().stack(StackClass::K64);
            let two = [(); 2].map(|()| spawn_64().spawn(park).unwrap());
            // Those that have started have their stacks.
            while !two.iter().all(|fiber| fiber.fiber().is_started()) {
                sleep(Duration::from_millis(1));
            }
            let dropped = Count::default();
            let count = OnDrop({
                let dropped = dropped.clone();
                move || dropped.add()
            });
            let refused = spawn_64().spawn(move || drop(count)).unwrap().join();
            let Err(ExitReason::NoStack(StackError::Process(limit))) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!((limit.limit, dropped.get()), (3 * K64, 1));
            let big = on_big_stack(StackClass::K64, || ());
            assert_eq!(big, Err(StackError::Process(limit)));
            two.iter().for_each(JoinHandle::cancel);
            two.into_iter()
                .for_each(|fiber| drop(fiber.join().unwrap_err()));
            assert_eq!(on_big_stack(StackClass::K64, || 5), Ok(5));
            assert_eq!(here().stats().stack_bytes, K64);
        });
    });
}

#[test]
fn a_process_without_room_for_its_first_stack_says_so() {
    everywhere(|| {
        let process = Process::builder().stack_bytes_max(1).spawn(|| ());
        let exit = process.unwrap().join().unwrap_err();
        let End::NotStarted(_) = &exit.end else {
            panic!("{exit}")
        };
    });
}

#[test]
fn a_process_at_its_limit_of_ids_opens_no_more_and_others_do() {
    everywhere(|| {
        limited(Process::builder().ids_max(2), || {
            let two = [listen().unwrap(), listen().unwrap()];
            assert_eq!(here().stats().ids, 2);
            for _ in 0..3 {
                assert_eq!(listen().unwrap_err(), IoErrorKind::ProcessIds);
            }
            let child = Process::builder().spawn(|| listen().map(drop));
            child.unwrap().join().unwrap().unwrap();
            drop(two);
            // What was closed here is no limit any more, not even for a moment.
            for _ in 0..10 {
                drop([listen().unwrap(), listen().unwrap()]);
            }
        });
        drop(listen().unwrap());
    });
}

#[test]
fn limits_hold_when_all_workers_spawn_at_once() {
    on_linux(4, || {
        const LIMIT: usize = 9;
        let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let numbers = (Arc::clone(&alive), Arc::clone(&most));
        limited(Process::builder().fibers_max(LIMIT), move || {
            let (alive, most) = numbers;
            let rivals = spawn_many(4, move |_| spawn_greedily(&alive, &most));
            rivals.into_iter().for_each(join);
            assert_eq!(here().stats().fibers, 1);
        });
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        // The main fiber counts, too.
        assert!(most.load(Ordering::SeqCst) < LIMIT);
    });
}

fn join<T>(fiber: JoinHandle<T>) -> T {
    fiber.join().unwrap()
}

/// Spawns as many as it gets.
fn spawn_greedily(alive: &Arc<AtomicUsize>, most: &Arc<AtomicUsize>) {
    let mut fibers = Vec::new();
    for _ in 0..2000 {
        let (alive, most) = (Arc::clone(alive), Arc::clone(most));
        let spawned = here().spawn(move || {
            let now = alive.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            yield_now();
            alive.fetch_sub(1, Ordering::SeqCst);
        });
        match spawned {
            Ok(fiber) => fibers.push(fiber),
            Err(_) => {
                assert!(is_at_limit(&spawned, "fibers"));
                fibers.drain(..).for_each(join);
            }
        }
    }
    fibers.into_iter().for_each(join);
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_limit_of_heap_bytes_needs_somebody_who_counts_them() {
    everywhere(|| {
        let refused = Process::builder().heap_bytes_max(1 << 20).spawn(|| ());
        assert!(matches!(refused, Err(SpawnError::HeapNotCounted)));
        let exit = Process::builder().spawn(|| here().stats().heap_bytes);
        assert_eq!(exit.unwrap().join().unwrap(), None);
    });
}

//! What is left of fibers that do not end when they are killed, and what others learn of it.

use alloc::sync::Arc;
use core::{cell::RefCell, panic::AssertUnwindSafe, time::Duration};
use std::{panic, thread};

use fiber::{
    End, Exit, ExitReason, FiberBuilder, Process, Runtime, SpawnError, WorkerId, charge, choose,
    core::{
        Context,
        operation::{Fate, never},
        park::shield,
    },
    io::TcpListener,
    is_cancelled, mask, no_suspend,
    operation::perform,
    park, scope, sleep, spawn, spawn_when,
    sync::channel,
    sync::{
        Abandoned, Condvar, Counter, LockError, LockTimeoutError, Mutex, MutexGuard, Once, RwLock,
        TryLockError,
    },
    yield_now,
};
use host_linux::{Config, Linux};

use crate::{
    support::Count,
    world::{losing, losing_on_linux, on_a_thread_that_may_stay},
};

/// Long enough for a worker of a busy machine to come to its next turn.
const GRACE: Duration = Duration::from_millis(25);
/// Longer than a worker may be held up.
const PATIENCE: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// Catches whatever unwinds it, for ever, and lets some time pass in between.
fn stubborn() -> ! {
    loop {
        let _ = panic::catch_unwind(park);
        shield(|| sleep(GRACE));
    }
}

/// Waits in its destructor, for ever.
struct Clings;

impl Drop for Clings {
    fn drop(&mut self) {
        loop {
            sleep(LONG);
        }
    }
}

/// Runs `main` as a process of little patience, waits until it has told that it is ready, kills it
/// and gives how it has ended.
fn kill(main: impl FnOnce(channel::Sender<()>) + Send + 'static) -> Arc<Exit> {
    let (ready, is_ready) = channel::bounded(1);
    let process = Process::builder().name("doomed").grace(GRACE);
    let handle = process.spawn(move || main(ready)).unwrap();
    let process = handle.process().clone();
    is_ready.recv().unwrap();
    process.kill("enough");
    perform(process.end_operation())
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// So many fibers were lost with the process. One whose worker stood still meanwhile is told of as
/// running, for it rests later; in a simulated world none does.
fn assert_lost(exit: &Exit, fibers: usize) {
    let report = &exit.report;
    let lost = report.fibers_abandoned + report.fibers_running;
    assert_eq!(lost, fibers, "{exit}");
    if Runtime::current().unwrap().env().watch().is_none() {
        assert_eq!(report.fibers_running, 0, "{exit}");
    }
    assert!(!report.is_clean());
}

fn told<T>(locked: Result<T, LockError<T>>) -> Abandoned {
    match locked {
        Err(LockError::Abandoned(abandoned)) => abandoned,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was locked"),
    }
}

#[test]
fn a_fiber_that_catches_every_unwinding_is_abandoned_with_its_whole_process() {
    losing(2, || {
        let others = spawn(|| {
            let served = Count::default();
            for _ in 0..20 {
                sleep(GRACE);
                served.add();
            }
            served.get()
        });
        let unwound = Arc::new(Counter::new(0));
        let seen = Arc::clone(&unwound);
        let (ready, is_ready) = channel::bounded(1);
        // Enough for the third one to unwind, whatever holds its worker up.
        let process = Process::builder().name("doomed").grace(PATIENCE);
        let process = process.spawn(move || {
            let begun = leak(Counter::new(0));
            drop(spawn(|| {
                begun.add(1);
                stubborn()
            }));
            drop(spawn(move || {
                let _seen = scopeguard(move || _ = seen.add(1));
                begun.add(1);
                park();
            }));
            begun.wait(2);
            ready.send(()).unwrap();
            stubborn()
        });
        let process = process.unwrap().process().clone();
        is_ready.recv().unwrap();
        process.cancel("enough");
        // The third one ends by itself.
        unwound.wait(1);
        process.kill("enough");
        let exit = perform(process.end_operation());
        assert!(matches!(exit.end, End::Killed(_)), "{exit}");
        assert_lost(&exit, 2);
        assert_eq!(others.join().unwrap(), 20);
    });
}

#[test]
fn who_joins_an_abandoned_fiber_is_told() {
    losing(3, || {
        let (handles, theirs) = channel::bounded(3);
        let exit = kill(move |ready| {
            let begun = leak(Counter::new(0));
            for _ in 0..2 {
                let stays = spawn(|| {
                    begun.add(1);
                    stubborn()
                });
                handles.send(stays).unwrap();
            }
            drop(handles);
            begun.wait(2);
            ready.send(()).unwrap();
            stubborn()
        });
        assert_lost(&exit, 3);
        let [first, second] = [0; 2].map(|_| theirs.recv().unwrap());
        let Err(ExitReason::Abandoned(reason)) = first.join() else {
            panic!("it has ended")
        };
        assert_eq!(reason.message(), Some("enough"));
        // Both rest, if not at the same moment.
        while !second.is_finished() {
            sleep(GRACE);
        }
        // What nobody waits for is dropped as ever.
        drop(second);
    });
}

#[test]
fn who_borrows_from_an_abandoned_scope_is_abandoned_too_and_its_frames_stay() {
    losing(3, || {
        let exit = kill(|ready| {
            let value = [7_u8; 64];
            scope(|scope| {
                let begun = leak(Counter::new(0));
                for _ in 0..2 {
                    scope.spawn(|| {
                        let _clings = Clings;
                        assert_eq!(value[0], 7);
                        begun.add(1);
                        park();
                    });
                }
                begun.wait(2);
                ready.send(()).unwrap();
                stubborn()
            })
        });
        assert_lost(&exit, 3);
    });
}

#[test]
fn the_ids_of_an_abandoned_process_are_closed_and_its_port_can_be_bound_again() {
    losing(1, || {
        let (port, their_port) = channel::bounded(1);
        let exit = kill(move |ready| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            port.send(listener.local_addr().unwrap()).unwrap();
            ready.send(()).unwrap();
            stubborn()
        });
        // A worker that stands still closes it later.
        let (closed, left) = (exit.report.listeners_closed, exit.report.ids_left);
        assert!((closed, left) == (1, 0) || left == 1, "{exit}");
        let address = their_port.recv().unwrap();
        // A host may need a moment for what it closes.
        let bound = (0..100).find_map(|_| {
            sleep(GRACE);
            TcpListener::bind(address).ok()
        });
        assert!(bound.is_some(), "the port is free");
    });
}

/// What an abandoned fiber holds.
struct Held {
    mutex: Mutex<u32>,
    written: RwLock<u32>,
    read: RwLock<u32>,
    once: Once,
    signal: Condvar,
}

impl Held {
    fn new() -> &'static Self {
        leak(Self {
            mutex: Mutex::new(0),
            written: RwLock::new(0),
            read: RwLock::new(0),
            once: Once::new(),
            signal: Condvar::new(),
        })
    }

    /// Holds everything until the end of time.
    fn cling(&self, ready: &channel::Sender<()>) {
        let _mutex = self.mutex.lock().unwrap();
        let _written = self.written.write().unwrap();
        let _read = self.read.read().unwrap();
        self.once.call_once(|| {
            ready.send(()).unwrap();
            stubborn()
        });
    }
}

#[test]
fn who_comes_for_what_an_abandoned_fiber_holds_is_told_who_has_it_and_gets_no_guard() {
    losing(1, || {
        let held = Held::new();
        let exit = kill(|ready| held.cling(&ready));
        let abandoned = told(held.mutex.lock());
        let dead = abandoned.dead();
        assert_eq!(dead.process, Some(exit.process));
        assert!(dead.fiber.is_some());
        let Fate::Abandoned(reason) = &dead.fate else {
            panic!("{dead}")
        };
        assert_eq!(reason.message(), Some("enough"));
        assert!(dead.taken_at.file().ends_with("abandoned.rs"));
        assert!(abandoned.to_string().contains("does not become free"));

        assert!(matches!(
            held.mutex.try_lock(),
            Err(TryLockError::Abandoned(_))
        ));
        let late = held.mutex.lock_timeout(LONG);
        assert!(matches!(late, Err(LockTimeoutError::Abandoned(_))));
        told(held.written.read());
        told(held.written.write());
        assert!(matches!(
            held.written.try_read(),
            Err(TryLockError::Abandoned(_))
        ));
        // Readers share it with the one that was lost.
        assert_eq!(*held.read.read().unwrap(), 0);
        assert_eq!(*held.read.try_read().unwrap(), 0);
        told(held.read.write());
        assert!(matches!(
            held.read.try_write(),
            Err(TryLockError::Abandoned(_))
        ));
        assert_eq!(*held.read.read().unwrap(), 0);
        let again = panic::catch_unwind(AssertUnwindSafe(|| held.once.call_once(|| ())));
        assert!(again.is_err());
        let chosen = choose! {
            locked = held.mutex.lock_operation() => told(locked).dead().fiber,
            () = never::<()>() => None,
        };
        assert_eq!(chosen, dead.fiber);
    });
}

#[test]
fn who_waits_for_what_an_abandoned_fiber_holds_is_woken_and_told() {
    losing(1, || {
        let held = Held::new();
        let (begun, has_begun) = channel::bounded(1);
        let exit = Process::builder()
            .name("doomed")
            .grace(GRACE)
            .spawn(move || {
                held.cling(&begun);
            });
        let process = exit.unwrap().process().clone();
        has_begun.recv().unwrap();
        let waiters = [
            spawn(move || drop(told(held.mutex.lock()))),
            spawn(move || drop(told(held.mutex.lock()))),
            spawn(move || drop(told(held.written.write()))),
            spawn(move || drop(told(held.written.read()))),
            spawn(move || drop(told(held.read.write()))),
            spawn(move || assert!(held.mutex.lock_timeout(LONG).is_err())),
            spawn(move || {
                choose! {
                    locked = held.mutex.lock_operation() => drop(told(locked)),
                    () = never::<()>() => {},
                }
            }),
            spawn_when(held.mutex.lock_operation(), |locked| drop(told(locked))),
            spawn(move || mask(|| drop(told(held.mutex.lock())))),
            // Behind a writer that will be told.
            spawn(move || drop(held.read.read().unwrap())),
        ];
        for _ in 0..20 {
            yield_now();
        }
        process.kill("enough");
        for waiter in waiters {
            waiter.join().unwrap();
        }
        perform(process.end_operation());
    });
}

#[test]
fn one_that_is_notified_and_cannot_lock_again_is_told() {
    losing(1, || {
        let held = Held::new();
        let (locked, has_locked) = channel::bounded(1);
        let waiter = spawn(move || {
            let guard = held.mutex.lock().unwrap();
            locked.send(()).unwrap();
            drop(told(held.signal.wait(guard)));
        });
        has_locked.recv().unwrap();
        // It is free when that one waits.
        drop(held.mutex.lock().unwrap());
        kill(|ready| held.cling(&ready));
        held.signal.notify_all();
        waiter.join().unwrap();
    });
}

thread_local! {
    /// A guard on its way between two fibers of one worker.
    static PLACE: RefCell<Option<MutexGuard<'static, u32>>> = const { RefCell::new(None) };
}

#[test]
fn a_lock_works_again_when_its_guard_was_with_somebody_who_goes_on() {
    losing(1, || {
        let mutex = leak(Mutex::new(1));
        let (worker, their_worker) = channel::bounded(1);
        kill(move |ready| {
            let guard = mutex.lock().unwrap();
            PLACE.with(|place| *place.borrow_mut() = Some(guard));
            let here = Context::with(|context| context.unwrap().worker());
            worker.send(here).unwrap();
            ready.send(()).unwrap();
            stubborn()
        });
        told(mutex.lock());
        let there = FiberBuilder::new().worker(their_worker.recv().unwrap());
        let heir = there.spawn(|| {
            let guard = PLACE.with(|place| place.borrow_mut().take());
            *guard.unwrap() += 1;
        });
        heir.unwrap().join().unwrap();
        assert_eq!(*mutex.lock().unwrap(), 2);
    });
}

#[test]
fn a_plain_thread_that_waits_for_what_an_abandoned_fiber_holds_is_told() {
    let (done, is_done) = std::sync::mpsc::channel();
    losing_on_linux(2, 1, move || {
        let held = Held::new();
        let (locked, is_locked) = channel::bounded(1);
        let process = Process::builder()
            .grace(GRACE)
            .spawn(move || held.cling(&locked));
        let process = process.unwrap().process().clone();
        is_locked.recv().unwrap();
        let threads = [
            thread::spawn(move || drop(told(held.mutex.lock()))),
            thread::spawn(move || drop(told(held.written.read()))),
            thread::spawn(move || drop(told(held.read.write()))),
        ];
        process.kill("enough");
        perform(process.end_operation());
        for thread in threads {
            thread.join().unwrap();
        }
        done.send(()).unwrap();
    });
    is_done.recv().unwrap();
}

fn scopeguard<F: FnMut()>(run: F) -> impl Drop {
    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    OnDrop(run)
}

/// A process leaves a fiber that keeps the second worker busy without suspending. `None` if its
/// main function was placed there: who sees to its death, where that has ended, would be held up.
fn end_with_a_busy_fiber() -> Option<Arc<Exit>> {
    let (ready, is_ready) = channel::bounded(1);
    let process = Process::builder().name("doomed").grace(GRACE);
    let process = process.spawn(move || {
        if Context::with(|context| context.unwrap().worker()) != WorkerId(0) {
            return false;
        }
        let busy = FiberBuilder::new().worker(WorkerId(1)).spawn(move || {
            // Until its main function has ended.
            mask(|| {
                ready.send(()).unwrap();
                while !is_cancelled() {
                    yield_now();
                }
                no_suspend(|| {
                    loop {
                        charge();
                    }
                });
            });
        });
        drop(busy.unwrap());
        is_ready.recv().unwrap();
        true
    });
    let process = process.unwrap();
    let exit = perform(process.process().end_operation());
    process.join().unwrap_or(true).then_some(exit)
}

#[test]
fn a_region_without_suspension_ends_for_its_worker_with_the_fiber_that_is_abandoned_in_it() {
    // Two workers: somebody has to abandon it meanwhile.
    losing_on_linux(2, 1, || {
        let exit = loop {
            if let Some(exit) = end_with_a_busy_fiber() {
                break exit;
            }
        };
        assert!(!exit.report.is_clean(), "{exit}");
        // As soon as it rests.
        let there = FiberBuilder::new().worker(WorkerId(1));
        there.spawn(|| sleep(GRACE)).unwrap().join().unwrap();
    });
}

#[test]
fn a_kill_abandons_in_time_who_has_all_the_time_to_end_when_it_is_cancelled() {
    losing(1, || {
        let (ready, is_ready) = channel::bounded(1);
        let process = Process::builder().name("doomed").grace(Duration::MAX);
        let process = process.spawn(move || {
            ready.send(()).unwrap();
            stubborn()
        });
        let process = process.unwrap();
        is_ready.recv().unwrap();
        process.cancel("please");
        sleep(GRACE);
        assert!(!process.process().has_ended(), "it has all the time");
        process.kill("enough");
        assert_lost(&process.join().unwrap_err(), 1);
    });
}

#[test]
fn a_dedicated_worker_is_free_again_when_its_fiber_was_abandoned() {
    on_a_thread_that_may_stay(|| {
        let linux = Linux::new(Config::default()).unwrap();
        let builder = Runtime::builder(linux).workers(1).dedicated(1);
        let ended = builder.run(|| {
            let exit = kill(|ready| {
                let own = FiberBuilder::new().dedicated().spawn(move || {
                    ready.send(()).unwrap();
                    stubborn()
                });
                let taken = FiberBuilder::new().dedicated().spawn(|| ());
                assert!(matches!(taken, Err(SpawnError::NoDedicatedWorker { .. })));
                drop(own.unwrap().join());
            });
            assert!(!exit.report.is_clean(), "{exit}");
            // As soon as it rests.
            let (end, until) = channel::bounded(1);
            let next = loop {
                let until = until.clone();
                let waits = move || until.recv().unwrap();
                match FiberBuilder::new().dedicated().spawn(waits) {
                    Ok(next) => break next,
                    Err(SpawnError::NoDedicatedWorker { .. }) => sleep(GRACE),
                    Err(error) => panic!("{error}"),
                }
            };
            let taken = FiberBuilder::new().dedicated().spawn(|| ());
            assert!(matches!(taken, Err(SpawnError::NoDedicatedWorker { .. })));
            end.send(()).unwrap();
            next.join().unwrap();
            let last = FiberBuilder::new().dedicated().spawn(|| 7);
            last.unwrap().join().unwrap()
        });
        assert_eq!(ended.unwrap(), 7);
    });
}

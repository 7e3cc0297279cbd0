//! What those have in hand who die, and how it goes to others.

use alloc::sync::Arc;
use core::time::Duration;
use std::{panic::resume_unwind, thread};

use fiber::{
    FiberBuilder, JoinHandle, Process,
    core::operation::Fate,
    park, sleep, spawn, spawn_local,
    sync::{
        Barrier, LockError, Mutex, PoisonError, RwLock, Semaphore,
        channel::{self, SendError, TryRecvError, credit},
    },
    yield_now,
};

use crate::world::everywhere;

/// Lets others of this worker run until they wait.
fn settle() {
    for _ in 0..20 {
        yield_now();
    }
}

fn poison<T>(locked: Result<T, LockError<T>>) -> PoisonError<T> {
    match locked {
        Err(LockError::Poisoned(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is sound"),
    }
}

#[test]
fn a_poisoned_lock_says_who_has_died_why_and_where_it_was_taken() {
    everywhere(|| {
        let shared = Arc::new((Mutex::new(()), RwLock::new(())));
        let theirs = Arc::clone(&shared);
        let line = line!() + 2;
        let clumsy = FiberBuilder::new().name("clumsy").spawn(move || {
            let _guard = theirs.0.lock();
            let _writing = theirs.1.write();
            resume_unwind(Box::new("over"))
        });
        let clumsy: JoinHandle<()> = clumsy.unwrap();
        let id = clumsy.fiber().id();
        clumsy.join().unwrap_err();
        let error = poison(shared.0.lock());
        let dead = error.dead().unwrap().clone();
        assert_eq!(dead.fate, Fate::Panicked);
        assert_eq!(dead.fiber, id);
        assert_eq!(dead.name.as_deref(), Some("clumsy"));
        assert!(dead.process.is_some(), "the runtime's first one");
        assert_eq!(dead.taken_at.line(), line);
        assert!(error.to_string().contains("fiber 'clumsy'"), "{error}");
        drop(error);
        let error = poison(shared.1.read());
        assert_eq!(error.dead().unwrap().taken_at.line(), line + 1);
        drop(error);

        shared.0.clear_poison();
        drop(shared.0.lock().unwrap());

        let theirs = Arc::clone(&shared);
        let (held, is_held) = channel::bounded(1);
        let process = Process::builder().spawn(move || {
            let _guard = theirs.0.lock().unwrap();
            held.send(()).unwrap();
            park();
        });
        let process = process.unwrap();
        is_held.recv().unwrap();
        process.kill("enough");
        let error = poison(shared.0.lock());
        let dead = error.dead().unwrap();
        assert_eq!(dead.process, Some(process.process().id()));
        let Fate::Killed(reason) = &dead.fate else {
            panic!("{dead}")
        };
        assert_eq!(reason.message(), Some("enough"));
        drop(error);
        process.join().unwrap_err();
    });
}

#[test]
fn a_plain_thread_that_panics_is_named_as_one() {
    crate::support::on_linux(1, || {
        let mutex = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&mutex);
        let thread = thread::spawn(move || {
            let _guard = theirs.lock();
            resume_unwind(Box::new("over"))
        });
        thread.join().map(|()| "it panics").unwrap_err();
        let error = poison(mutex.lock());
        let dead = error.dead().unwrap();
        assert_eq!((dead.fiber, dead.process), (None, None));
        assert!(dead.taken_at.file().ends_with("held.rs"));
        assert!(error.to_string().contains("a plain thread"), "{error}");
    });
}

const LOCKS: usize = 25;
const WAITERS: usize = 3;

/// Has some wait for one lock, one after another, with `wait`, which says when it has it; gives the
/// order in which they had it.
fn queue_up(
    wait: impl Fn(&dyn Fn()) + Clone + 'static,
) -> (Arc<Mutex<Vec<usize>>>, Vec<JoinHandle<()>>) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiters = (0..WAITERS).map(|number| {
        let (wait, order) = (wait.clone(), Arc::clone(&order));
        let waiter = spawn_local(move || {
            wait(&|| order.lock().unwrap().push(number));
        });
        settle();
        waiter
    });
    let waiters = waiters.collect();
    (order, waiters)
}

#[test]
fn all_who_wait_for_the_fifty_locks_of_a_killed_process_get_them_in_order_poisoned() {
    everywhere(|| {
        let mutexes: Arc<[_]> = (0..LOCKS).map(|_| Mutex::new(0)).collect();
        let locks: Arc<[_]> = (0..LOCKS).map(|_| RwLock::new(0)).collect();
        let (held, is_held) = channel::bounded(1);
        let theirs = (Arc::clone(&mutexes), Arc::clone(&locks));
        let doomed = Process::builder().name("doomed").spawn(move || {
            let _mutexes: Vec<_> = theirs.0.iter().map(|it| it.lock().unwrap()).collect();
            let _locks: Vec<_> = theirs.1.iter().map(|it| it.write().unwrap()).collect();
            held.send(()).unwrap();
            park();
        });
        let doomed = doomed.unwrap();
        is_held.recv().unwrap();
        let (queued, all_queued) = channel::bounded(2 * LOCKS);
        let queues: Vec<_> = (0..2 * LOCKS)
            .map(|number| {
                let (mutexes, locks) = (Arc::clone(&mutexes), Arc::clone(&locks));
                let queued = queued.clone();
                spawn(move || {
                    let (order, waiters) = queue_up(move |has_it| match number < LOCKS {
                        true => {
                            let _guard = poison(mutexes[number].lock());
                            has_it();
                        }
                        false => {
                            let _guard = poison(locks[number - LOCKS].write());
                            has_it();
                        }
                    });
                    queued.send(()).unwrap();
                    for waiter in waiters {
                        waiter.join().unwrap();
                    }
                    let order = order.lock().unwrap().clone();
                    assert_eq!(
                        order,
                        Vec::from_iter(0..WAITERS),
                        "first come, first served"
                    );
                })
            })
            .collect();
        for _ in 0..2 * LOCKS {
            all_queued.recv().unwrap();
        }
        doomed.kill("enough");
        for queue in queues {
            queue.join().unwrap();
        }
        assert!(doomed.join().unwrap_err().report.is_clean());
    });
}

#[test]
fn threads_that_wait_for_locks_of_a_killed_process_get_them_poisoned() {
    for workers in crate::support::WORKERS {
        crate::support::on_linux(workers, || {
            let locks = Arc::new((Mutex::new(()), RwLock::new(())));
            let theirs = Arc::clone(&locks);
            let (held, is_held) = channel::bounded(1);
            let doomed = Process::builder().spawn(move || {
                let _guards = (theirs.0.lock(), theirs.1.write());
                held.send(()).unwrap();
                park();
            });
            let doomed = doomed.unwrap();
            is_held.recv().unwrap();
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let locks = Arc::clone(&locks);
                    thread::spawn(move || {
                        drop(poison(locks.0.lock()));
                        drop(poison(locks.1.write()));
                        drop(poison(locks.1.read()));
                    })
                })
                .collect();
            doomed.kill("enough");
            doomed.join().unwrap_err();
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}

#[test]
fn what_a_killed_process_had_of_others_goes_back_to_them() {
    everywhere(|| {
        let semaphore = Arc::new(Semaphore::new(3));
        let barrier = Arc::new(Barrier::new(2));
        let (teller, listener) = channel::broadcast::channel(1);
        let (said, mut heard) = channel::watch::channel(0);
        let (sender, receiver) = channel::rendezvous::<u32>();
        let (held, is_held) = channel::bounded(1);
        let theirs = (Arc::clone(&semaphore), Arc::clone(&barrier));
        let doomed = Process::builder().spawn(move || {
            let _permits = theirs.0.acquire_many(2);
            let _ends = (listener, said, sender);
            drop(spawn(move || theirs.1.wait().is_leader()));
            held.send(()).unwrap();
            park();
        });
        let doomed = doomed.unwrap();
        is_held.recv().unwrap();
        sleep(Duration::from_millis(1));
        let wants_all = {
            let semaphore = Arc::clone(&semaphore);
            spawn(move || drop(semaphore.acquire_many(3)))
        };
        let waits = spawn(move || receiver.recv().is_err());
        doomed.kill("enough");
        wants_all.join().unwrap();
        assert!(waits.join().unwrap(), "nobody is left who sends");
        doomed.join().unwrap_err();
        assert_eq!(semaphore.available_permits(), 3);
        let _ = teller.send(1);
        assert!(heard.changed().is_err(), "nobody is left who says more");
        // Its place at the barrier is free: two come, and one of them leads.
        let other = Arc::clone(&barrier);
        let second = spawn(move || other.wait().is_leader());
        assert_ne!(barrier.wait().is_leader(), second.join().unwrap());
    });
}

#[test]
fn the_credit_of_a_process_that_dies_goes_to_who_waits_for_one() {
    type End = fn(&Process);
    everywhere(|| {
        let ends: [End; 2] = [|it| it.cancel("over"), |it| it.kill("over")];
        for end in ends {
            let (sender, receiver) = credit::in_batches(2, 2);
            let (theirs, (held, is_held)) = (sender.clone(), channel::bounded(1));
            let process = Process::builder().spawn(move || {
                // One is on its way, one in its hand, and one is waited for.
                theirs.send(1).unwrap();
                let _credit = theirs.credit().unwrap();
                held.send(()).unwrap();
                theirs.send(2).unwrap();
            });
            let process = process.unwrap();
            is_held.recv().unwrap();
            let other = sender.clone();
            let waits = spawn(move || other.send(3));
            settle();
            assert_eq!((sender.available(), waits.is_finished()), (0, false));
            end(process.process());
            process.join().unwrap_err();
            waits.join().unwrap().unwrap();
            // What was committed is there, and what was not is not; then the window is whole.
            assert_eq!((receiver.recv(), receiver.recv()), (Ok(1), Ok(3)));
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(sender.available(), receiver.window());
        }
    });
}

#[test]
fn the_credits_that_a_receiver_owes_are_paid_by_the_others_when_its_process_dies() {
    everywhere(|| {
        let (sender, receiver) = credit::in_batches(4, 2);
        let (theirs, (took, has_taken)) = (receiver.clone(), channel::bounded(1));
        let process = Process::builder().spawn(move || {
            took.send(theirs.recv().unwrap()).unwrap();
            park();
        });
        sender.send(1).unwrap();
        assert_eq!(has_taken.recv(), Ok(1));
        let process = process.unwrap();
        process.kill("over");
        process.join().unwrap_err();
        assert_eq!(sender.available(), 3, "one is owed");
        sender.send(2).unwrap();
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(sender.available(), 4);
        // The last one closes it, and who waits for a credit is told.
        let last = Process::builder().spawn(move || {
            let _receiver = receiver;
            park();
        });
        for number in 0..4 {
            sender.send(number).unwrap();
        }
        let waits = spawn(move || sender.credit().map(drop));
        settle();
        let last = last.unwrap();
        last.kill("over");
        last.join().unwrap_err();
        assert_eq!(waits.join().unwrap(), Err(SendError(())));
    });
}

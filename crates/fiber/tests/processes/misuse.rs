//! What is done with the handles of fibers and processes that nobody should do: it leaks, and no
//! more.

use alloc::sync::Arc;
use core::{mem, time::Duration};

use fiber::{
    CallError, JoinSet, Process, Reply, current, defer, fail,
    io::{TcpListener, TcpStream},
    operation::always,
    park, park_timeout, scope, sleep, spawn,
    sync::{
        Mutex, Once, RwLock, Semaphore, WaitGroup,
        channel::{self, broadcast, credit, oneshot, watch},
    },
    yield_now,
};

use crate::{support::Count, world::everywhere};

#[test]
fn guards_and_handles_that_are_forgotten_leak_and_nothing_else() {
    everywhere(|| {
        let mutex = Arc::new(Mutex::new(1));
        mem::forget(mutex.lock().unwrap());
        assert!(mutex.try_lock().is_err());
        let owned = Arc::new(Mutex::new(1));
        mem::forget(owned.lock_owned().unwrap());
        let lock = RwLock::new(1);
        mem::forget(lock.read().unwrap());
        assert!(lock.try_write().is_err());
        assert_eq!(*lock.read().unwrap(), 1);
        let written = RwLock::new(1);
        mem::forget(written.write().unwrap());
        assert!(written.try_read().is_err());
        let semaphore = Semaphore::new(2);
        mem::forget(semaphore.acquire());
        assert_eq!(semaphore.available_permits(), 1);
        let group = WaitGroup::new();
        mem::forget(group.token());
        mem::forget(Once::new());
        mem::forget(channel::bounded::<u8>(1));
        mem::forget(channel::rendezvous::<u8>());
        mem::forget(broadcast::channel::<u8>(1));
        mem::forget(watch::channel(1));
        mem::forget(credit::channel::<u8>(1));
        let (credits, _receiver) = credit::channel::<u8>(2);
        mem::forget(credits.credit().unwrap());
        assert_eq!(credits.available(), 1);
        let lock = Arc::new(RwLock::new(1));
        mem::forget(Arc::clone(&lock).read_owned().unwrap());
        assert!(lock.try_write().is_err());
        let permits = Arc::new(Semaphore::new(1));
        mem::forget(permits.acquire_owned(1));
        let (promise, result) = oneshot::channel::<u8>();
        mem::forget(promise);
        assert!(result.recv_timeout(Duration::from_millis(1)).is_err());
        mem::forget(fiber::into_future(|| ()));
        mem::forget(current().unwrap().clone());
        mem::forget(spawn(|| sleep(Duration::from_millis(1))));
        let mut set = JoinSet::new();
        set.spawn(|| ());
        mem::forget(set);
    });
}

#[test]
fn handles_of_scopes_and_processes_that_are_forgotten_lose_nobody() {
    everywhere(|| {
        let mut value = 0;
        scope(|scope| {
            mem::forget(scope.spawn(|| {
                yield_now();
                value += 1;
            }));
        });
        assert_eq!(value, 1, "the scope has waited all the same");
        let process = Process::builder().spawn(park).unwrap();
        let handle = process.process().clone();
        mem::forget(process);
        handle.cancel("over");
        let exit = fiber::operation::perform(handle.end_operation());
        assert!(exit.report.is_clean(), "{exit}");
    });
}

#[test]
fn what_a_process_has_forgotten_is_closed_and_run_at_its_end() {
    everywhere(|| {
        let ran = Count::default();
        let seen = ran.clone();
        let process = Process::builder().spawn(move || {
            defer(move || seen.add());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            mem::forget(TcpStream::connect(at).unwrap());
            mem::forget(listener);
            mem::forget(Process::builder().spawn(park).unwrap());
            mem::forget(Process::current().unwrap().monitor());
            fail("so that there is a report");
        });
        let exit = process.unwrap().join().unwrap_err();
        let report = &exit.report;
        assert_eq!((report.listeners_closed, report.streams_closed), (1, 1));
        assert!(report.is_clean(), "{exit}");
        assert_eq!(ran.get(), 1);
    });
}

#[test]
fn a_call_whose_reply_is_forgotten_ends_with_its_time() {
    everywhere(|| {
        let callee = Process::builder().spawn(park).unwrap();
        let answer = callee.process().call(Duration::from_millis(1), |reply| {
            mem::forget::<Reply<u8>>(reply);
            always(())
        });
        assert!(matches!(answer, Err(CallError::Elapsed)));
        callee.kill("over");
        callee.join().unwrap_err();
    });
}

#[test]
fn a_fiber_that_has_ended_may_be_unparked() {
    everywhere(|| {
        let ended = spawn(|| ());
        let fiber = ended.fiber().clone();
        ended.join().unwrap();
        fiber.unpark();
        fiber.unpark();
        let process = Process::builder().spawn(|| current().unwrap()).unwrap();
        process.join().unwrap().unpark();
    });
}

#[test]
fn a_fiber_that_unparks_itself_or_is_unparked_twice_has_one_token() {
    everywhere(|| {
        let me = current().unwrap();
        me.unpark();
        me.unpark();
        park();
        // The token is used: now only time ends the wait.
        let before = fiber::time::now();
        park_timeout(Duration::from_millis(1));
        assert!(fiber::time::now() >= before + Duration::from_millis(1));
        let foreign = Process::builder().spawn(move || me.unpark()).unwrap();
        park();
        foreign.join().unwrap();
    });
}

//! Between two runtimes of one process, and with a plain thread as the third.

use alloc::sync::Arc;
use core::time::Duration;
use std::thread;

use fiber::{
    JoinHandle, choose,
    operation::{Latch, Operation, timeout},
    spawn,
    sync::{
        Barrier, Condvar, Mutex, RwLock, Semaphore,
        channel::{self, broadcast, credit, oneshot, watch},
    },
};
use host_linux::{Config, Linux};

use crate::support::on_linux;

const LONG: Duration = Duration::from_secs(3600);

/// Runs both at once, each on a runtime of its own with two workers.
fn on_two(first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(|| on_linux(2, first));
        scope.spawn(|| on_linux(2, second));
    });
}

#[test]
fn two_choices_of_two_runtimes_that_face_each_other_meet() {
    const ROUNDS: u32 = 5_000;
    let (there, from_there) = channel::rendezvous();
    let (here, from_here) = channel::rendezvous();
    // Either side sends or receives, whichever comes about, until it has met so often.
    let play = |send: channel::Sender<u32>, receive: channel::Receiver<u32>| {
        move || {
            let (mut sent, mut received) = (0, 0);
            while sent < ROUNDS || received < ROUNDS {
                choose! {
                    value = receive.recv_operation() => {
                        assert_eq!(value.unwrap(), received);
                        received += 1;
                    }
                    done = send.send_operation(sent) => {
                        done.unwrap();
                        sent += 1;
                    }
                    () = timeout(LONG) => panic!("the other side is there"),
                }
                if sent == ROUNDS {
                    break;
                }
            }
            while received < ROUNDS {
                assert_eq!(receive.recv().unwrap(), received);
                received += 1;
            }
        }
    };
    on_two(play(there, from_here), play(here, from_there));
}

#[test]
fn locks_are_shared_by_the_fibers_of_two_runtimes_and_a_plain_thread() {
    struct Shared {
        mutex: Mutex<u32>,
        lock: RwLock<u32>,
        permits: Semaphore,
        all: Barrier,
        changed: Condvar,
    }
    let shared = Shared {
        mutex: Mutex::new(0),
        lock: RwLock::new(0),
        permits: Semaphore::new(1),
        all: Barrier::new(3),
        changed: Condvar::new(),
    };
    let work = || {
        for _ in 0..2_000 {
            *shared.mutex.lock().unwrap() += 1;
            let permit = shared.permits.acquire();
            let before = *shared.lock.read().unwrap();
            *shared.lock.write().unwrap() = before + 1;
            drop(permit);
        }
        shared.changed.notify_all();
        let mut count = shared.mutex.lock().unwrap();
        while *count < 6_000 {
            count = shared.changed.wait(count).unwrap();
        }
        drop(count);
        shared.all.wait();
    };
    // A plain thread can wait once there is a host.
    let _host = Linux::new(Config::default()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| on_two(work, work));
        scope.spawn(work);
    });
    assert_eq!(
        (*shared.mutex.lock().unwrap(), *shared.lock.read().unwrap()),
        (6_000, 6_000)
    );
}

#[test]
fn every_channel_leads_from_one_runtime_to_another() {
    let (promise, promised) = oneshot::channel();
    let (latest, mut watching) = watch::channel(0);
    let (news, mut hearing) = broadcast::channel(256);
    let (credited, arriving) = credit::channel(4);
    let (queue, queued) = channel::unbounded();
    on_two(
        move || {
            for n in 1..=100 {
                latest.send(n).unwrap();
                news.send(n).unwrap();
                credited.send(n).unwrap();
                queue.send(n).unwrap();
            }
            promise.send("kept").unwrap();
        },
        move || {
            let arrived = spawn(move || arriving.iter().sum::<u32>());
            assert_eq!(queued.iter().sum::<u32>(), 5_050);
            assert_eq!(arrived.join().unwrap(), 5_050);
            let mut heard = 0;
            while let Ok(n) = hearing.recv() {
                heard += n;
            }
            assert_eq!(heard, 5_050);
            while watching.changed().is_ok() {}
            assert_eq!(watching.get(), 100);
            assert_eq!(promised.recv(), Ok("kept"));
        },
    );
}

#[test]
fn a_fiber_is_joined_and_cancelled_from_another_runtime() {
    let (handles, others) = channel::rendezvous::<(JoinHandle<u32>, JoinHandle<()>)>();
    let door = Arc::new(Latch::new());
    let open = Arc::clone(&door);
    on_two(
        move || {
            let waits = {
                let door = Arc::clone(&door);
                spawn(move || {
                    door.wait_operation("the other runtime").perform();
                    7
                })
            };
            let stays = spawn(|| timeout(LONG).perform());
            handles.send((waits, stays)).unwrap();
        },
        move || {
            let (mut waits, stays) = others.recv().unwrap();
            stays.cancel();
            assert!(stays.join().is_err());
            assert!(waits.try_join().is_none());
            open.open();
            let joined = choose! {
                result = waits.join_operation() => result.unwrap(),
                () = timeout(LONG) => panic!("the door is open"),
            };
            assert_eq!(joined, 7);
        },
    );
}

//! Several runtimes in one process, at once and one after another.

use core::net::Ipv4Addr;
use std::thread;

use fiber::{IoErrorKind, Runtime, io::TcpListener, spawn_any, yield_now};
use host_linux::{Config, Linux};

use crate::support::{holdings, on_linux};

#[test]
fn two_runtimes_at_once_do_their_own_work() {
    let work = || {
        on_linux(2, || {
            let fibers: Vec<_> = (0..1000_u64)
                .map(|index| {
                    spawn_any(move || {
                        yield_now();
                        index
                    })
                })
                .collect();
            fibers
                .into_iter()
                .map(|fiber| fiber.join().unwrap())
                .sum::<u64>()
        })
    };
    let other = thread::spawn(work);
    assert_eq!(work(), 499_500);
    assert_eq!(other.join().unwrap(), 499_500);
}

#[test]
fn a_descriptor_of_one_runtime_is_refused_by_another_and_stale_after_its_end() {
    let listener = on_linux(2, || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let seen_from_another = thread::scope(|scope| {
            scope
                .spawn(|| on_linux(1, || listener.accept().map(drop).unwrap_err().kind()))
                .join()
                .unwrap()
        });
        assert_eq!(seen_from_another, IoErrorKind::ForeignRuntime);
        listener
    });
    let afterwards = on_linux(1, || listener.accept().map(drop).unwrap_err().kind());
    assert_eq!(afterwards, IoErrorKind::Stale);
}

#[test]
fn ten_thousand_runtimes_in_a_row_leave_the_process_as_it_was() {
    let one = || {
        on_linux(2, || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            drop(spawn_any(yield_now));
            // What is forgotten is closed at the end of the run.
            core::mem::forget(listener);
        });
    };
    for _ in 0..10 {
        one();
    }
    let (fds, threads, maps) = holdings();
    for _ in 0..10_000 {
        one();
    }
    // A thread that was joined is listed until the kernel has done with it.
    let mut after = holdings();
    for _ in 0..100_000 {
        if after.1 <= threads {
            break;
        }
        thread::yield_now();
        after = holdings();
    }
    assert_eq!(after.0, fds);
    // One of the runs before may have been listed still when they were counted.
    assert!(after.1 <= threads, "{threads} -> {} threads", after.1);
    // The allocator maps a few areas for itself; a leak would be one for each runtime.
    assert!(after.2 < maps + 100, "{maps} -> {} mappings", after.2);
}

#[test]
fn one_host_serves_runtimes_one_after_another() {
    let env = Linux::new(Config::default()).unwrap();
    for round in 0..100 {
        let env: fiber::SharedEnv = env.clone();
        let given = Runtime::builder(env).workers(2).run(|| round).unwrap();
        assert_eq!(given, round);
    }
}

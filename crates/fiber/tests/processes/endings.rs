//! How processes end, and what is told of it.

use core::time::Duration;
use std::{panic::resume_unwind, thread::panicking};

use fiber::{
    End, Process, SHUTDOWN, catch_unwind, fail, mask,
    operation::{Operation, perform, timeout},
    park, sleep, spawn, spawn_when,
    sync::{Mutex, channel},
};

use crate::{
    support::Count,
    world::{everywhere, on_a_thread_that_may_stay},
};

#[test]
fn a_process_gives_the_value_of_its_main_function() {
    everywhere(|| {
        let process = Process::builder().name("six").spawn(|| 6).unwrap();
        assert_eq!(process.process().name(), Some("six"));
        let handle = process.process().clone();
        assert_eq!(process.join().unwrap(), 6);
        assert!(handle.has_ended());
        assert!(Process::of_id(handle.id()).is_err());
    });
}

#[test]
fn what_a_main_function_leaves_ends_with_it() {
    everywhere(|| {
        let unwound = Count::default();
        let seen = unwound.clone();
        let process = Process::builder().spawn(move || {
            for _ in 0..5 {
                let seen = seen.clone();
                drop(spawn(move || {
                    let _guard = OnDrop(move || seen.add());
                    park();
                }));
            }
            drop(spawn_when(timeout(Duration::from_secs(1000)), |()| ()));
            let child = Process::builder().spawn(|| sleep(Duration::from_secs(1000)));
            child.unwrap().process().clone()
        });
        let child = process.unwrap().join().unwrap();
        assert!(child.has_ended());
    });
}

#[test]
fn a_cancelled_process_unwinds_its_fibers_and_says_why() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let other = spawn(park);
            let _ = other.join();
            park();
        });
        let process = process.unwrap();
        sleep(Duration::from_millis(1));
        process.cancel("enough");
        let exit = process.join().unwrap_err();
        let End::Cancelled(reason) = &exit.end else {
            panic!("{exit}")
        };
        assert_eq!(reason.message(), Some("enough"));
        assert!(!exit.end.is_normal() && exit.report.is_clean());
    });
}

#[test]
fn a_shutdown_is_a_normal_end() {
    everywhere(|| {
        let process = Process::builder().spawn(park).unwrap();
        process.cancel(SHUTDOWN);
        assert!(process.join().unwrap_err().end.is_normal());
    });
}

#[test]
fn a_panic_of_the_main_function_ends_the_process_and_nobody_else() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            drop(spawn(park));
            resume_unwind(Box::new("over"))
        });
        let exit = process.unwrap().join().unwrap_err();
        assert_eq!(exit.end, End::Panicked("over".into()));
    });
}

#[test]
fn a_process_may_say_that_it_has_failed() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            fail("no more");
            park();
        });
        let exit = process.unwrap().join().unwrap_err();
        assert_eq!(exit.end, End::Failed("no more".into()));
    });
}

#[test]
fn masked_fibers_are_killed_after_the_grace() {
    everywhere(|| {
        // In which a killed one unwinds, too, whatever holds its worker up.
        let process = Process::builder()
            .grace(Duration::from_millis(1500))
            .spawn(|| {
                drop(spawn(|| mask(park)));
                loop {
                    mask(park);
                }
            });
        let process = process.unwrap();
        process.cancel("enough");
        let exit = process.join().unwrap_err();
        assert!(
            matches!(exit.end, End::Killed(_) | End::Cancelled(_)),
            "{exit}"
        );
        assert!(exit.report.is_clean(), "{exit}");
    });
}

#[test]
fn what_a_killed_fiber_holds_is_poisoned_and_what_a_cancelled_one_holds_is_not() {
    everywhere(|| {
        for (kill, poisoned) in [(true, true), (false, false)] {
            let lock = alloc::sync::Arc::new(Mutex::new(1));
            let (held, is_held) = channel::bounded(1);
            let theirs = alloc::sync::Arc::clone(&lock);
            let process = Process::builder().spawn(move || {
                let _guard = theirs.lock().unwrap();
                held.send(()).unwrap();
                park();
            });
            let process = process.unwrap();
            is_held.recv().unwrap();
            match kill {
                true => process.kill("now"),
                false => process.cancel("please"),
            }
            assert_eq!(lock.lock().is_err(), poisoned);
            process.join().unwrap_err();
        }
    });
}

#[test]
fn a_monitor_is_an_arm_of_a_choice() {
    everywhere(|| {
        let process = Process::builder()
            .spawn(|| sleep(Duration::from_millis(5)))
            .unwrap();
        let either = process
            .process()
            .end_operation()
            .or(timeout(Duration::from_secs(5)));
        assert!(format!("{:?}", perform(either)).contains("Returned"));
        process.join().unwrap();
    });
}

#[test]
fn kills_reach_through_catch_unwind() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            loop {
                let _ = catch_unwind(|| mask(|| sleep(Duration::from_secs(1))));
            }
        });
        let process = process.unwrap();
        process.kill("now");
        let exit = process.join().unwrap_err();
        assert!(matches!(exit.end, End::Killed(_)), "{exit}");
    });
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Waits for ever as it is dropped.
struct Stays;

impl Drop for Stays {
    fn drop(&mut self) {
        loop {
            sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn one_that_is_abandoned_in_its_unwinding_leaves_no_thread_panicking() {
    on_a_thread_that_may_stay(|| {
        let linux = host_linux::Linux::new(host_linux::Config::default()).unwrap();
        let run = fiber::Runtime::builder(linux).workers(1).run(|| {
            let process = Process::builder()
                .grace(Duration::from_millis(5))
                .spawn(|| {
                    let _stays = Stays;
                    resume_unwind(Box::new("as planned"));
                });
            let process = process.unwrap();
            sleep(Duration::from_millis(1));
            process.kill("now");
            let exit = process.join().unwrap_err();
            assert!(!exit.report.is_clean(), "{exit}");
            assert!(!panicking());
            sleep(Duration::from_millis(5));
            assert!(!panicking());
        });
        run.unwrap();
        assert!(!panicking());
    });
}

//! Watching a process from one side.

use core::time::Duration;

use fiber::{
    End, Monitor, Process, choose,
    operation::{Operation, timeout},
    park, sleep, spawn,
};

use crate::world::everywhere;

#[test]
fn a_monitor_tells_how_a_process_has_ended_as_often_as_it_is_asked() {
    everywhere(|| {
        let process = Process::builder().spawn(park).unwrap();
        let monitor = process.process().monitor();
        assert!(monitor.try_wait().is_none());
        assert!(monitor.wait_timeout(Duration::from_millis(1)).is_err());
        process.cancel("enough");
        let other = monitor.clone();
        let told = spawn(move || other.wait()).join().unwrap();
        assert_eq!(told.end, End::Cancelled("enough".into()));
        assert_eq!(monitor.wait(), told);
        assert_eq!(monitor.try_wait(), Some(told));
    });
}

#[test]
fn a_monitor_by_id_answers_whenever_it_is_made() {
    everywhere(|| {
        let process = Process::builder().spawn(|| ()).unwrap();
        let id = process.id();
        // Made before, while and after it ends.
        let watchers: Vec<_> = (0..8)
            .map(|index| {
                spawn(move || {
                    sleep(Duration::from_micros(index * 5));
                    Monitor::of(id).wait()
                })
            })
            .collect();
        for watcher in watchers {
            let exit = watcher.join().unwrap();
            assert_eq!(exit.process, id);
            assert!(matches!(exit.end, End::Returned | End::Unknown), "{exit}");
        }
        process.join().unwrap();
        assert_eq!(Monitor::of(id).try_wait().unwrap().end, End::Unknown);
    });
}

#[test]
fn a_monitor_of_what_is_no_process_answers_at_once() {
    everywhere(|| {
        let fiber = spawn(park);
        let monitor = Monitor::of(fiber.fiber().id().unwrap());
        assert_eq!(monitor.wait().end, End::Unknown);
        fiber.cancel();
    });
}

#[test]
fn a_process_that_one_monitors_may_end_first_among_other_arms() {
    everywhere(|| {
        let short = Process::builder().spawn(|| sleep(Duration::from_millis(1)));
        let long = Process::builder().spawn(park).unwrap();
        let (one, other) = (short.unwrap().process().monitor(), long.process().monitor());
        let ended = choose! {
            exit = one.wait_operation() => Some(exit),
            exit = other.wait_operation() => Some(exit),
            () = timeout(Duration::from_secs(100)) => None,
        };
        assert_eq!(ended.unwrap().process, one.id());
        // Dropped, it leaves nothing behind.
        drop(other);
        long.cancel("over");
    });
}

#[test]
fn a_plain_thread_and_another_runtime_may_monitor() {
    crate::support::on_linux(2, || {
        let process = Process::builder().spawn(park).unwrap();
        let (one, other) = (process.process().monitor(), process.process().monitor());
        let thread = std::thread::spawn(move || one.wait().end.clone());
        let runtime = std::thread::spawn(move || {
            crate::support::on_linux(1, || other.wait_operation().perform().end.clone())
        });
        process.kill("now");
        let killed = End::Killed("now".into());
        assert_eq!(fiber::blocking(move || thread.join().unwrap()), killed);
        assert_eq!(fiber::blocking(move || runtime.join().unwrap()), killed);
    });
}

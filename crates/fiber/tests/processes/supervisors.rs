//! Supervisors: who is started again, when, in which order, and how often.

use alloc::sync::Arc;
use core::time::Duration;
use std::{panic::resume_unwind, sync::Mutex};

use fiber::{
    End, Monitor, Process, Runtime, SHUTDOWN, cancelled_operation, fail, mask,
    operation::Operation,
    park, register, sleep, spawn,
    supervisor::{
        ChildError, ChildSpec, Restart, Shutdown, StartError, Started, Strategy, Supervisor,
        SupervisorBuilder,
    },
    sync::Counter,
    time, whereis,
};

use crate::{support::Count, world::everywhere};

/// What has happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: &str, who: &str) {
        self.0.lock().unwrap().push(format!("{what} {who}"));
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn taken(&self) -> Vec<String> {
        core::mem::take(&mut *self.0.lock().unwrap())
    }

    /// A child that says when it begins and ends, and has begun before others do.
    fn child(&self, name: &'static str) -> ChildSpec {
        let log = self.clone();
        ChildSpec::starting(name, move |started: Started| {
            log.add("+", name);
            started.tell();
            let _ended = Ends(&log, name);
            park();
        })
    }
}

struct Ends<'log>(&'log Log, &'static str);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.add("-", self.1);
    }
}

fn three(log: &Log, strategy: Strategy) -> SupervisorBuilder {
    Supervisor::builder()
        .strategy(strategy)
        .child(log.child("a"))
        .child(log.child("b"))
        .child(log.child("c"))
}

fn process_of(supervisor: &Supervisor, name: &str) -> Option<Process> {
    let children = supervisor.which_children().unwrap();
    let child = children.into_iter().find(|child| &*child.name == name);
    child.unwrap().process
}

/// Kills a child and waits until it runs again.
fn kill(supervisor: &Supervisor, name: &str) {
    let process = process_of(supervisor, name).unwrap();
    process.kill("now");
    process.monitor().wait();
    runs_again(supervisor, name, &process);
}

fn runs_again(supervisor: &Supervisor, name: &str, old: &Process) {
    while process_of(supervisor, name).is_none_or(|process| process == *old) {
        sleep(Duration::from_millis(1));
    }
}

fn failed(supervisor: &Supervisor) -> String {
    let exit = supervisor.process().monitor().wait();
    match &exit.end {
        End::Failed(why) => why.to_string(),
        _ => panic!("{exit}"),
    }
}

#[test]
fn children_start_in_order_and_end_in_the_reverse_one() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::OneForOne).start().unwrap();
        assert_eq!(log.taken(), ["+ a", "+ b", "+ c"]);
        let counts = supervisor.count_children().unwrap();
        assert_eq!((counts.specs, counts.active, counts.workers), (3, 3, 3));
        let exit = supervisor.shut_down();
        assert!(exit.end.is_normal(), "{exit}");
        assert_eq!(log.taken(), ["- c", "- b", "- a"]);
        let error = supervisor.which_children().unwrap_err();
        assert!(matches!(error, ChildError::Call(_)));
    });
}

#[test]
fn one_for_one_starts_the_one_again() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::OneForOne).start().unwrap();
        log.taken();
        kill(&supervisor, "b");
        assert_eq!(log.taken(), ["- b", "+ b"]);
        supervisor.shut_down();
        assert_eq!(log.taken(), ["- c", "- b", "- a"]);
    });
}

#[test]
fn one_for_all_starts_all_again() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::OneForAll).start().unwrap();
        log.taken();
        kill(&supervisor, "b");
        assert_eq!(log.taken(), ["- b", "- c", "- a", "+ a", "+ b", "+ c"]);
        supervisor.shut_down();
    });
}

#[test]
fn rest_for_one_starts_those_again_that_came_later() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::RestForOne).start().unwrap();
        log.taken();
        kill(&supervisor, "b");
        assert_eq!(log.taken(), ["- b", "- c", "+ b", "+ c"]);
        supervisor.shut_down();
        assert_eq!(log.taken(), ["- c", "- b", "- a"]);
    });
}

/// How a child may end: what it does, and whether it is meant to.
const ENDS: [(&str, fn(), bool); 4] = [
    ("returns", || (), true),
    (
        "shutdown",
        || {
            Process::current().unwrap().cancel(SHUTDOWN);
            park();
        },
        true,
    ),
    (
        "fails",
        || {
            fail("no more");
            park();
        },
        false,
    ),
    ("panics", || resume_unwind(Box::new("over")), false),
];

#[test]
fn it_depends_on_the_child_and_its_end_whether_it_is_started_again() {
    everywhere(|| {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            for (name, end, normal) in ENDS {
                let starts = Count::default();
                let counts = starts.clone();
                let child = ChildSpec::new(name, move || {
                    counts.add();
                    if counts.get() == 1 {
                        return end();
                    }
                    park();
                });
                let supervisor = Supervisor::builder().child(child.restart(restart));
                let supervisor = supervisor.start().unwrap();
                let again = usize::from(match restart {
                    Restart::Permanent => true,
                    Restart::Transient => !normal,
                    Restart::Temporary => false,
                });
                let seen = || (starts.get(), supervisor.count_children().unwrap().active);
                while seen() != (1 + again, again) {
                    sleep(Duration::from_millis(1));
                }
                // And that is all.
                sleep(Duration::from_millis(5));
                assert_eq!(seen(), (1 + again, again), "{restart:?} {name}");
                let children = supervisor.count_children().unwrap();
                let kept = usize::from(restart != Restart::Temporary);
                assert_eq!(children.specs, kept, "{restart:?} {name}");
                supervisor.shut_down();
            }
        }
    });
}

#[test]
fn more_restarts_than_its_intensity_within_its_period_are_a_failure() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::OneForOne).name("shop").intensity(2);
        let supervisor = supervisor.start().unwrap();
        kill(&supervisor, "a");
        kill(&supervisor, "c");
        log.taken();
        process_of(&supervisor, "b").unwrap().kill("now");
        let why = failed(&supervisor);
        assert!(
            why.contains("'shop' has reached its restart intensity"),
            "{why}"
        );
        assert!(
            why.contains("process 'b'") && why.contains("killed: now"),
            "{why}"
        );
        assert_eq!(log.taken(), ["- b", "- c", "- a"]);
    });
}

#[test]
fn restarts_count_for_as_long_as_the_period() {
    everywhere(|| {
        let log = Log::default();
        let period = Duration::from_millis(500);
        let supervisor = three(&log, Strategy::OneForOne).intensity(1).period(period);
        let supervisor = supervisor.start().unwrap();
        for _ in 0..4 {
            kill(&supervisor, "a");
            sleep(period + Duration::from_millis(1));
        }
        // Two within the period, however often it takes until they are.
        while let Ok(children) = supervisor.which_children() {
            let mut children = children.into_iter();
            let child = children.find(|child| &*child.name == "a").unwrap();
            if let Some(process) = child.process {
                process.kill("now");
                process.monitor().wait();
            }
        }
        failed(&supervisor);
    });
}

#[test]
fn an_intensity_of_none_allows_no_restart() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::OneForAll).intensity(0);
        let supervisor = supervisor.start().unwrap();
        process_of(&supervisor, "a").unwrap().kill("now");
        failed(&supervisor);
        assert_eq!(log.taken(), ["+ a", "+ b", "+ c", "- a", "- c", "- b"]);
    });
}

#[test]
fn a_child_that_will_not_end_has_the_time_that_its_shutdown_says() {
    everywhere(|| {
        let millis = Duration::from_millis;
        let masked = |shutdown, takes: u64| {
            let child = ChildSpec::starting("slow", move |started: Started| {
                mask(|| {
                    started.tell();
                    cancelled_operation().perform();
                    sleep(millis(takes));
                });
                fiber::checkpoint();
            });
            Supervisor::builder().child(child.shutdown(shutdown))
        };
        let cases = [
            (Shutdown::Brutal, 1_000_000, true),
            (Shutdown::Timeout(millis(20)), 1_000_000, true),
            (Shutdown::Timeout(millis(10_000)), 20, false),
            (Shutdown::Infinity, 20, false),
        ];
        for (shutdown, takes, killed) in cases {
            let supervisor = masked(shutdown, takes).start().unwrap();
            let child = process_of(&supervisor, "slow").unwrap();
            let begun = time::now();
            supervisor.terminate_child("slow").unwrap();
            let took = time::now().saturating_since(begun);
            let end = child.monitor().wait().end.clone();
            match killed {
                true => assert_eq!(end, End::Killed(SHUTDOWN), "{shutdown:?}"),
                false => assert_eq!(end, End::Cancelled(SHUTDOWN), "{shutdown:?}"),
            }
            if shutdown != Shutdown::Brutal {
                assert!(took >= millis(20), "{shutdown:?} {took:?}");
            }
            supervisor.shut_down();
        }
    });
}

#[test]
fn infinity_is_longer_than_any_grace() {
    // In virtual time only.
    crate::support::in_worlds(50, || {
        let child = ChildSpec::starting("slow", |started: Started| {
            mask(|| {
                started.tell();
                cancelled_operation().perform();
                sleep(Duration::from_secs(300));
            });
            fiber::checkpoint();
        });
        let supervisor = Supervisor::builder().child(child.shutdown(Shutdown::Infinity));
        let supervisor = supervisor.start().unwrap();
        let child = process_of(&supervisor, "slow").unwrap();
        Runtime::current().unwrap().shut_down();
        assert_eq!(child.monitor().wait().end, End::Cancelled(SHUTDOWN));
        assert!(supervisor.process().has_ended());
    });
}

#[test]
fn a_supervisor_whose_child_does_not_start_ends_those_before_it() {
    everywhere(|| {
        let log = Log::default();
        let fails = ChildSpec::starting("d", |_started: Started| Err::<(), _>("no ledger"));
        let supervisor = three(&log, Strategy::OneForOne)
            .child(fails)
            .child(log.child("e"));
        let error = supervisor.start().unwrap_err();
        let StartError::Ended(exit) = &error else {
            panic!("{error}")
        };
        assert!(
            matches!(&exit.end, End::Failed(why) if why.contains("no ledger")),
            "{exit}"
        );
        assert_eq!(log.taken(), ["+ a", "+ b", "+ c", "- c", "- b", "- a"]);
    });
}

#[test]
fn a_restart_that_fails_counts_as_one_more() {
    everywhere(|| {
        let starts = Count::default();
        let counts = starts.clone();
        let child = ChildSpec::starting("once", move |started: Started| {
            counts.add();
            if counts.get() > 1 {
                return Err("only once");
            }
            started.tell();
            park();
            Ok(())
        });
        let supervisor = Supervisor::builder().intensity(3).child(child).start();
        let supervisor = supervisor.unwrap();
        process_of(&supervisor, "once").unwrap().kill("now");
        failed(&supervisor);
        assert_eq!(starts.get(), 4);
    });
}

#[test]
fn children_come_and_go_while_it_runs() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::OneForOne).start().unwrap();
        let error = supervisor.start_child(log.child("b")).unwrap_err();
        assert!(matches!(error, ChildError::Present));
        let added = supervisor.start_child(log.child("d")).unwrap();
        assert_eq!(process_of(&supervisor, "d"), Some(added.clone()));
        let error = supervisor.delete_child("d").unwrap_err();
        assert!(matches!(error, ChildError::Running));
        let error = supervisor.restart_child("d").unwrap_err();
        assert!(matches!(error, ChildError::Running));
        supervisor.terminate_child("d").unwrap();
        assert!(added.has_ended());
        supervisor.terminate_child("d").unwrap();
        assert_eq!(process_of(&supervisor, "d"), None);
        let again = supervisor.restart_child("d").unwrap();
        assert_ne!(again, added);
        supervisor.terminate_child(again.id()).unwrap();
        supervisor.delete_child("d").unwrap();
        let error = supervisor.terminate_child("d").unwrap_err();
        assert!(matches!(error, ChildError::NotFound));
        let fails = ChildSpec::starting("e", |_started: Started| Err::<(), _>("no"));
        let error = supervisor.start_child(fails).unwrap_err();
        assert!(matches!(error, ChildError::Start(StartError::Ended(_))));
        assert_eq!(supervisor.count_children().unwrap().specs, 3);
        supervisor.shut_down();
    });
}

#[test]
fn dynamic_children_are_forgotten_when_they_have_ended_and_end_together() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = Supervisor::builder().strategy(Strategy::Dynamic);
        let supervisor = supervisor.intensity(100).start().unwrap();
        let short = ChildSpec::new("short", || ()).restart(Restart::Transient);
        for _ in 0..20 {
            supervisor.start_child(short.clone()).unwrap();
        }
        let permanent = supervisor.start_child(log.child("long")).unwrap();
        permanent.kill("now");
        permanent.monitor().wait();
        while supervisor.count_children().unwrap().specs > 1 {
            sleep(Duration::from_millis(1));
        }
        runs_again(&supervisor, "long", &permanent);
        const SLOW: usize = 5;
        let told = Arc::new(Counter::new(0));
        let slow = (0..SLOW).map(|_| {
            let told = Arc::clone(&told);
            let slow = ChildSpec::starting("slow", move |started: Started| {
                mask(|| {
                    started.tell();
                    cancelled_operation().perform();
                    // It ends when all of them were told to.
                    told.add(1);
                    told.wait(SLOW);
                });
                fiber::checkpoint();
            });
            supervisor.start_child(slow).unwrap()
        });
        let slow: Vec<_> = slow.collect();
        supervisor.shut_down();
        for child in slow {
            assert_eq!(child.monitor().wait().end, End::Cancelled(SHUTDOWN));
        }
    });
}

#[test]
fn a_failure_goes_up_the_tree() {
    everywhere(|| {
        let log = Log::default();
        let inner = three(&log, Strategy::OneForOne).name("inner").intensity(0);
        let outer = Supervisor::builder()
            .child(ChildSpec::supervisor("inner", inner))
            .child(log.child("z"));
        let outer = outer.start().unwrap();
        assert_eq!(log.taken(), ["+ a", "+ b", "+ c", "+ z"]);
        assert_eq!(outer.count_children().unwrap().supervisors, 1);
        let old = process_of(&outer, "inner").unwrap();
        let inner = Supervisor::of(&old).unwrap();
        process_of(&inner, "b").unwrap().kill("now");
        old.monitor().wait();
        runs_again(&outer, "inner", &old);
        assert_eq!(log.taken(), ["- b", "- c", "- a", "+ a", "+ b", "+ c"]);
        // The outer one allows one restart.
        let old = process_of(&outer, "inner").unwrap();
        process_of(&Supervisor::of(&old).unwrap(), "a")
            .unwrap()
            .kill("now");
        failed(&outer);
        assert_eq!(log.taken(), ["- a", "- c", "- b", "- z"]);
    });
}

#[test]
fn a_tree_is_shut_down_in_the_reverse_order_of_its_start() {
    everywhere(|| {
        let log = Log::default();
        let inner = three(&log, Strategy::OneForOne);
        let outer = Supervisor::builder()
            .child(log.child("y"))
            .child(ChildSpec::supervisor("inner", inner))
            .child(log.child("z"));
        outer.start().unwrap();
        log.taken();
        Runtime::current().unwrap().shut_down();
        assert_eq!(log.taken(), ["- z", "- c", "- b", "- a", "- y"]);
    });
}

#[test]
fn a_killed_supervisor_takes_its_children_along() {
    everywhere(|| {
        let log = Log::default();
        let supervisor = three(&log, Strategy::OneForOne).start().unwrap();
        let children = supervisor.process().children();
        supervisor.process().kill("now");
        let exit = supervisor.process().monitor().wait();
        assert!(matches!(exit.end, End::Killed(_)), "{exit}");
        assert!(children.iter().all(Process::has_ended));
        assert_eq!(log.taken().len(), 6);
    });
}

#[test]
fn a_child_is_started_again_when_all_that_the_old_one_had_is_released() {
    everywhere(|| {
        let child = ChildSpec::starting("named", |started: Started| {
            let this = Process::current().unwrap();
            register("named", &this).unwrap();
            // It lasts for a while until it has ended.
            drop(spawn(|| {
                mask(|| {
                    cancelled_operation().perform();
                    sleep(Duration::from_millis(10));
                });
            }));
            started.tell();
            park();
        });
        let supervisor = Supervisor::builder().intensity(10).child(child).start();
        let supervisor = supervisor.unwrap();
        for _ in 0..3 {
            let process = process_of(&supervisor, "named").unwrap();
            assert_eq!(whereis("named").as_ref(), Some(&process));
            process.cancel("enough");
            runs_again(&supervisor, "named", &process);
        }
        supervisor.shut_down();
    });
}

#[test]
fn a_supervisor_that_is_cancelled_while_a_child_starts_ends() {
    everywhere(|| {
        let log = Log::default();
        let seen = log.clone();
        let never = ChildSpec::starting("never", move |_started: Started| {
            seen.add("+", "never");
            park();
        });
        let supervisor = Supervisor::builder().child(log.child("a")).child(never);
        let starting = spawn(move || supervisor.start().map(drop).unwrap_err());
        let runtime = Runtime::current().unwrap();
        while log.len() < 2 {
            sleep(Duration::from_millis(1));
        }
        runtime.shut_down();
        let error = starting.join().unwrap();
        assert!(
            matches!(&error, StartError::Ended(exit) if exit.end.is_normal()),
            "{error}"
        );
        assert_eq!(log.taken(), ["+ a", "+ never", "- a"]);
    });
}

#[test]
fn a_supervisor_may_be_linked_to_whoever_starts_it() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let log = Log::default();
            let supervisor = three(&log, Strategy::OneForOne).intensity(0).linked();
            let supervisor = supervisor.start().unwrap();
            process_of(&supervisor, "a").unwrap().kill("now");
            park();
        });
        let id = process.as_ref().unwrap().id();
        let exit = process.unwrap().join().unwrap_err();
        assert!(
            matches!(&exit.end, End::Linked(cause) if cause.process != id),
            "{exit}"
        );
        assert_eq!(Monitor::of(id).wait().end, End::Unknown);
    });
}

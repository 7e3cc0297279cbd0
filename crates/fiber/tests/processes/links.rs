//! Processes that end together, unless one wants to be told instead.

use alloc::sync::Arc;
use core::time::Duration;
use std::panic::resume_unwind;

use fiber::{
    End, Exit, Monitor, NoProcess, Process, ProcessHandle, SHUTDOWN, SpawnError, fail, mask, park,
    sleep, spawn, sync::channel, yield_now,
};

use crate::{support::on_linux, world::everywhere};

fn parked() -> ProcessHandle<()> {
    Process::builder().spawn(park).unwrap()
}

/// One that traps, and hands on what it has trapped.
fn trapping() -> (Process, channel::Receiver<Arc<Exit>>) {
    let (out, trapped) = channel::bounded(100);
    let (ready, is_ready) = channel::bounded(1);
    let process = Process::builder().spawn(move || {
        let exits = Process::current().unwrap().trap_exits();
        ready.send(()).unwrap();
        loop {
            out.send(exits.recv()).unwrap();
        }
    });
    is_ready.recv().unwrap();
    (process.unwrap().process().clone(), trapped)
}

fn linked_end(process: ProcessHandle<()>) -> Arc<Exit> {
    let exit = process.join().unwrap_err();
    match &exit.end {
        End::Linked(cause) => Arc::clone(cause),
        _ => panic!("{exit}"),
    }
}

#[test]
fn an_abnormal_end_ends_those_who_are_linked_and_names_the_first() {
    everywhere(|| {
        let (one, two, three) = (parked(), parked(), parked());
        one.process().link_to(two.process());
        three.process().link_to(two.process());
        let first = one.id();
        one.kill("now");
        // Also through one in between.
        assert_eq!(linked_end(three).process, first);
        let cause = linked_end(two);
        assert_eq!(cause.end, End::Killed("now".into()));
        assert_eq!(one.join().unwrap_err(), cause);
    });
}

#[test]
fn a_panic_a_failure_and_a_cancel_propagate() {
    everywhere(|| {
        let causes: [fn(); 3] = [
            || resume_unwind(Box::new("over")),
            || {
                fail("no more");
                park();
            },
            || Process::current().unwrap().cancel("enough"),
        ];
        for cause in causes {
            let other = parked();
            let theirs = other.process().clone();
            let process = Process::builder().spawn(move || {
                theirs.link().unwrap();
                cause();
                park();
            });
            let exit = process.unwrap().join().unwrap_err();
            let told = linked_end(other);
            assert_eq!(told, exit);
        }
    });
}

#[test]
fn a_process_that_returns_ends_nobody() {
    everywhere(|| {
        let other = parked();
        let theirs = other.process().clone();
        let process = Process::builder().spawn(move || theirs.link().unwrap());
        process.unwrap().join().unwrap();
        sleep(Duration::from_millis(5));
        assert!(!other.process().is_ending());
        assert!(other.process().links().is_empty());
        other.cancel("over");
    });
}

#[test]
fn a_shutdown_propagates_and_stays_a_normal_end() {
    everywhere(|| {
        let (one, other) = (parked(), parked());
        one.process().link_to(other.process());
        one.cancel(SHUTDOWN);
        let exit = other.join().unwrap_err();
        assert!(exit.end.is_normal(), "{exit}");
    });
}

#[test]
fn who_traps_exits_is_told_and_goes_on() {
    everywhere(|| {
        let (trapping, trapped) = trapping();
        let killed = parked();
        let (end, until) = channel::bounded(1);
        let returns = Process::builder().spawn(move || until.recv().unwrap());
        let returns = returns.unwrap();
        trapping.link_to(killed.process());
        trapping.link_to(returns.process());
        killed.kill("now");
        let first = trapped.recv().unwrap();
        assert_eq!(first.process, killed.id());
        assert_eq!(first.end, End::Killed("now".into()));
        end.send(()).unwrap();
        let second = trapped.recv().unwrap();
        assert_eq!(
            (second.process, &second.end),
            (returns.id(), &End::Returned)
        );
        assert!(!trapping.is_ending());
        trapping.cancel("over");
    });
}

#[test]
fn the_killed_cannot_trap_it_but_those_one_hop_on_can() {
    everywhere(|| {
        let (outer, outer_trapped) = trapping();
        let (inner, _inner_trapped) = trapping();
        inner.link_to(&outer);
        inner.kill("now");
        let exit = outer_trapped.recv().unwrap();
        assert_eq!(
            (exit.process, &exit.end),
            (inner.id(), &End::Killed("now".into()))
        );
        assert!(!outer.is_ending());
        outer.cancel("over");
    });
}

#[test]
fn after_an_unlink_nothing_comes() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            for round in 0..10 {
                let other = parked();
                other.process().link().unwrap();
                let theirs = other.process().clone();
                let killer = spawn(move || theirs.kill("now"));
                for _ in 0..round {
                    yield_now();
                }
                // If the signal was faster it unwinds us, at the latest here.
                other.process().unlink().unwrap();
                let ending = Process::current().unwrap().is_ending();
                mask(|| {
                    killer.join().unwrap();
                    other.join().unwrap_err();
                    sleep(Duration::from_millis(1));
                });
                assert_eq!(Process::current().unwrap().is_ending(), ending);
                if ending {
                    return;
                }
            }
        });
        let _ = process.unwrap().join();
    });
}

#[test]
fn an_unlink_takes_back_what_was_trapped_and_not_received() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let exits = Process::current().unwrap().trap_exits();
            let (one, other) = (parked(), parked());
            one.process().link().unwrap();
            other.process().link().unwrap();
            one.kill("now");
            let monitor = one.process().monitor();
            monitor.wait();
            one.process().unlink().unwrap();
            assert_eq!(exits.try_recv(), None);
            other.kill("now");
            assert_eq!(exits.recv().process, other.id());
            assert!(exits.recv_timeout(Duration::from_millis(1)).is_err());
        });
        process.unwrap().join().unwrap();
    });
}

#[test]
fn linking_to_one_that_has_ended_is_as_having_linked_before() {
    everywhere(|| {
        let dead = parked();
        dead.kill("now");
        let monitor = dead.process().monitor();
        monitor.wait();
        // Whose exits are trapped is told, once, however often it links.
        let (trapping, trapped) = trapping();
        trapping.link_to(dead.process());
        assert_eq!(trapped.recv().unwrap().process, dead.id());
        trapping.cancel("over");
        // Who traps nothing ends.
        let theirs = dead.process().clone();
        let process = Process::builder().spawn(move || {
            theirs.link().unwrap();
            park();
        });
        assert_eq!(linked_end(process.unwrap()).process, dead.id());
        // Nothing comes of one that has returned.
        let returned = Process::builder().spawn(|| ()).unwrap();
        returned.process().monitor().wait();
        let process = Process::builder().spawn(move || {
            returned.process().link().unwrap();
            sleep(Duration::from_millis(1));
        });
        process.unwrap().join().unwrap();
    });
}

#[test]
fn a_linked_child_cannot_die_unseen() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let exits = Process::current().unwrap().trap_exits();
            for _ in 0..5 {
                let dies = || resume_unwind(Box::new("at once"));
                let child = Process::builder().linked().spawn::<fn(), ()>(dies).unwrap();
                let exit = exits.recv();
                assert_eq!(exit.process, child.id());
                assert_eq!(exit.end, End::Panicked("at once".into()));
            }
        });
        process.unwrap().join().unwrap();
    });
}

#[test]
fn exits_are_trapped_for_as_long_as_somebody_could_receive_them() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let this = Process::current().unwrap();
            let (one, other) = (this.trap_exits(), this.trap_exits());
            let child = Process::builder().linked().spawn(park).unwrap();
            drop(one);
            child.kill("now");
            assert_eq!(other.recv().process, child.id());
            drop(other);
            let child = Process::builder().linked().spawn(park).unwrap();
            child.kill("now");
            park();
        });
        linked_end(process.unwrap());
    });
}

#[test]
fn the_first_process_is_no_end_of_a_link() {
    everywhere(|| {
        let process = parked();
        assert!(process.process().link().is_err());
        assert!(process.process().unlink().is_err());
        let error = Process::builder().linked().spawn(park).unwrap_err();
        assert!(matches!(error, SpawnError::NoProcess(NoProcess { .. })));
        process.cancel("over");
    });
}

#[test]
fn links_go_both_ways_and_there_is_one_between_two() {
    everywhere(|| {
        let (one, other) = (parked(), parked());
        for _ in 0..2 {
            one.process().link_to(other.process());
            other.process().link_to(one.process());
            one.process().link_to(one.process());
        }
        assert_eq!(one.process().links(), [other.process().clone()]);
        assert_eq!(other.process().links(), [one.process().clone()]);
        one.process().unlink_from(other.process());
        assert!(one.process().links().is_empty() && other.process().links().is_empty());
        one.kill("now");
        one.join().unwrap_err();
        assert!(!other.process().is_ending());
        other.cancel("over");
    });
}

#[test]
fn a_ring_of_links_ends_as_one() {
    everywhere(|| {
        let ring: Vec<_> = (0..20).map(|_| parked()).collect();
        for (index, process) in ring.iter().enumerate() {
            process
                .process()
                .link_to(ring[(index + 1) % ring.len()].process());
        }
        let first = ring[7].id();
        ring[7].kill("now");
        for process in ring {
            let id = process.id();
            let exit = process.join().unwrap_err();
            let cause = match &exit.end {
                End::Linked(cause) => cause.process,
                _ => exit.process,
            };
            assert_eq!(cause, first, "{id}");
        }
    });
}

#[test]
fn a_link_reaches_into_another_runtime() {
    on_linux(2, || {
        let (told, tells) = channel::bounded(1);
        let other = std::thread::spawn(move || {
            on_linux(1, || {
                let process = parked();
                told.send(process.process().clone()).unwrap();
                linked_end(process).process
            })
        });
        let theirs = tells.recv().unwrap();
        let process = parked();
        process.process().link_to(&theirs);
        process.kill("now");
        let cause = fiber::blocking(move || other.join().unwrap());
        assert_eq!(cause, process.id());
    });
}

#[test]
fn who_was_cancelled_before_ends_as_cancelled() {
    everywhere(|| {
        let slow = Process::builder().spawn(|| mask(|| sleep(Duration::from_millis(20))));
        let (slow, other) = (slow.unwrap(), parked());
        slow.process().link_to(other.process());
        sleep(Duration::from_millis(1));
        slow.cancel("before");
        other.kill("now");
        let exit = Monitor::of(slow.id()).wait();
        assert!(!matches!(exit.end, End::Linked(_)), "{exit}");
    });
}

#[test]
fn an_unlink_in_the_middle_of_a_death_is_heard_or_came_too_late() {
    for workers in [2, 4] {
        on_linux(workers, || {
            for _ in 0..10 {
                let dies = parked();
                let peers: Vec<_> = (0..100).map(|_| parked()).collect();
                for peer in &peers {
                    peer.process().link_to(dies.process());
                }
                dies.kill("now");
                // They are told one after another, while this one unlinks the last.
                let (first, last) = (peers[0].process(), peers[99].process());
                while !first.is_ending() {
                    yield_now();
                }
                last.unlink_from(dies.process());
                let too_late = last.is_ending();
                dies.join().unwrap_err();
                assert_eq!(last.is_ending(), too_late);
                peers.iter().for_each(|peer| peer.cancel("over"));
            }
        });
    }
}

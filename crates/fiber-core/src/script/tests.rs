//! The script keeps to its own contract.

extern crate std;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;
use std::sync::Mutex;

use super::{Reply, Script, ScriptEnv, SeededChooser};
use crate::{
    IoErrorKind,
    env::{
        AfterWork, Chooser, Clock, Env, HostFault, Instant, Port, PortConfig, Site, Staged, TryNow,
        Unpark, Wait, WorkerId, Workers,
    },
    request::{
        Completion, Extent, Interest, LentMut, Outcome, RawDescriptor, Request, RequestKind, Token,
    },
    signal::{Signal, SignalSet},
};

const READY: Request = Request::Ready {
    descriptor: RawDescriptor(5),
    interest: Interest::Readable,
};

struct Driver {
    port: Box<dyn Port>,
    staged: Staged,
}

impl Driver {
    fn new(env: &ScriptEnv, worker: WorkerId) -> Self {
        let port = env.open_port(worker, &PortConfig::default()).unwrap();
        let staged = Staged::new();
        Self { port, staged }
    }

    fn stage(&mut self, slot: u32, request: Request) {
        // SAFETY: the requests of these tests lend no memory (I-3).
        unsafe { self.staged.push(Token::new(slot, 1), request) };
    }

    fn now(&mut self, request: &Request) -> TryNow {
        // SAFETY: the requests of these tests lend no memory (I-3).
        unsafe { self.port.try_now(request) }
    }

    fn turn(&mut self, wait: Wait) -> Result<Vec<Completion>, HostFault> {
        let mut out = Vec::new();
        self.port.turn(&mut self.staged, wait, &mut out)?;
        Ok(out)
    }
}

fn on_a_worker<T: Send>(env: &ScriptEnv, body: impl Fn(&mut Driver) -> T + Sync) -> T {
    let result = Mutex::new(None);
    env.run(1, &|worker| {
        let value = body(&mut Driver::new(env, worker));
        *result.lock().unwrap() = Some(value);
        AfterWork::Free
    })
    .unwrap();
    result.into_inner().unwrap().unwrap()
}

fn done(slot: u32, number: u64) -> Completion {
    Completion::terminal(Token::new(slot, 1), Outcome::Done(number))
}

#[test]
fn an_answer_serves_one_request_and_the_next_one_stays_in_flight() {
    let env = ScriptEnv::new();
    env.answer(RequestKind::Ready, Outcome::Done(7));
    let out = on_a_worker(&env, |driver| {
        driver.stage(1, READY);
        driver.stage(2, READY);
        driver.turn(Wait::No).unwrap()
    });
    assert_eq!(out, [done(1, 7)]);
    assert_eq!(env.asked(), [RequestKind::Ready, RequestKind::Ready]);
}

#[test]
fn a_test_can_end_a_request_by_hand_and_a_cancel_ends_the_other() {
    let env = ScriptEnv::new();
    let out = on_a_worker(&env, |driver| {
        driver.stage(1, READY);
        driver.stage(2, READY);
        assert_eq!(driver.turn(Wait::No), Ok(Vec::new()));
        assert!(env.complete(RequestKind::Ready, Outcome::Done(0)));
        let token = Token::new(2, 1);
        driver.stage(3, Request::Cancel { token });
        driver.turn(Wait::Forever).unwrap()
    });
    let cancelled = Outcome::Failed(IoErrorKind::Cancelled.into());
    let second = Completion::terminal(Token::new(2, 1), cancelled);
    assert_eq!(out, [done(1, 0), second]);
    assert!(!env.complete(RequestKind::Ready, Outcome::Done(0)));
}

#[test]
fn the_clock_jumps_to_what_is_due_first() {
    let env = ScriptEnv::with(
        Script::new().reply(|_, now| Reply::At(now + Duration::from_secs(5), Outcome::Done(5))),
    );
    on_a_worker(&env, |driver| {
        driver.stage(1, READY);
        let deadline = Instant::ORIGIN + Duration::from_secs(3);
        assert_eq!(driver.turn(Wait::Until(deadline)), Ok(Vec::new()));
        assert_eq!(env.now(), deadline);
        assert_eq!(driver.turn(Wait::Forever), Ok(alloc::vec![done(1, 5)]));
        assert_eq!(env.now(), Instant::ORIGIN + Duration::from_secs(5));
    });
}

#[test]
fn waiting_for_ever_for_nothing_fails() {
    let env = ScriptEnv::new();
    let fault = on_a_worker(&env, |driver| {
        driver.stage(1, READY);
        driver.turn(Wait::Forever).unwrap_err()
    });
    assert!(alloc::format!("{fault}").contains("nothing can ever happen"));
}

#[test]
fn an_early_unpark_ends_the_next_wait_and_only_that_one() {
    let env = ScriptEnv::new();
    on_a_worker(&env, |driver| {
        driver.port.unparker().unpark();
        assert_eq!(driver.turn(Wait::Forever), Ok(Vec::new()));
        driver.turn(Wait::Forever).unwrap_err();
    });
}

#[test]
fn workers_wake_each_other_and_all_fail_when_all_wait_for_ever() {
    let env = ScriptEnv::new();
    let first: Mutex<Option<Arc<dyn Unpark>>> = Mutex::new(None);
    let faults = Mutex::new(0);
    env.run(2, &|worker| {
        let mut driver = Driver::new(&env, worker);
        if worker.index() == 0 {
            *first.lock().unwrap() = Some(driver.port.unparker());
            assert_eq!(driver.turn(Wait::Forever), Ok(Vec::new()));
        } else {
            while first.lock().unwrap().is_none() {
                let soon = env.now() + Duration::from_millis(1);
                driver.turn(Wait::Until(soon)).unwrap();
            }
            first.lock().unwrap().as_ref().unwrap().unpark();
        }
        driver.turn(Wait::Forever).unwrap_err();
        *faults.lock().unwrap() += 1;
        AfterWork::Free
    })
    .unwrap();
    assert_eq!(faults.into_inner().unwrap(), 2);
}

#[test]
fn a_signal_that_one_worker_raises_ends_the_wait_of_another_that_reads() {
    let env = ScriptEnv::new();
    let signals = Mutex::new(None);
    env.run(2, &|worker| {
        let mut driver = Driver::new(&env, worker);
        let set = SignalSet::new(&[Signal::User1]);
        if worker.index() == 0 {
            let descriptor = match driver.now(&Request::OpenSignals { set }) {
                TryNow::Done(Outcome::Opened(raw)) => raw,
                other => panic!("it should open, but: {other:?}"),
            };
            let mut byte = [0];
            let into = LentMut::new(&mut byte);
            let extent = Extent::Some;
            let read = Request::Recv {
                descriptor,
                into,
                extent,
            };
            // SAFETY: on this frame, which is left after the completion (I-3).
            unsafe { driver.staged.push(Token::new(1, 1), read) };
            assert_eq!(driver.turn(Wait::No), Ok(Vec::new()));
            *signals.lock().unwrap() = Some(descriptor);
            assert_eq!(driver.turn(Wait::Forever), Ok(alloc::vec![done(1, 1)]));
            // SAFETY: the host has written it, and is done with it (I-3).
            assert_eq!(unsafe { into.start().read() }, Signal::User1.number());
        } else {
            while signals.lock().unwrap().is_none() {
                let soon = env.now() + Duration::from_millis(1);
                driver.turn(Wait::Until(soon)).unwrap();
            }
            let signal = Signal::User1;
            let raised = driver.now(&Request::RaiseSignal { signal });
            assert_eq!(raised, TryNow::Done(Outcome::Done(0)));
        }
        AfterWork::Free
    })
    .unwrap();
}

#[test]
fn an_outsider_wakes_a_worker_that_waits_for_ever() {
    let env = ScriptEnv::with(Script::new().outsiders());
    on_a_worker(&env, |driver| {
        let unparker = driver.port.unparker();
        let outsider = std::thread::spawn(move || unparker.unpark());
        assert_eq!(driver.turn(Wait::Forever), Ok(Vec::new()));
        outsider.join().unwrap();
    });
}

#[test]
fn kinds_outside_of_the_script_are_unsupported() {
    let env = ScriptEnv::with(Script::new().kinds(&[RequestKind::Nop]));
    let unsupported = Outcome::Failed(IoErrorKind::Unsupported.into());
    on_a_worker(&env, |driver| {
        driver.stage(1, READY);
        let out = driver.turn(Wait::Forever).unwrap();
        assert_eq!(out, [Completion::terminal(Token::new(1, 1), unsupported)]);
        let duplicate = Request::Duplicate {
            descriptor: RawDescriptor(5),
        };
        // SAFETY: it lends no memory (I-3).
        let answer = unsafe { driver.port.try_now(&duplicate) };
        assert_eq!(answer, TryNow::Done(unsupported));
    });
}

#[test]
fn a_seed_decides_the_same_way_each_time_and_each_site_for_itself() {
    let (one, two) = (Site::new("one"), Site::new("two"));
    let draw = |chooser: &SeededChooser, site| -> Vec<u32> {
        (0..20).map(|_| chooser.choose(site, 10)).collect()
    };
    let chooser = SeededChooser::new(7);
    let first = draw(&chooser, one);
    let second = draw(&chooser, two);
    let again = SeededChooser::new(7);
    assert_eq!(draw(&again, two), second);
    assert_eq!(draw(&again, one), first);
    assert_ne!(draw(&SeededChooser::new(8), one), first);
    assert!(first.iter().all(|&number| number < 10));
}

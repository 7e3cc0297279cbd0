//! Asking a process, which may die instead of answering.

use core::time::Duration;
use std::panic::resume_unwind;

use fiber::{
    CallError, End, Process, ProcessHandle, Reply, fail,
    operation::always,
    park, sleep, spawn,
    sync::channel::{self, Receiver, Sender},
};

use crate::world::everywhere;

type Request = (u32, Reply<u32>);
/// How a server serves.
type Serve = fn(Receiver<Request>);

const LONG: Duration = Duration::from_secs(1000);

fn server(serve: Serve) -> (ProcessHandle<()>, Sender<Request>) {
    let (requests, serves) = channel::bounded(1);
    let process = Process::builder().spawn(move || serve(serves));
    (process.unwrap(), requests)
}

fn ask(
    server: &ProcessHandle<()>,
    requests: &Sender<Request>,
    span: Duration,
) -> Result<u32, CallError> {
    server
        .process()
        .call(span, |reply| requests.send_operation((6, reply)))
}

fn is_down(answer: &Result<u32, CallError>, with: &End) -> bool {
    matches!(answer, Err(CallError::Down(exit)) if exit.end == *with)
}

fn doubles(requests: Receiver<Request>) {
    while let Ok((number, reply)) = requests.recv() {
        reply.send(number * 2).unwrap();
    }
}

#[test]
fn a_call_gives_the_answer() {
    everywhere(|| {
        let (process, requests) = server(doubles);
        let callers: Vec<_> = (0..5)
            .map(|_| {
                let (requests, callee) = (requests.clone(), process.process().clone());
                spawn(move || callee.call(LONG, |reply| requests.send_operation((6, reply))))
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap(), 12);
        }
        drop(requests);
        process.join().unwrap();
    });
}

#[test]
fn a_call_to_one_that_dies_over_it_says_so() {
    everywhere(|| {
        let deaths: [(Serve, End); 3] = [
            (
                |requests| {
                    let _request = requests.recv().unwrap();
                    resume_unwind(Box::new("over"));
                },
                End::Panicked("over".into()),
            ),
            (
                |requests| {
                    let _request = requests.recv().unwrap();
                    fail("no more");
                    park();
                },
                End::Failed("no more".into()),
            ),
            (
                |requests| {
                    // Kept, and never answered.
                    let request = requests.recv().unwrap();
                    drop(spawn(move || {
                        let _request = request;
                        park();
                    }));
                    Process::current().unwrap().kill("now");
                    park();
                },
                End::Killed("now".into()),
            ),
        ];
        for (dies, end) in deaths {
            let (process, requests) = server(dies);
            let answer = ask(&process, &requests, LONG);
            assert!(is_down(&answer, &end), "{answer:?}");
        }
    });
}

#[test]
fn a_call_to_one_that_does_not_listen_ends_with_it() {
    everywhere(|| {
        let (process, requests) = server(|_requests| sleep(Duration::from_millis(5)));
        let (theirs, callee) = (requests.clone(), process.process().clone());
        // One request lies in the channel, another one finds it full.
        let other = spawn(move || callee.call(LONG, |reply| theirs.send_operation((6, reply))));
        let answer = ask(&process, &requests, LONG);
        assert!(is_down(&answer, &End::Returned), "{answer:?}");
        let answer = other.join().unwrap();
        assert!(is_down(&answer, &End::Returned), "{answer:?}");
        // And one that comes too late.
        let answer = ask(&process, &requests, LONG);
        assert!(is_down(&answer, &End::Returned), "{answer:?}");
    });
}

#[test]
fn a_call_that_is_refused_says_so_while_the_callee_goes_on() {
    everywhere(|| {
        let (process, requests) = server(|requests| {
            drop(requests.recv().unwrap());
            doubles(requests);
        });
        let answer = ask(&process, &requests, LONG);
        assert!(matches!(answer, Err(CallError::NoReply)), "{answer:?}");
        assert_eq!(ask(&process, &requests, LONG).unwrap(), 12);
        drop(requests);
        process.join().unwrap();
    });
}

#[test]
fn a_call_waits_for_as_long_as_it_says_and_a_late_answer_goes_nowhere() {
    everywhere(|| {
        let (process, requests) = server(|requests| {
            let (number, reply) = requests.recv().unwrap();
            while reply.is_wanted() {
                sleep(Duration::from_millis(1));
            }
            assert_eq!(reply.send(number), Err(6));
            doubles(requests);
        });
        // Sent in any case, and then waited for.
        let answer = process.process().call(Duration::from_millis(5), |reply| {
            requests.send((6, reply)).unwrap();
            always(())
        });
        assert!(matches!(answer, Err(CallError::Elapsed)), "{answer:?}");
        assert_eq!(ask(&process, &requests, LONG).unwrap(), 12);
        drop(requests);
        process.join().unwrap();
    });
}

#[test]
fn an_answer_that_was_given_before_the_end_is_never_late() {
    everywhere(|| {
        let (process, requests) = server(|requests| {
            let (number, reply) = requests.recv().unwrap();
            reply.send(number).unwrap();
        });
        let callee = process.process().clone();
        let answer = callee.call(LONG, |reply| {
            requests.send((6, reply)).unwrap();
            callee.monitor().wait();
            always(())
        });
        assert_eq!(answer.unwrap(), 6);
    });
}

#[test]
fn a_process_that_calls_itself_is_told_that_it_would_wait_for_ever() {
    everywhere(|| {
        let process = Process::builder().spawn(|| {
            let this = Process::current().unwrap();
            let never = |_: Reply<()>| -> fiber::operation::Never<()> { unreachable!() };
            this.call(LONG, never)
        });
        let answer = process.unwrap().join().unwrap();
        assert!(matches!(answer, Err(CallError::Deadlock)));
    });
}

#[test]
fn a_plain_thread_may_call() {
    crate::support::on_linux(2, || {
        let (process, requests) = server(doubles);
        let callee = process.process().clone();
        let thread = std::thread::spawn(move || {
            let answer = callee.call(LONG, |reply| requests.send_operation((6, reply)));
            callee.kill("now");
            // This one may be served yet, and ends in any case.
            let _ = callee.call(LONG, |reply| requests.send_operation((6, reply)));
            callee.monitor().wait();
            let down = callee.call(LONG, |reply| requests.send_operation((6, reply)));
            (answer.unwrap(), down.is_err())
        });
        let answers = fiber::blocking(move || thread.join().unwrap());
        assert_eq!(answers, (12, true));
    });
}

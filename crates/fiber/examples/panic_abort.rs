//! What is left of cancelling in a program whose panics abort, and that nothing else is different.
//!
//! ```text
//! cargo run -p fiber --example panic_abort --profile abort
//! ```
//!
//! Nothing unwinds in such a program: a cancel is a flag that the code asks for, or waits for as an
//! arm of a `choose!`, and a panic ends the program. As ever, a fiber that is cancelled before it
//! has started never runs, and a process that does not end within its graces is abandoned.
//!
//! This one plays each of its parts on Linux and in a simulated world, in an OS
//! process of its own, and fails when one of them ends in another way than it is to.

extern crate alloc;

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use std::{
    env,
    io::Write,
    os::unix::process::ExitStatusExt,
    process::{self, Command, ExitCode, Output},
    thread,
};

use fiber::{
    End, Process, Runtime, SharedEnv, cancel_reason, cancelled_operation, catch_unwind, checkpoint,
    choose, current, fail,
    io::TcpListener,
    is_cancelled,
    operation::perform,
    park, sleep, spawn,
    supervisor::{ChildSpec, Shutdown, Supervisor},
    sync::{LockError, Mutex, channel::bounded},
    timeout, unmask,
};
use host_linux::{Config, Linux};
use host_sim::Sim;

const SIGABRT: i32 = 6;
const MOMENT: Duration = Duration::from_millis(200);
/// Longer than any part takes: what takes it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// How it is called, what it does and how it must end.
type Part = (&'static str, fn(SharedEnv), Ends);

#[derive(Clone, Copy)]
enum Ends {
    Well,
    /// By an abort, after this was said.
    Aborting(&'static str),
}

#[rustfmt::skip]
const PARTS: &[Part] = &[
    ("wait", a_cancel_is_a_flag_and_ends_no_wait, Ends::Well),
    ("kill", a_kill_is_a_flag_and_poisons_nothing, Ends::Well),
    ("timeout", a_timeout_waits_for_its_body, Ends::Well),
    ("arm", a_cancel_is_an_arm_of_a_choice, Ends::Well),
    ("unmask", a_region_is_not_entered_after_a_cancel, Ends::Well),
    ("heeding process", a_process_that_heeds_its_cancel_ends_by_itself, Ends::Well),
    ("deaf process", a_process_that_does_not_is_abandoned, Ends::Well),
    ("failed process", a_process_that_has_failed_is_abandoned, Ends::Well),
    ("supervisor", a_supervisor_ends_children_that_are_deaf, Ends::Well),
    ("failed supervisor", a_supervisor_that_gives_up_ends, Ends::Well),
    ("end of main", the_end_of_main_waits_for_other_fibers, Ends::Well),
    ("end of run", the_end_of_main_abandons_processes, Ends::Well),
    ("panic", a_panic_ends_the_program, Ends::Aborting("as it was told")),
    ("caught panic", no_panic_is_caught, Ends::Aborting("not to be caught")),
];

fn main() -> ExitCode {
    if cfg!(panic = "unwind") {
        tell("build this program with `--profile abort`\n");
        return ExitCode::from(2);
    }
    let mut arguments = env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(host), Some(part)) => play(&host, &part),
        _ => play_all(),
    }
}

fn tell(words: &str) {
    let told = std::io::stderr().write_all(words.as_bytes());
    told.expect("somebody reads it");
}

fn play_all() -> ExitCode {
    let mut wrong = 0;
    for host in ["linux", "sim"] {
        for (name, _, ends) in PARTS {
            let program = env::current_exe().expect("this program has a path");
            let output = Command::new(program).args([host, *name]).output();
            let output = output.expect("it starts");
            if ends.describe(&output) {
                tell(&format!("{host}, {name}: as it must be\n"));
                continue;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            tell(&format!("{host}, {name}: WRONG, {}\n{said}", output.status));
            wrong += 1;
        }
    }
    ExitCode::from(u8::from(wrong > 0))
}

impl Ends {
    fn describe(self, output: &Output) -> bool {
        match self {
            Self::Well => output.status.success(),
            Self::Aborting(words) => {
                let said = String::from_utf8_lossy(&output.stderr);
                output.status.signal() == Some(SIGABRT) && said.contains(words)
            }
        }
    }
}

/// Plays one part in this OS process.
fn play(host: &str, part: &str) -> ExitCode {
    let Some((_, part, _)) = PARTS.iter().find(|(name, ..)| *name == part) else {
        tell("there is no such part\n");
        return ExitCode::from(2);
    };
    thread::spawn(|| {
        thread::sleep(HANGS);
        tell("it hangs\n");
        process::exit(3);
    });
    if host == "linux" {
        part(Linux::new(Config::default()).expect("the host starts"));
    } else {
        let mut sim = Sim::new(1);
        sim.node("only", part);
        sim.run().expect_finished();
    }
    ExitCode::SUCCESS
}

fn run<T: Send>(env: SharedEnv, main: impl FnOnce() -> T + Send) -> T {
    assert!(!env.caps().unwind && !env.can_unwind(), "the host says so");
    let builder = Runtime::builder(env).workers(2);
    builder.run(main).unwrap_or_else(|error| panic!("{error}"))
}

fn a_cancel_is_a_flag_and_ends_no_wait(env: SharedEnv) {
    run(env, || {
        let (tell, told) = bounded(1);
        let fiber = spawn(move || {
            tell.send(()).expect("it listens");
            sleep(MOMENT);
            checkpoint();
            let began = fiber::time::now();
            sleep(MOMENT);
            let slept = fiber::time::now().saturating_since(began);
            (slept, is_cancelled(), cancel_reason())
        });
        told.recv().expect("it says so");
        fiber.cancel_with("not needed");
        let (slept, flag, reason) = fiber.join().expect("it ends as if nothing had happened");
        assert!(slept >= MOMENT && flag, "{slept:?}, {flag}");
        assert_eq!(
            reason.expect("it was cancelled").message(),
            Some("not needed")
        );
    });
}

fn a_kill_is_a_flag_and_poisons_nothing(env: SharedEnv) {
    run(env, || {
        let mutex = Arc::new(Mutex::new(0));
        let (tell, told) = bounded(1);
        let fiber = spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                let mut guard = mutex.lock().expect("it is free");
                tell.send(()).expect("it listens");
                sleep(MOMENT);
                *guard += 1;
                is_cancelled()
            }
        });
        told.recv().expect("it says so");
        fiber.fiber().kill("not needed");
        assert_eq!(*mutex.lock().expect("its holder has ended well"), 1);
        assert!(fiber.join().expect("it ends as if nothing had happened"));
    });
}

fn a_timeout_waits_for_its_body(env: SharedEnv) {
    run(env, || {
        let body = || {
            sleep(MOMENT * 3);
            is_cancelled()
        };
        assert!(timeout(MOMENT, body).expect("a body that returns has returned"));
        assert!(!is_cancelled(), "the flag was the part's");
    });
}

fn a_cancel_is_an_arm_of_a_choice(env: SharedEnv) {
    run(env, || {
        let (_never, nothing) = bounded::<()>(1);
        let fiber = spawn(move || {
            choose! {
                _ = nothing.recv_operation() => None,
                reason = cancelled_operation() => Some(reason),
            }
        });
        sleep(MOMENT);
        fiber.cancel_with("not needed");
        let reason = fiber
            .join()
            .expect("it returns")
            .expect("it was the cancel");
        assert_eq!(reason.message(), Some("not needed"));
    });
}

fn a_region_is_not_entered_after_a_cancel(env: SharedEnv) {
    run(env, || {
        let fiber = spawn(|| {
            let fiber = current().expect("this is one");
            unmask(|| fiber.cancel_with("not needed")).expect("it returns");
            unmask(|| ()).expect_err("it is not entered").reason
        });
        assert_eq!(
            fiber.join().expect("it returns").message(),
            Some("not needed")
        );
    });
}

fn a_process_that_heeds_its_cancel_ends_by_itself(env: SharedEnv) {
    run(env, || {
        let (tell, told) = bounded(1);
        let main = move || {
            tell.send(()).expect("it listens");
            perform(cancelled_operation()).to_string()
        };
        let handle = Process::builder().spawn(main).expect("there is room");
        told.recv().expect("it says so");
        handle.cancel("not needed");
        assert_eq!(handle.join().expect("it returns"), "not needed");
    });
}

fn a_process_that_does_not_is_abandoned(env: SharedEnv) {
    run(env, || {
        let mutex = Arc::new(Mutex::new(0));
        let (tell, told) = bounded(1);
        let main = {
            let mutex = Arc::clone(&mutex);
            move || {
                let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
                let _guard = mutex.lock().expect("it is free");
                let address = listener.local_addr().expect("it is bound");
                tell.send(address).expect("it listens");
                drop(listener.accept());
            }
        };
        let builder = Process::builder().name("deaf").grace(MOMENT);
        let handle = builder.spawn(main).expect("there is room");
        let address = told.recv().expect("it says so");
        handle.cancel("not needed");
        let exit = handle.join().expect_err("it does not return");
        assert!(
            matches!(&exit.end, End::Killed(why) if why.message() == Some("not needed")),
            "{exit}"
        );
        assert_eq!(exit.report.fibers_abandoned, 1, "{exit}");
        assert_eq!(exit.report.listeners_closed, 1, "{exit}");
        assert!(matches!(mutex.lock(), Err(LockError::Abandoned(_))));
        TcpListener::bind(address).expect("the port is free again");
    });
}

fn a_process_that_has_failed_is_abandoned(env: SharedEnv) {
    run(env, || {
        let main = || {
            fail("of no use");
            park();
            park();
        };
        let builder = Process::builder().grace(MOMENT);
        let exit = builder.spawn(main).expect("there is room").join();
        let exit = exit.expect_err("it has failed");
        assert!(
            matches!(&exit.end, End::Failed(why) if **why == *"of no use"),
            "{exit}"
        );
    });
}

fn a_supervisor_ends_children_that_are_deaf(env: SharedEnv) {
    run(env, || {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let deaf = ChildSpec::new("deaf", move || {
            count.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::MAX);
        });
        let deaf = deaf.process(Process::builder().grace(MOMENT));
        let deaf = deaf.shutdown(Shutdown::Brutal);
        let supervisor = Supervisor::builder().child(deaf).start();
        let supervisor = supervisor.expect("its child starts");
        sleep(MOMENT * 2);
        let exit = supervisor.shut_down();
        assert!(exit.end.is_normal() && exit.report.is_clean(), "{exit}");
        assert_eq!(begun.load(Ordering::SeqCst), 1, "it was not started again");
    });
}

fn a_supervisor_that_gives_up_ends(env: SharedEnv) {
    run(env, || {
        let failing = ChildSpec::new("failing", || Err::<(), _>("of no use"));
        let supervisor = Supervisor::builder().child(failing).intensity(0).start();
        let exit = supervisor
            .expect("its child starts")
            .process()
            .monitor()
            .wait();
        assert!(matches!(exit.end, End::Failed(_)), "{exit}");
    });
}

fn the_end_of_main_waits_for_other_fibers(env: SharedEnv) {
    static ENDED: AtomicBool = AtomicBool::new(false);
    run(env, || {
        let (tell, told) = bounded(1);
        drop(spawn(move || {
            tell.send(()).expect("it listens");
            sleep(MOMENT * 5);
            ENDED.store(true, Ordering::SeqCst);
        }));
        told.recv().expect("it says so");
    });
    assert!(ENDED.load(Ordering::SeqCst), "it was not waited for");
}

fn the_end_of_main_abandons_processes(env: SharedEnv) {
    run(env, || {
        let builder = Process::builder().grace(MOMENT);
        drop(builder.spawn(|| {
            loop {
                park();
            }
        }));
    });
}

fn a_panic_ends_the_program(env: SharedEnv) {
    run(env, || {
        spawn(|| panic!("as it was told")).join().map_err(drop)
    })
    .expect("never here");
}

fn no_panic_is_caught(env: SharedEnv) {
    run(env, || drop(catch_unwind(|| panic!("not to be caught"))));
}

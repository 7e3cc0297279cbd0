//! Signals of a whole process, so each test plays in processes of its own, on both drivers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

extern crate alloc;

use alloc::sync::Arc;
use core::{
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{self, ChildStdout, Command, ExitStatus, Stdio},
    sync::Barrier,
    thread,
};

use fiber_io::{
    IoErrorKind, Shutdown, TcpListener, TcpStream,
    signal::{Signal, Signals, raise},
};
use fiber_sched::{Runtime, sleep, timeout};
use host_linux::{Config, IO_VARIABLE, Io, Linux};

const PART: &str = "HOST_LINUX_TEST_CHILD";
const LONG: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

fn is_child(name: &str) -> bool {
    env::var(PART).is_ok_and(|part| part == name)
}

/// The test of this name, about to run again in another process, where [`is_child`] says so.
fn again(name: &str, driver: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PART, name)
        .env(IO_VARIABLE, driver);
    command
}

/// The drivers that are to be had here.
fn drivers() -> impl Iterator<Item = &'static str> {
    let ring = Linux::new(Config::default().io(Io::Ring)).is_ok();
    ["ring", "poll"]
        .into_iter()
        .filter(move |&driver| ring || driver == "poll")
}

/// Runs this test again on each driver; each time it has to end like this.
#[track_caller]
fn ends(name: &str, expected: impl Fn(ExitStatus) -> bool) {
    for driver in drivers() {
        let output = again(name, driver).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        assert!(expected(status), "on {driver}: {status}, {told}");
        let summary = String::from_utf8_lossy(&output.stdout);
        let ran = !status.success() || summary.contains("1 passed");
        assert!(ran, "there is no test called {name}");
    }
}

fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    let linux = Linux::new(Config::default()).unwrap();
    Runtime::builder(linux).workers(2).run(main).unwrap()
}

fn wait(signals: &Signals) -> Signal {
    timeout(LONG, || signals.wait()).unwrap().unwrap()
}

/// Sends the process `id` a signal.
fn kill(id: u32, signal: libc::c_int) {
    // SAFETY: takes numbers only (I-1).
    let sent = unsafe { libc::kill(id.cast_signed(), signal) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}

/// Sends the calling thread a signal, which it has taken when this returns.
fn raise_here(signal: libc::c_int) {
    // SAFETY: takes a number only (I-1).
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// What this process does with a signal.
fn action_of(signal: libc::c_int) -> libc::sigaction {
    let mut action = MaybeUninit::uninit();
    // SAFETY: the structure is on this frame for the length of the call (I-3).
    let asked = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    assert_eq!(asked, 0, "{}", io::Error::last_os_error());
    // SAFETY: the call has written all of it (I-3).
    unsafe { action.assume_init() }
}

/// Gives the worker turns until `signal` is dealt with in this way.
fn wait_for_action(signal: libc::c_int, handler: usize) {
    let waited = timeout(LONG, || {
        while action_of(signal).sa_sigaction != handler {
            sleep(MOMENT);
        }
    });
    waited.expect("closing puts back what was done before");
}

/// A child that can be told from what it says.
struct Player {
    child: process::Child,
    says: BufReader<ChildStdout>,
}

impl Player {
    fn start(name: &str, driver: &str) -> Self {
        let mut child = again(name, driver).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// Waits until it has said `word`.
    #[track_caller]
    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        while !line.trim_end().ends_with(word) {
            line.clear();
            assert_ne!(
                self.says.read_line(&mut line).unwrap(),
                0,
                "it never said {word}"
            );
        }
    }
}

fn say(word: &str) {
    writeln!(io::stdout(), "{word}").expect("the parent reads");
}

#[test]
fn a_signal_from_outside_is_read_and_the_process_goes_on() {
    let name = "a_signal_from_outside_is_read_and_the_process_goes_on";
    if is_child(name) {
        return run(|| {
            let signals = Signals::new(&[Signal::Terminate, Signal::Interrupt]).unwrap();
            say("ready");
            for _ in 0..2 {
                say(&wait(&signals).to_string());
            }
        });
    }
    for driver in drivers() {
        let mut player = Player::start(name, driver);
        player.hear("ready");
        kill(player.child.id(), libc::SIGTERM);
        player.hear("terminate");
        kill(player.child.id(), libc::SIGINT);
        player.hear("interrupt");
        assert!(player.child.wait().unwrap().success());
    }
}

#[test]
fn when_the_last_handle_is_gone_the_default_action_ends_the_process() {
    let name = "when_the_last_handle_is_gone_the_default_action_ends_the_process";
    if is_child(name) {
        return run(|| {
            let stays = Signals::new(&[Signal::Terminate]).unwrap();
            for _ in 0..3 {
                let goes = Signals::new(&[Signal::Terminate, Signal::User1]).unwrap();
                raise(Signal::Terminate).unwrap();
                assert_eq!(wait(&goes), Signal::Terminate);
                assert_eq!(wait(&stays), Signal::Terminate);
                drop(goes);
                wait_for_action(libc::SIGUSR1, libc::SIG_DFL);
            }
            drop(stays);
            wait_for_action(libc::SIGTERM, libc::SIG_DFL);
            raise_here(libc::SIGTERM);
        });
    }
    ends(name, |status| status.signal() == Some(libc::SIGTERM));
}

#[test]
fn a_signal_that_was_ignored_before_is_ignored_afterwards() {
    let name = "a_signal_that_was_ignored_before_is_ignored_afterwards";
    if is_child(name) {
        // SAFETY: ignoring a signal calls nothing of ours (I-7).
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        run(|| {
            let signals = Signals::new(&[Signal::Hangup]).unwrap();
            let flags = action_of(libc::SIGHUP).sa_flags;
            let wanted = libc::SA_ONSTACK | libc::SA_RESTART;
            assert_eq!(
                flags & wanted,
                wanted,
                "a fiber's stack is too small for handlers"
            );
            raise(Signal::Hangup).unwrap();
            assert_eq!(wait(&signals), Signal::Hangup);
        });
        // The end of the runtime has closed what the handle left behind.
        assert_eq!(action_of(libc::SIGHUP).sa_sigaction, libc::SIG_IGN);
        return raise_here(libc::SIGHUP);
    }
    ends(name, |status| status.success());
}

#[test]
fn somebody_elses_handler_that_came_later_is_left_in_place() {
    extern "C" fn nothing(_: libc::c_int) {}
    let name = "somebody_elses_handler_that_came_later_is_left_in_place";
    if is_child(name) {
        let handler = nothing as extern "C" fn(libc::c_int) as usize;
        run(|| {
            let _signals = Signals::new(&[Signal::User2]).unwrap();
            // SAFETY: the handler does nothing at all (I-7).
            unsafe { libc::signal(libc::SIGUSR2, handler) };
        });
        return assert_eq!(action_of(libc::SIGUSR2).sa_sigaction, handler);
    }
    ends(name, |status| status.success());
}

#[test]
fn a_burst_of_one_signal_is_one_and_leaves_room_for_another() {
    let name = "a_burst_of_one_signal_is_one_and_leaves_room_for_another";
    if is_child(name) {
        return run(|| {
            let signals = Signals::new(&[Signal::User1, Signal::Terminate]).unwrap();
            for _ in 0..10_000 {
                raise_here(libc::SIGUSR1);
            }
            raise_here(libc::SIGTERM);
            assert_eq!(wait(&signals), Signal::User1);
            assert_eq!(wait(&signals), Signal::Terminate);
            assert_eq!(signals.try_wait().unwrap(), None);
        });
    }
    ends(name, |status| status.success());
}

#[test]
fn a_signal_is_told_whichever_thread_it_hits() {
    let name = "a_signal_is_told_whichever_thread_it_hits";
    if is_child(name) {
        return run(|| {
            let signals = Signals::new(&[Signal::User1, Signal::User2]).unwrap();
            thread::spawn(|| raise_here(libc::SIGUSR1)).join().unwrap();
            assert_eq!(signals.try_wait().unwrap(), Some(Signal::User1));
            raise_here(libc::SIGUSR2);
            assert_eq!(signals.try_wait().unwrap(), Some(Signal::User2));
            assert_eq!(signals.try_wait().unwrap(), None);
        });
    }
    ends(name, |status| status.success());
}

#[test]
fn two_runtimes_are_both_told() {
    let name = "two_runtimes_are_both_told";
    if is_child(name) {
        let ready = Barrier::new(3);
        thread::scope(|scope| {
            for io in [Io::Auto, Io::Poll] {
                let ready = &ready;
                scope.spawn(move || {
                    let linux = Linux::new(Config::default().io(io)).unwrap();
                    Runtime::builder(linux)
                        .run(|| {
                            let signals = Signals::new(&[Signal::Interrupt]).unwrap();
                            ready.wait();
                            assert_eq!(wait(&signals), Signal::Interrupt);
                            // Nobody ends, and restores anything, before both were told.
                            ready.wait();
                        })
                        .unwrap();
                });
            }
            ready.wait();
            kill(process::id(), libc::SIGINT);
            ready.wait();
        });
        return;
    }
    ends(name, |status| status.success());
}

/// Whom a signal is sent to.
#[derive(Clone, Copy)]
enum Target {
    Process,
    Thread,
}

/// A connection that brings exactly the byte that was sent through it, in each direction.
fn carry_one_byte_each_way(listener: &TcpListener) {
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for (end, byte) in [(&mut client, b"c"), (&mut server, b"s")] {
        end.write_all(byte).unwrap();
        // Time for a handler that would write here.
        sleep(MOMENT);
        end.shutdown(Shutdown::Write).unwrap();
    }
    for (end, byte) in [(&mut client, b"s"), (&mut server, b"c")] {
        let mut got = Vec::new();
        end.read_to_end(&mut got).unwrap();
        assert_eq!(
            got, byte,
            "a signal's byte went into somebody else's connection"
        );
    }
}

#[test]
fn handles_that_close_in_a_storm_of_signals_disturb_no_connection() {
    const ROUNDS: usize = 100;
    let name = "handles_that_close_in_a_storm_of_signals_disturb_no_connection";
    if is_child(name) {
        // One may still be on its way to the process when nobody wants it any more.
        // SAFETY: ignoring a signal calls nothing of ours (I-7).
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        return run(|| {
            let stays = Signals::new(&[Signal::User1]).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let over = Arc::new(AtomicBool::new(false));
            // At the process, which interrupts the workers; and, on more threads than there are
            // processors, at themselves, so that handlers are stopped half-way.
            let storm = [
                Target::Process,
                Target::Thread,
                Target::Thread,
                Target::Thread,
            ];
            let storm = storm.map(|target| {
                let over = Arc::clone(&over);
                thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        match target {
                            Target::Process => kill(process::id(), libc::SIGUSR1),
                            Target::Thread => raise_here(libc::SIGUSR1),
                        }
                    }
                })
            });
            for round in 0..ROUNDS {
                let goes = Signals::new(&[Signal::User1]).unwrap();
                if round % 3 == 0 {
                    assert_eq!(wait(&goes), Signal::User1);
                }
                drop(goes);
                // The numbers are given out again here.
                carry_one_byte_each_way(&listener);
            }
            assert_eq!(wait(&stays), Signal::User1);
            over.store(true, Ordering::Relaxed);
            storm.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
    ends(name, |status| status.success());
}

#[test]
fn a_child_that_has_not_become_another_program_keeps_its_signals_to_itself() {
    let name = "a_child_that_has_not_become_another_program_keeps_its_signals_to_itself";
    if is_child(name) {
        return run(|| {
            let signals = Signals::new(&[Signal::Terminate]).unwrap();
            let mut command = Command::new("/nowhere");
            // SAFETY: raising a signal is async-signal-safe (I-7).
            let command = unsafe {
                command.pre_exec(|| {
                    raise_here(libc::SIGTERM);
                    Ok(())
                })
            };
            let status = command.status().unwrap();
            assert_eq!(status.signal(), Some(libc::SIGTERM));
            assert_eq!(signals.try_wait().unwrap(), None);
        });
    }
    ends(name, |status| status.success());
}

#[test]
fn a_forked_child_with_handles_of_its_own_tells_nothing_to_its_parents() {
    let name = "a_forked_child_with_handles_of_its_own_tells_nothing_to_its_parents";
    if is_child(name) {
        let linux = Linux::new(Config::default()).unwrap();
        // No thread but the one that forks: a watchdog takes a lock for each of its looks.
        let runtime = Runtime::builder(linux).workers(1).watchdog(None);
        let parent = || {
            let signals = Signals::new(&[Signal::User1]).unwrap();
            let mut command = Command::new("/nowhere");
            let in_the_child = || {
                // A runtime of its own, on a thread that the parent has never had.
                let runs = thread::spawn(|| {
                    run(|| {
                        let own = Signals::new(&[Signal::User1]).unwrap();
                        raise_here(libc::SIGUSR1);
                        wait(&own) == Signal::User1
                    })
                });
                process::exit(if runs.join().unwrap() { 7 } else { 8 })
            };
            // SAFETY: the allocator and the host take care of `fork`; nobody else holds a lock of
            // theirs, as the runtime has no other thread, and the test's waits (I-7).
            let command = unsafe { command.pre_exec(in_the_child) };
            assert_eq!(command.status().unwrap().code(), Some(7));
            assert_eq!(signals.try_wait().unwrap(), None, "it was the child's");
            raise_here(libc::SIGUSR1);
            assert_eq!(wait(&signals), Signal::User1);
        };
        return runtime.run(parent).unwrap();
    }
    ends(name, |status| status.success());
}

#[test]
fn at_the_bound_of_handles_the_next_one_is_refused_and_nothing_leaks() {
    let name = "at_the_bound_of_handles_the_next_one_is_refused_and_nothing_leaks";
    if is_child(name) {
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        run(|| ());
        let before = descriptors();
        for _ in 0..3 {
            run(|| {
                let mut all = Vec::new();
                let refused = loop {
                    match Signals::new(&[Signal::Quit]) {
                        Ok(signals) => all.push(signals),
                        Err(error) => break error,
                    }
                };
                assert_eq!(all.len(), 64);
                assert_eq!(refused.kind(), IoErrorKind::TooManyDescriptors);
                raise_here(libc::SIGQUIT);
                for signals in all {
                    assert_eq!(wait(&signals), Signal::Quit);
                }
            });
        }
        return assert_eq!(descriptors(), before);
    }
    ends(name, |status| status.success());
}

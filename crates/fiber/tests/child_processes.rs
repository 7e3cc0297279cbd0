//! What ends a whole process, and what must not: seen from outside, in processes of their own.
//!
//! Each test starts this very program again, told by an environment variable which part to play.

use core::{cell::RefCell, hint::black_box, time::Duration};
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream as StdStream,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use fiber::{
    FiberBuilder, Process, Runtime, StackClass, WorkerId,
    io::{TcpListener, TcpStream},
    sync::channel,
};
use host_linux::{Config, Linux};
use host_sim::Sim;

const SIGABRT: i32 = 6;
const PART: &str = "FIBER_TEST_PART";

/// This program, playing `part` in the test called `test`.
fn child(test: &str, part: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command
        .args([test, "--exact", "--nocapture"])
        .env(PART, part);
    command
}

fn plays(part: &str) -> bool {
    env::var(PART).is_ok_and(|told| told == part)
}

fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    let env = Linux::new(Config::default()).expect("the host starts");
    Runtime::builder(env)
        .workers(2)
        .run(main)
        .expect("the run succeeds")
}

#[expect(unconditional_recursion, reason = "it is to overflow")]
fn dig(depth: u64) -> u64 {
    let ballast = black_box([depth; 64]);
    dig(depth + 1) + ballast[0]
}

/// Runs `main` where `part` of `test` is played; elsewhere looks at how that ends.
fn overflows(test: &str, part: &str, words: &[&str], main: impl FnOnce()) {
    if plays(part) {
        return main();
    }
    let output = child(test, part).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{stderr}");
    let reports = stderr.matches("overflowed its stack").count();
    assert_eq!(reports, 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in: {stderr}");
    }
}

fn dig_on(class: StackClass) {
    let deep = FiberBuilder::new().name("deep").stack(class);
    let fiber = deep.spawn(|| {
        let id = fiber::current().and_then(|fiber| fiber.id());
        let id = id.expect("it was launched");
        writeln!(std::io::stderr(), "the id of the deep one: ({id})").expect("it is read");
        dig(0)
    });
    let _ = fiber.expect("on a fiber").join();
}

fn dig_on_big_stack() {
    let deep = FiberBuilder::new().name("deep").stack(StackClass::K64);
    let fiber = deep.spawn(|| fiber::on_big_stack(StackClass::M1, || dig(0)));
    let _ = fiber.expect("on a fiber").join();
}

#[test]
fn a_fiber_that_overflows_its_stack_is_named_and_the_process_aborts() {
    let test = "a_fiber_that_overflows_its_stack_is_named_and_the_process_aborts";
    let words = [
        "fiber 'deep' (",
        "64 KiB stack",
        "spawned at",
        "child_processes.rs",
        "StackClass",
    ];
    overflows(test, "overflow", &words, || run(|| dig_on(StackClass::K64)));
}

#[test]
fn an_overflow_is_reported_with_the_id_that_the_fiber_has() {
    if plays("overflow id") {
        return run(|| dig_on(StackClass::K64));
    }
    let test = "an_overflow_is_reported_with_the_id_that_the_fiber_has";
    let output = child(test, "overflow id").output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let id = stderr.split_once("the deep one: ").expect("it said so").1;
    let id = id.lines().next().expect("a line");
    assert!(
        stderr.contains(&format!("fiber 'deep' {id} overflowed")),
        "{stderr}"
    );
}

#[test]
fn the_smallest_stack_overflows_with_a_report_too() {
    let test = "the_smallest_stack_overflows_with_a_report_too";
    let words = ["fiber 'deep' (", "16 KiB stack"];
    overflows(test, "overflow 16", &words, || {
        run(|| dig_on(StackClass::K16))
    });
}

#[test]
fn an_overflow_of_a_big_stack_names_the_fiber_that_runs_on_it() {
    let test = "an_overflow_of_a_big_stack_names_the_fiber_that_runs_on_it";
    let words = ["fiber 'deep' (", "1024 KiB stack", "on_big_stack"];
    overflows(test, "overflow big", &words, || run(dig_on_big_stack));
}

#[test]
fn a_split_guard_reports_an_overflow_too() {
    let test = "a_split_guard_reports_an_overflow_too";
    let words = ["fiber 'deep' (", "64 KiB stack"];
    overflows(test, "overflow split", &words, || {
        let env = Linux::new(Config::default().split_guards(10)).expect("the host starts");
        let run = Runtime::builder(env).workers(1);
        run.run(|| dig_on(StackClass::K64))
            .expect("it does not end");
    });
}

#[test]
fn an_overflow_in_the_simulator_names_the_fiber() {
    let test = "an_overflow_in_the_simulator_names_the_fiber";
    let words = ["simulated fiber 'deep' (", "1024 KiB stack", "spawned at"];
    overflows(test, "overflow sim", &words, || {
        let mut sim = Sim::new(1);
        sim.node("only", |env| {
            let ended = Runtime::builder(env).workers(1).run(dig_on_big_stack);
            ended.expect("it does not end");
        });
        sim.run().expect_finished();
    });
}

/// Answers each line, and panics when it is told to.
fn moody(mut stream: &TcpStream) {
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        assert_ne!(byte[0], b'!', "as the client wished");
        stream.write_all(&byte).expect("the client reads");
    }
}

#[test]
fn a_panic_in_one_connection_ends_that_connection_alone() {
    if plays("panic") {
        return run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let port = listener.local_addr().expect("it is bound").port();
            writeln!(std::io::stdout(), "port {port}").expect("the parent reads");
            while let Ok((stream, _)) = listener.accept() {
                drop(fiber::spawn(move || moody(&stream)));
            }
        });
    }
    let test = "a_panic_in_one_connection_ends_that_connection_alone";
    let mut server = child(test, "panic")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let port = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("port ")?.1.trim().parse::<u16>().ok())
        .expect("the server says where it listens");
    let connect = || StdStream::connect(("127.0.0.1", port)).expect("the server listens");
    let echo = |stream: &mut StdStream| {
        let mut byte = [0];
        stream.write_all(b"x").expect("the server reads");
        stream.read_exact(&mut byte).expect("the server answers");
        assert_eq!(&byte, b"x");
    };
    let (mut calm, mut doomed) = (connect(), connect());
    echo(&mut calm);
    echo(&mut doomed);
    doomed.write_all(b"!").expect("the server reads");
    let mut rest = Vec::new();
    let ended = doomed.read_to_end(&mut rest);
    assert!(
        matches!(ended, Ok(0) | Err(_)),
        "the connection went on: {rest:?}"
    );
    echo(&mut calm);
    echo(&mut connect());
    assert_eq!(
        server.try_wait().expect("it is our child"),
        None,
        "the server has ended"
    );
    server.kill().expect("it is our child");
    server.wait().expect("it is our child");
}

#[test]
fn a_run_whose_main_can_neither_go_on_nor_be_unwound_does_not_return() {
    let test = "a_run_whose_main_can_neither_go_on_nor_be_unwound_does_not_return";
    if plays("masked main") {
        let borrowed = [1_u8; 100];
        let env = Linux::new(Config::default()).expect("the host starts");
        let ended = Runtime::builder(env).closed_world().run(|| {
            // A thread that goes on with what main has borrowed, whatever becomes of main.
            std::thread::scope(|scope| {
                scope.spawn(|| black_box(&borrowed));
                fiber::mask(fiber::park);
            });
        });
        panic!("it has returned: {ended:?}");
    }
    let output = child(test, "masked main").output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{stderr}");
    assert!(
        stderr.contains("the main fiber can neither go on nor be unwound"),
        "{stderr}"
    );
}

/// Says when it is dropped.
struct Speaks(&'static str);

impl Drop for Speaks {
    fn drop(&mut self) {
        let said = format!("dropped: {}\n", self.0);
        // Nobody reads it if the parent is gone.
        let _ = std::io::stderr().write_all(said.as_bytes());
    }
}

thread_local! {
    static SPEAKS: RefCell<Option<Speaks>> = const { RefCell::new(None) };
}

/// Runs two workers, each with a value of its thread's; a fiber is abandoned on that one, if any.
fn abandon_on(worker: Option<u16>) {
    let on = |worker| FiberBuilder::new().worker(WorkerId(worker));
    run(|| {
        for (number, name) in [(0, "the first"), (1, "the second")] {
            let speaks = move || SPEAKS.with(|place| *place.borrow_mut() = Some(Speaks(name)));
            let fiber = on(number).spawn(speaks).expect("on a fiber");
            fiber.join().expect("it returns");
        }
        let Some(worker) = worker else { return };
        let (ready, is_ready) = channel::bounded(1);
        let doomed = Process::builder().grace(Duration::from_millis(5));
        // Its end is that of its main function, so that nobody else is abandoned with the one.
        let doomed = doomed.spawn(move || {
            let stubborn = on(worker).spawn(move || {
                ready.send(()).expect("it is waited for");
                loop {
                    let _ = std::panic::catch_unwind(fiber::park);
                }
            });
            drop(stubborn.expect("on a fiber"));
            is_ready.recv().expect("it says so");
        });
        let monitor = doomed.expect("on a fiber").process().monitor();
        let report = monitor.wait().report;
        // Where its worker stands still it comes to rest later.
        let lost = report.fibers_abandoned + report.fibers_running;
        assert_eq!(lost, 1, "{report}");
    });
}

/// What a child process says that abandons a fiber there, on a thread that nobody joins.
fn said_after_abandoning(test: &str, worker: Option<u16>) -> String {
    let part = format!("abandon {worker:?}");
    if plays(&part) {
        let (tell, told) = std::sync::mpsc::channel();
        let caller = std::thread::spawn(move || {
            abandon_on(worker);
            tell.send(()).expect("the test waits");
        });
        told.recv().expect("the run returns");
        match worker {
            // It does not end; it may have got as far as it will.
            Some(0) => (0..1000).for_each(|_| std::thread::yield_now()),
            _ => caller.join().expect("it has returned"),
        }
        std::process::exit(0);
    }
    let output = child(test, &part).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    stderr
}

#[test]
fn the_values_of_a_thread_are_dropped_when_nothing_was_abandoned_there() {
    let test = "the_values_of_a_thread_are_dropped_when_nothing_was_abandoned_there";
    let said = said_after_abandoning(test, None);
    assert!(said.contains("dropped: the first"), "{said}");
    assert!(said.contains("dropped: the second"), "{said}");
}

#[test]
fn the_values_of_a_workers_thread_are_kept_when_a_fiber_was_abandoned_there() {
    let test = "the_values_of_a_workers_thread_are_kept_when_a_fiber_was_abandoned_there";
    let said = said_after_abandoning(test, Some(1));
    assert!(said.contains("dropped: the first"), "{said}");
    assert!(!said.contains("dropped: the second"), "{said}");
}

#[test]
fn the_values_of_the_calling_thread_are_kept_when_a_fiber_was_abandoned_there() {
    let test = "the_values_of_the_calling_thread_are_kept_when_a_fiber_was_abandoned_there";
    let said = said_after_abandoning(test, Some(0));
    assert!(!said.contains("dropped: the first"), "{said}");
    assert!(said.contains("dropped: the second"), "{said}");
}

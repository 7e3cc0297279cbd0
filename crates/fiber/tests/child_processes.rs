//! What ends a whole process, and what must not: seen from outside, in processes of their own.
//!
//! Each test starts this very program again, told by an environment variable which part to play.

use core::hint::black_box;
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream as StdStream,
    process::{Command, Stdio},
};

use fiber::{
    FiberBuilder, Runtime, StackClass,
    io::{TcpListener, TcpStream},
};
use host_linux::{Config, Linux};

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

#[test]
fn a_fiber_that_overflows_its_stack_is_named_and_the_process_aborts() {
    if plays("overflow") {
        return run(|| {
            let deep = FiberBuilder::new().name("deep").stack(StackClass::K64);
            let _ = deep.spawn(|| dig(0)).expect("on a fiber").join();
        });
    }
    let test = "a_fiber_that_overflows_its_stack_is_named_and_the_process_aborts";
    let output = child(test, "overflow").output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it went on: {stderr}");
    for word in ["deep", "overflowed", "64 KiB", "StackClass"] {
        assert!(stderr.contains(word), "no {word:?} in: {stderr}");
    }
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

//! The server as an operator meets it: a process with signals, limits and an exit code.

#[path = "operation/processes.rs"]
mod processes;

use core::net::SocketAddr;
use core::time::Duration;
use std::{
    io::{self, BufRead, BufReader, ErrorKind, Lines, Read, Write},
    net::TcpStream,
    process::{Child, ChildStderr, Command, Stdio},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A drain that is not cut off, however slow this machine is.
const PATIENT: &str = "--drain-timeout 3600";

/// How long a connection that is over stays for a client that says nothing, see the server.
const LINGER: Duration = Duration::from_secs(1);

struct Server {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    address: SocketAddr,
}

impl Server {
    /// Starts one on a free port, on the driver of that name.
    fn start(driver: &str, arguments: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cache"))
            .args(["--listen", "127.0.0.1:0", "--workers", "2", "--io", driver])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built with the tests");
        let log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut server = Self {
            child,
            log,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let line = server.says("listen=");
        let (_, address) = line.split_once("listen=").expect("it was found");
        let address = address.split(' ').next().expect("a word");
        server.address = address.parse().expect("it logs its address");
        server
    }

    /// Reads the log up to a line with `part`.
    fn says(&mut self, part: &str) -> String {
        loop {
            let line = self.log.next().expect("the log goes on");
            let line = line.expect("the log is text");
            if line.contains(part) {
                return line;
            }
        }
    }

    /// How often the rest of the log, up to its end, has `part`.
    fn count_in_the_rest(&mut self, part: &str) -> usize {
        let lines = self.log.by_ref().map_while(Result::ok);
        lines.filter(|line| line.contains(part)).count()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("it is one");
        kill_process(Pid::from_raw(pid).expect("it runs"), signal).expect("it is our child");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is some time");
        stream
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("it is our child").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(stream: &TcpStream, request: &str, answer: &str) {
    assert!(try_ask(stream, request, answer), "it is answered");
}

/// False if the connection ends before an answer.
fn try_ask(mut stream: &TcpStream, request: &str, answer: &str) -> bool {
    let mut got = vec![0; answer.len()];
    let asked = stream.write_all(request.as_bytes());
    if asked.and_then(|()| stream.read_exact(&mut got)).is_err() {
        return false;
    }
    assert_eq!(String::from_utf8_lossy(&got), answer);
    true
}

/// What the server still says, up to its end of the connection.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it ends in order");
    rest
}

fn number(stream: &TcpStream, name: &str) -> u64 {
    try_number(stream, name).expect("it is answered")
}

/// An error if the connection ends before the answer does.
fn try_number(stream: &TcpStream, name: &str) -> io::Result<u64> {
    (&mut &*stream).write_all(b"stats\r\n")?;
    let mut found = None;
    let mut ended = true;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut words = line.split(' ').skip(1);
        if words.next() == Some(name) {
            found = words.next().map(|number| number.parse().expect("a number"));
        }
        if line == "END" {
            ended = false;
            break;
        }
    }
    if ended {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(found.unwrap_or_else(|| panic!("{name} is in the statistics")))
}

/// Stores a value that does not fit into a connection, and asks for it without reading.
fn start_a_long_answer(server: &Server) -> (TcpStream, usize) {
    const VALUE_BYTES: usize = 1_000_000;
    const TIMES: usize = 20;
    let stream = server.connect();
    let value = "v".repeat(VALUE_BYTES);
    ask(
        &stream,
        &format!("set long 0 0 {VALUE_BYTES}\r\n{value}\r\n"),
        "STORED\r\n",
    );
    (&mut &stream)
        .write_all(format!("get{}\r\n", " long".repeat(TIMES)).as_bytes())
        .expect("it is taken");
    // The first byte: the request was read whole.
    let first = (&mut &stream).read_exact(&mut [0]);
    first.expect("it is answered");
    let line = format!("VALUE long 0 {VALUE_BYTES}\r\n");
    let all = TIMES * (line.len() + VALUE_BYTES + 2) + "END\r\n".len();
    (stream, all - 1)
}

fn for_each_driver(test: impl Fn(&str)) {
    for driver in ["auto", "poll"] {
        test(driver);
    }
}

#[test]
fn a_terminated_server_answers_what_it_has_read_and_exits_with_zero() {
    for_each_driver(|driver| {
        let mut server = Server::start(driver, PATIENT);
        let idle = server.connect();
        ask(&idle, "delete nothing\r\n", "NOT_FOUND\r\n");
        let (long, bytes) = start_a_long_answer(&server);
        server.signal(Signal::TERM);
        assert_eq!(rest(&idle), b"");
        // The listener is closed at about the same time: from then on nobody new is let in.
        while TcpStream::connect(server.address).is_ok() {}
        let answer = rest(&long);
        assert_eq!(answer.len(), bytes);
        assert!(answer.ends_with(b"\r\nEND\r\n"));
        drop((idle, long));
        assert_eq!(server.exit_code(), Some(0));
    });
}

#[test]
fn what_is_asked_too_late_takes_no_answer_back() {
    for_each_driver(|driver| while !speaks_on_during_a_drain(driver) {});
}

/// Asks on and on while the server drains; no answer may be lost by that. False if this took so
/// long a rest that the server need not have waited for it.
fn speaks_on_during_a_drain(driver: &str) -> bool {
    const LATE: &[u8] = b"delete nothing\r\n";
    let mut server = Server::start(driver, PATIENT);
    let (long, bytes) = start_a_long_answer(&server);
    let other = server.connect();
    ask(&other, "delete nothing\r\n", "NOT_FOUND\r\n");
    server.signal(Signal::TERM);
    // Its end says that nobody is listened to any more.
    assert_eq!(rest(&other), b"");
    let mut answer = Vec::new();
    let mut part = vec![0; 64 << 10];
    let mut spoken = Instant::now();
    let mut longest_rest = Duration::ZERO;
    loop {
        // It fails once the server has taken the connection down.
        let _ = (&mut &long).write_all(LATE);
        longest_rest = longest_rest.max(spoken.elapsed());
        spoken = Instant::now();
        match (&mut &long).read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) if longest_rest >= LINGER / 2 => return false,
            Err(error) => panic!("{} of {bytes} bytes came: {error}", answer.len()),
        }
    }
    assert!(answer[..bytes].ends_with(b"\r\nEND\r\n"));
    let late = answer[bytes..].chunks(b"NOT_FOUND\r\n".len());
    assert!(late.into_iter().all(|line| line == b"NOT_FOUND\r\n"));
    drop(long);
    assert_eq!(server.exit_code(), Some(0));
    true
}

#[test]
fn a_second_signal_ends_it_at_once_with_its_code() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = Server::start("auto", "--drain-timeout 3600");
        let (stuck, _) = start_a_long_answer(&server);
        server.signal(Signal::TERM);
        server.says("draining");
        server.signal(second);
        assert_eq!(server.exit_code(), Some(code));
        drop(stuck);
    }
}

#[test]
fn a_drain_that_takes_too_long_is_cut_off_with_a_warning() {
    for_each_driver(|driver| {
        let mut server = Server::start(driver, "--drain-timeout 0");
        let (stuck, _) = start_a_long_answer(&server);
        server.signal(Signal::INT);
        server.says("the drain timeout was over");
        assert_eq!(server.exit_code(), Some(0));
        drop(stuck);
    });
}

#[test]
fn a_hangup_is_ignored() {
    let mut server = Server::start("auto", "");
    server.signal(Signal::HUP);
    server.says("ignored");
    ask(&server.connect(), "delete nothing\r\n", "NOT_FOUND\r\n");
}

#[test]
fn who_asks_by_signal_is_told_what_every_fiber_waits_for() {
    for_each_driver(|driver| {
        let mut server = Server::start(driver, "");
        let idle = server.connect();
        ask(&idle, "mn\r\n", "MN\r\n");
        // Whoever runs just then is not listed as one that waits.
        while !tells_who_accepts(&mut server) {}
        ask(&idle, "mn\r\n", "MN\r\n");
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
    });
}

/// Asks by signal; whether somebody is listed who accepts.
fn tells_who_accepts(server: &mut Server) -> bool {
    server.signal(Signal::USR1);
    server.says("numbers on demand");
    // It is told of behind all that the first signal brings.
    server.signal(Signal::HUP);
    server.says("worker 0");
    server.says("fibers on demand");
    let lines = server
        .log
        .by_ref()
        .map(|line| line.expect("the log is text"));
    let mut lines = lines.take_while(|line| !line.contains("ignored"));
    lines
        .by_ref()
        .filter(|line| line.contains("accept"))
        .count()
        > 0
}

#[test]
fn a_silent_connection_is_closed_and_counted() {
    for_each_driver(|driver| {
        let server = Server::start(driver, "--idle-timeout 1");
        // One that speaks too late, as this machine is slow, is closed as well.
        let mut closed = 0;
        let idle = loop {
            let stream = server.connect();
            if try_ask(&stream, "delete nothing\r\n", "NOT_FOUND\r\n") {
                break stream;
            }
            closed += 1;
        };
        assert_eq!(rest(&idle), b"");
        closed += 1;
        let counted = loop {
            if let Ok(counted) = try_number(&server.connect(), "idle_kicks") {
                break counted;
            }
            closed += 1;
        };
        assert_eq!(counted, closed);
    });
}

#[test]
fn a_client_that_takes_nothing_is_closed_in_the_end() {
    for_each_driver(|driver| {
        let mut server = Server::start(driver, "--write-timeout 1 --log debug");
        let (stuck, _) = start_a_long_answer(&server);
        server.says("connection ended");
        // It is counted out right behind that line.
        let asker = server.connect();
        while number(&asker, "curr_connections") != 1 {}
        drop(stuck);
    });
}

#[test]
fn a_storm_of_connections_too_many_is_refused_and_who_is_served_does_not_notice() {
    const STORM: u64 = 500;
    for_each_driver(|driver| {
        let server = Server::start(driver, "--connections 1");
        let served = server.connect();
        ask(&served, "delete nothing\r\n", "NOT_FOUND\r\n");
        let storm: Vec<_> = (0..STORM).map(|_| server.connect()).collect();
        let mut told = 0;
        for stream in &storm {
            let answer = rest(stream);
            if !answer.is_empty() {
                assert_eq!(answer, b"ERROR Too many open connections\r\n");
                told += 1;
            }
        }
        assert!(told > 0, "nobody was told why");
        assert_eq!(number(&served, "rejected_connections"), STORM);
        assert_eq!(number(&served, "curr_connections"), 1);
    });
}

#[test]
fn a_shortage_of_files_is_told_once_and_ends_when_connections_do() {
    for_each_driver(|driver| {
        // A limit of its own, through the shell: as many files as a few connections need.
        let program = env!("CARGO_BIN_EXE_cache");
        let line = format!("ulimit -n 30 && exec {program} \"$@\"");
        let arguments = format!("--listen 127.0.0.1:0 --workers 1 --io {driver}");
        let mut child = Command::new("sh")
            .args(["-c", &line, "sh"])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut server = Server {
            child,
            log,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        server.says("fewer connections than asked for");
        let line = server.says("listen=");
        let (_, address) = line.split_once("listen=").expect("it was found");
        let address = address.split(' ').next().expect("a word");
        server.address = address.parse().expect("it logs its address");

        let first = server.connect();
        let more: Vec<_> = (0..40).map(|_| server.connect()).collect();
        server.says("cannot accept");
        ask(&first, "delete nothing\r\n", "NOT_FOUND\r\n");
        while number(&first, "listen_disabled_num") < 3 {}
        drop(more);
        ask(&server.connect(), "delete nothing\r\n", "NOT_FOUND\r\n");
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
        // There may have been several, as those who left did so one after the other.
        let mut is_short = true;
        let mut ends = 0;
        for line in server.log.by_ref().map_while(Result::ok) {
            let (begins, over) = (
                line.contains("cannot accept"),
                line.contains("accepting again"),
            );
            assert!(if is_short { !begins } else { !over }, "told again: {line}");
            is_short = (is_short || begins) && !over;
            ends += usize::from(over);
        }
        assert!(ends > 0, "its end is told");
    });
}

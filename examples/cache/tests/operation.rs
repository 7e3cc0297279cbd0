//! The server as an operator meets it: a process with signals, limits and an exit code.

#[path = "operation/processes.rs"]
mod processes;

use core::net::SocketAddr;
use core::time::Duration;
use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    net::TcpStream,
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

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

fn ask(mut stream: &TcpStream, request: &str, answer: &str) {
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).expect("it is answered");
    assert_eq!(String::from_utf8_lossy(&got), answer);
}

/// What the server still says, up to its end of the connection.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it ends in order");
    rest
}

fn number(stream: &TcpStream, name: &str) -> u64 {
    (&mut &*stream)
        .write_all(b"stats\r\n")
        .expect("it is taken");
    let mut found = None;
    for line in BufReader::new(stream).lines() {
        let line = line.expect("it is answered");
        let mut words = line.split(' ').skip(1);
        if words.next() == Some(name) {
            found = words.next().map(|number| number.parse().expect("a number"));
        }
        if line == "END" {
            break;
        }
    }
    found.unwrap_or_else(|| panic!("{name} is in the statistics"))
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
    let first = (&mut &stream).read(&mut [0]);
    assert_eq!(first.expect("it is answered"), 1);
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
        let mut server = Server::start(driver, "");
        let idle = server.connect();
        ask(&idle, "delete nothing\r\n", "NOT_FOUND\r\n");
        let (long, bytes) = start_a_long_answer(&server);
        server.signal(Signal::TERM);
        assert_eq!(rest(&idle), b"");
        let refused = TcpStream::connect(server.address);
        assert!(refused.is_err(), "nobody new is let in");
        let answer = rest(&long);
        assert_eq!(answer.len(), bytes);
        assert!(answer.ends_with(b"\r\nEND\r\n"));
        drop((idle, long));
        assert_eq!(server.exit_code(), Some(0));
    });
}

#[test]
fn what_is_asked_too_late_takes_no_answer_back() {
    const LATE: &[u8] = b"delete nothing\r\n";
    for_each_driver(|driver| {
        let mut server = Server::start(driver, "");
        let (long, bytes) = start_a_long_answer(&server);
        let other = server.connect();
        ask(&other, "delete nothing\r\n", "NOT_FOUND\r\n");
        server.signal(Signal::TERM);
        // Its end says that nobody is listened to any more.
        assert_eq!(rest(&other), b"");
        let mut answer = Vec::new();
        let mut part = vec![0; 64 << 10];
        loop {
            // It fails once the server has taken the connection down.
            let _ = (&mut &long).write_all(LATE);
            match (&mut &long).read(&mut part) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&part[..count]),
                Err(error) => panic!("{} of {bytes} bytes came: {error}", answer.len()),
            }
        }
        assert!(answer[..bytes].ends_with(b"\r\nEND\r\n"));
        let late = answer[bytes..].chunks(b"NOT_FOUND\r\n".len());
        assert!(late.into_iter().all(|line| line == b"NOT_FOUND\r\n"));
        drop(long);
        assert_eq!(server.exit_code(), Some(0));
    });
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
        server.signal(Signal::USR1);
        server.says("numbers on demand");
        server.says("worker 0");
        server.says("fibers on demand");
        server.says("accept");
        ask(&idle, "mn\r\n", "MN\r\n");
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
    });
}

#[test]
fn a_silent_connection_is_closed_and_counted() {
    for_each_driver(|driver| {
        let server = Server::start(driver, "--idle-timeout 1");
        let idle = server.connect();
        ask(&idle, "delete nothing\r\n", "NOT_FOUND\r\n");
        assert_eq!(rest(&idle), b"");
        assert_eq!(number(&server.connect(), "idle_kicks"), 1);
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
        drop(more);
        server.says("accepting again");
        ask(&server.connect(), "delete nothing\r\n", "NOT_FOUND\r\n");
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
        assert_eq!(server.count_in_the_rest("cannot accept"), 0);
    });
}

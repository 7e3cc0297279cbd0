//! The server itself, in simulated worlds and as a program.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use core::{net::SocketAddr, time::Duration};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net,
    process::{Child, ChildStderr, Command, Stdio},
};

use fiber::io::{Shutdown, TcpListener, TcpStream};
use fiber::{Runtime, scope};
use host_sim::{Faults, Sim};
use rustix::process::{Pid, Signal, kill_process};

/// One client's dialogue; what comes back must be what was sent.
fn talk(at: SocketAddr, number: u8) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(at)?;
    // A server whose power was cut says nothing.
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    for length in [1, 100, 10_000] {
        let bytes = vec![number; length];
        stream.write_all(&bytes)?;
        let mut echoed = vec![0; length];
        stream.read_exact(&mut echoed)?;
        assert!(echoed == bytes, "something else came back");
    }
    stream.shutdown(Shutdown::Write)?;
    assert_eq!(stream.read(&mut [0])?, 0);
    Ok(())
}

fn world(seed: u64, clients: u8) -> (Sim, host_sim::NodeHandle, SocketAddr) {
    let mut sim = Sim::new(seed);
    let server = sim.node("server", |env| {
        let main = || echo::serve(&TcpListener::bind("0.0.0.0:7").unwrap());
        Runtime::builder(env).run(main).unwrap().unwrap();
    });
    let at = SocketAddr::from((server.address(), 7));
    assert!(clients > 0, "somebody must talk");
    (sim, server, at)
}

#[test]
fn every_client_gets_back_what_it_sends() {
    for seed in 0..20 {
        let (mut sim, _, at) = world(seed, 5);
        let client = sim.node("client", move |env| {
            let main = || {
                scope(|scope| {
                    for number in 0..5 {
                        scope.spawn(move || talk(at, number).unwrap());
                    }
                });
            };
            Runtime::builder(env).run(main).unwrap();
        });
        sim.until(client).run().expect_finished();
    }
}

#[test]
fn broken_connections_and_power_cuts_never_bring_wrong_bytes_and_are_recovered_from() {
    for seed in 0..20 {
        let (mut sim, server, at) = world(seed, 1);
        let client = sim.node("client", move |env| {
            let main = || {
                for number in 0..40 {
                    // Whatever is broken now is whole again some time.
                    while talk(at, number).is_err() {
                        fiber::sleep(Duration::from_millis(20));
                    }
                }
            };
            Runtime::builder(env).run(main).unwrap();
        });
        let faults = Faults::within(Duration::from_millis(2), Duration::from_millis(400));
        sim.faults(faults.kills(2, &[server]).resets(5));
        sim.until(client).run().expect_finished();
    }
}

/// A running server; killed when it is dropped, also by a failed assertion.
struct Server {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_echo"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    fn signal(&self, it: Signal) {
        signal(&self.child, it);
    }

    /// Asks by signal; whether somebody is listed who accepts.
    fn tells_who_accepts(&mut self) -> bool {
        const FIRST: &str = "fibers live";
        let mut lines = self.stderr.by_ref().lines().map(Result::unwrap);
        signal(&self.child, Signal::USR1);
        assert!(lines.any(|line| line.contains(FIRST)));
        // Its first line shows that the first answer is over.
        signal(&self.child, Signal::USR1);
        let told: Vec<_> = lines.take_while(|line| !line.contains(FIRST)).collect();
        assert!(told.iter().any(|line| line.contains("worker 0")));
        told.iter().any(|line| line.contains("accept"))
    }

    fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("echo: listening on ");
        address
            .unwrap_or_else(|| panic!("said {line:?}"))
            .parse()
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn assert_echoes(at: SocketAddr) {
    let mut stream = net::TcpStream::connect(at).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(net::Shutdown::Write).unwrap();
    let mut echoed = String::new();
    stream.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "hello");
}

#[test]
fn the_program_serves_with_every_driver() {
    for driver in ["auto", "poll"] {
        let arguments = ["--listen", "127.0.0.1:0", "--workers", "2", "--io", driver];
        let mut server = Server::start(&arguments);
        let at = server.address();
        assert_echoes(at);
        assert_echoes(at);
    }
}

#[test]
fn a_signal_shows_what_fibers_do_and_another_one_ends_the_program_with_zero() {
    for driver in ["auto", "poll"] {
        let arguments = ["--listen", "127.0.0.1:0", "--workers", "2", "--io", driver];
        let mut server = Server::start(&arguments);
        let at = server.address();
        let held = net::TcpStream::connect(at).unwrap();
        // Whoever runs just then is not listed as one that waits.
        while !server.tells_who_accepts() {}
        server.signal(Signal::TERM);
        assert_eq!(server.child.wait().unwrap().code(), Some(0));
        drop(held);
    }
}

#[test]
fn a_benchmarks_driver_is_told_when_the_server_is_ready() {
    let mut server = Server::start(&["serve", "echo", "0"]);
    let mut ready = String::new();
    let stdout = server.child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut ready).unwrap();
    assert_eq!(ready, "READY\n");
    let at = server.address();
    assert_echoes(at);
}

#[test]
fn without_arguments_it_says_what_it_can() {
    let output = Command::new(env!("CARGO_BIN_EXE_echo")).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"serve-echo 1\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage"));
}

#[test]
fn wrong_arguments_are_named_and_end_with_code_two() {
    let wrong: [(&[&str], &str); 4] = [
        (&["--prot", "7"], "--prot"),
        (&["--workers"], "--workers"),
        (&["--listen", "localhost"], "localhost"),
        (&["--io", "select"], "select"),
    ];
    for (arguments, named) in wrong {
        let output = Command::new(env!("CARGO_BIN_EXE_echo"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains(named));
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_an_error_with_code_one() {
    let arguments = ["--listen", "192.0.2.1:7", "--io", "poll"];
    let output = Command::new(env!("CARGO_BIN_EXE_echo"))
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("echo: "));
}

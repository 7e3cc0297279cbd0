//! Every program serves every protocol that it lists, and the load is answered.

mod support;

use core::sync::atomic::{AtomicU32, Ordering};
use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{self, Child, Command, Stdio},
};

use support::{PROGRAMS, ask, said};

const LOAD: &str = env!("CARGO_BIN_EXE_bench-load");

/// A server that has said that it is ready; dropping it ends it.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    fn start(program: &str, protocol: &str) -> Self {
        let port = free_port().to_string();
        let mut child = Command::new(program)
            .args(["serve", protocol, &port])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built for this test");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is a pipe");
        let read = BufReader::new(out).read_line(&mut line);
        assert!(read.is_ok() && line == "READY\n", "{program} says {line:?}");
        Self { child, port }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

/// A port that stays free until the server takes it: it is not among those that the system gives
/// to whoever wants any, and each process begins to look for one elsewhere.
fn free_port() -> u16 {
    static LOOKED: AtomicU32 = AtomicU32::new(0);
    let begin = process::id().wrapping_mul(31);
    loop {
        let next = begin.wrapping_add(LOOKED.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(next % 20_000).expect("it is small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn protocols(program: &str) -> Vec<String> {
    let list = said(&ask(program, &[]));
    let served = list.lines().filter_map(|line| line.strip_prefix("serve-"));
    served
        .filter_map(|line| line.strip_suffix(" 1"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn whatever_is_served_answers_the_load() {
    for program in PROGRAMS {
        let protocols = protocols(program);
        assert!(protocols.iter().any(|name| name == "echo"), "{program}");
        for protocol in protocols {
            let server = Server::start(program, &protocol);
            for (connections, depth) in [("1", "1"), ("20", "16")] {
                let (port, pid) = (&server.port, &server.pid());
                let load = ["run", &protocol, port, connections, depth, "30", pid];
                let output = ask(LOAD, &load);
                let call = format!("{program} {protocol} {connections} {depth}: {output:?}");
                assert!(output.status.success(), "{call}");
                let line = said(&output);
                for key in ["p50_us", "p99_us", "p999_us", "server_cpu_ns_per_req"] {
                    assert!(line.contains(&format!("\"{key}\":")), "{call}");
                }
                assert!(!line.contains("\"requests\":0,"), "{call}");
            }
        }
    }
}

#[test]
fn idle_connections_take_memory() {
    let server = Server::start(env!("CARGO_BIN_EXE_fiber-bench"), "echo");
    let output = ask(LOAD, &["idle", &server.port, "300", &server.pid()]);
    assert!(output.status.success(), "{output:?}");
    let line = said(&output);
    let (_, rest) = line.split_once("\"rss_per_task\":").expect("it says so");
    let (bytes, _) = rest.split_once('.').expect("it has a digit behind");
    assert!(bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0), "{line}");
}

#[test]
fn a_server_that_answers_wrongly_is_found_out() {
    let server = Server::start(env!("CARGO_BIN_EXE_floor-bench"), "echo");
    let output = ask(LOAD, &["run", "mc", &server.port, "1", "1", "30"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && complaint.contains("wrong answer"),
        "{complaint}"
    );
}

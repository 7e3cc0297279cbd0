//! The load client as its users meet it: a program with flags, output and an exit code.

use core::net::SocketAddr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::thread;

use cache::{Cache, Config, Limits, Progress, Seconds, Server, Session, recycle};

/// A server of plain threads around the session, with `spoil` on every batch of replies. Its
/// threads end with the test's process.
fn serve(spoil: fn(&mut Vec<u8>)) -> SocketAddr {
    static CACHE: LazyLock<Cache> = LazyLock::new(|| {
        Cache::new(
            Config::default(),
            Server::new(1, 1, 100, Seconds::from_unix(0)),
        )
    });
    // The store's locks are the fibers': a plain thread that waits for one waits through a host.
    host_linux::Linux::new(host_linux::Config::default()).expect("the host starts");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("loopback connections arrive");
            thread::spawn(move || {
                // The client closes whenever it likes, also in the middle of a reply.
                let _ = converse(stream, &CACHE, spoil);
            });
        }
    });
    address
}

fn converse(mut stream: TcpStream, cache: &Cache, spoil: fn(&mut Vec<u8>)) -> std::io::Result<()> {
    let mut session = Session::new(Limits::default());
    let mut out = Vec::new();
    loop {
        let bytes = stream.read(session.space())?;
        if bytes == 0 {
            return Ok(());
        }
        session.filled(bytes);
        loop {
            let progress = session.process(cache, Seconds::from_unix(1), &mut out);
            spoil(&mut out);
            stream.write_all(&out)?;
            recycle(&mut out);
            match progress {
                Progress::Flush => {}
                Progress::Read => break,
                Progress::Close => return Ok(()),
            }
        }
    }
}

fn run(arguments: &str) -> (Output, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-load"));
    let output = command
        .args(arguments.split_whitespace())
        .output()
        .expect("cargo has built it");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it prints text");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn the_check_passes_against_a_right_server() {
    let address = serve(|_| {});
    let (output, stdout, stderr) = run(&format!("--address {address} --check 20"));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(
        stdout,
        "{\"connections\":20,\"requests\":2000,\"errors\":0}\n"
    );
}

#[test]
fn the_load_reports_what_it_measured_as_one_line_of_json() {
    let address = serve(|_| {});
    let pid = std::process::id();
    let line = format!(
        "--address {address} --connections 3 --depth 4 --seconds 1 --keys 50 --value-bytes 20000 \
         --get-ratio 50 --server-pid {pid}"
    );
    let (output, stdout, stderr) = run(&line);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.lines().count(), 1);
    for field in [
        "requests_per_s",
        "requests",
        "p50_us",
        "p99_us",
        "p999_us",
        "cpu_us_per_request",
        "memory_per_connection_bytes",
        "errors",
    ] {
        assert!(
            stdout.contains(&format!("\"{field}\":")),
            "{field} is in {stdout}"
        );
    }
    assert!(
        stdout.contains("\"errors\":0}") && !stdout.contains("null"),
        "{stdout}"
    );
}

#[test]
fn a_wrong_byte_in_a_reply_fails_the_run() {
    let address = serve(|out| {
        if let Some(at) = out.windows(4).position(|part| part == b"0123") {
            out[at] = b'x';
        }
    });
    let (output, stdout, stderr) = run(&format!("--address {address} --check 2"));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stdout.contains("\"errors\":2"), "{stdout}");
    assert!(stderr.contains("expected"), "{stderr}");

    let address = serve(|out| {
        if out.starts_with(b"STORED") {
            out[0] = b'x';
        }
    });
    let (output, _, stderr) = run(&format!("--address {address} --connections 2 --seconds 1"));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("Set of key-0: expected \"STORED\\r\\n\", got \"xTORED"),
        "{stderr}"
    );
}

#[test]
fn bad_lines_and_absent_servers_are_told_apart() {
    let (output, _, stderr) = run("--address nowhere");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("--address takes"), "{stderr}");

    // Nobody listens there. A port of the dynamic range could be the client's own: then it would
    // be connected with itself.
    let address = "127.0.0.1:1";
    let (output, _, stderr) = run(&format!("--address {address} --check 1"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(address), "{stderr}");

    let (output, stdout, _) = run("--help");
    assert!(output.status.success() && stdout.starts_with("Puts a memcached server under load"));
}

//! `cargo xtask prove`: what is promised, tried in full size on this machine: to an operator about
//! the cache, with the release build and on each driver, and to programs about everything that
//! blocks. `cargo xtask test` runs short forms of the same.

use core::net::SocketAddr;
use core::num::NonZeroU64;
use core::time::Duration;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::clients::DRIVERS;
use crate::runner::{Log, Outcome};
use crate::server::{Server, wait};
use crate::workspace::Workspace;

/// What is tried, in full size.
const CONNECTIONS: u64 = 10_000;
const LOAD_SECONDS: u64 = 60;
const DRAINS: u64 = 10;
const SEEDS: u64 = 10_000;

/// How many numbers are offered as ids.
const GUESSES: u64 = 10_000_000;

/// What one idle connection may hold of the server's memory: a page of stack, and what it and its
/// process have on the heap.
const IDLE_BYTES_MAX: f64 = 9216.0;
/// Descriptors that are no connection.
const SPARE_FILES: u64 = 200;
/// How long a load has been running, at least, when the signal comes.
const DRAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a load may take to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(60);
/// How long a drain may take: the server's own limit, and the end of the process.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

pub(crate) const HELP: &str = "\
cargo xtask prove <what> [COUNT]

  connections [COUNT]  COUNT connections at once [10000], 100 requests each; memory per idle one
  load [SECONDS]       a mixed load for SECONDS [60] without an error
  drain [COUNT]        COUNT times [10] SIGTERM under load: whole answers, exit code 0
  ids [COUNT]          COUNT numbers [10000000] offered as ids while ids come and go: none is
                       accepted that is not live
  operations [SEEDS]   locks, channels, choices: SEEDS worlds [10000] of each, without allocation
";

/// Runs one proof in the size that was asked for.
pub(crate) fn run(workspace: &Workspace, words: &[&str]) -> Result<(), String> {
    let (what, count) = match words {
        [what] => (*what, None),
        [what, count] => {
            let number = count.parse::<NonZeroU64>();
            let number = number.map_err(|_| format!("{count} is not a count\n\n{HELP}"))?;
            (*what, Some(number.get()))
        }
        _ => return Err(HELP.to_owned()),
    };
    let mut log = Log::create(&workspace.target.join("xtask/logs"), "prove")?;
    log.is_shown = true;
    let proved = prove(workspace, &mut log, what, count);
    proved.map_err(|error| format!("{error}\nall that was said is in {}", log.path().display()))
}

fn prove(
    workspace: &Workspace,
    log: &mut Log,
    what: &str,
    count: Option<u64>,
) -> Result<(), String> {
    let proof = match what {
        "ids" => return guess(workspace, log, count.unwrap_or(GUESSES)),
        "operations" => return operate(workspace, log, count.unwrap_or(SEEDS)),
        "connections" => Proof::Connections(count.unwrap_or(CONNECTIONS)),
        "load" => Proof::Load(count.unwrap_or(LOAD_SECONDS)),
        "drain" => Proof::Drain(count.unwrap_or(DRAINS)),
        _ => return Err(format!("nothing is called {what}\n\n{HELP}")),
    };
    proof.check(workspace, log)
}

/// The step `prove-connections`.
pub(crate) fn connections(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    // With fewer, what the server holds once and for all would count.
    Proof::Connections(3_000).check(workspace, log)?;
    Ok(Outcome::Passed)
}

/// The step `prove-load`.
pub(crate) fn load(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    Proof::Load(5).check(workspace, log)?;
    Ok(Outcome::Passed)
}

/// The step `prove-drain`.
pub(crate) fn drain(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    Proof::Drain(2).check(workspace, log)?;
    Ok(Outcome::Passed)
}

#[derive(Clone, Copy, Debug)]
enum Proof {
    Connections(u64),
    Load(u64),
    Drain(u64),
}

impl Proof {
    fn check(self, workspace: &Workspace, log: &mut Log) -> Result<(), String> {
        log.run(
            workspace
                .cargo()
                .args(["build", "--release", "-p", "cache"]),
        )?;
        for driver in DRIVERS {
            match self {
                Self::Connections(count) => connect(workspace, log, driver, count),
                Self::Load(seconds) => burden(workspace, log, driver, seconds),
                Self::Drain(count) => {
                    (0..count).try_for_each(|round| terminate(workspace, log, driver, round))
                }
            }
            .map_err(|error| format!("{driver}: {error}"))?;
        }
        Ok(())
    }
}

/// Everything that blocks: many worlds of each proof, and a million of each without allocating.
fn operate(workspace: &Workspace, log: &mut Log, seeds: u64) -> Result<(), String> {
    let test = |profile, test| {
        let mut command = workspace.cargo();
        command.args(["test", "--profile", profile, "-p", "fiber", "--test", test]);
        command.env("PROOF_SEEDS", seeds.to_string());
        command
    };
    log.run(&mut test("sim", "proofs"))?;
    log.run(test("release", "allocations").args(["--", "--nocapture"]))
}

/// Random and mutated numbers, offered as ids to a space that changes meanwhile.
fn guess(workspace: &Workspace, log: &mut Log, count: u64) -> Result<(), String> {
    let mut command = workspace.cargo();
    command.args(["test", "--release", "-p", "fiber-core", "--lib"]);
    command.args(["registry::fuzz::", "--", "--nocapture"]);
    log.run(command.env("PROOF_IDS", count.to_string()))
}

/// Many connections from another process, each served, all open at once.
fn connect(workspace: &Workspace, log: &mut Log, driver: &str, wanted: u64) -> Result<(), String> {
    let files = hard_limit_of_files()?;
    let count = wanted.min(files.saturating_sub(SPARE_FILES));
    if count < wanted {
        log.text(&format!(
            "{count} connections instead of {wanted}: the hard limit of open files is {files}\n"
        ));
    }
    let server = start(workspace, driver, &["--connections", &wanted.to_string()])?;
    let mut client = client(workspace, &server)?;
    client.args(["--connections", &count.to_string(), "--requests", "100"]);
    client.args(["--keys", "100", "--server-pid", &server.id().to_string()]);
    let limit = Duration::from_secs(60 + count / 50);
    let report = finish(spawn(log, &mut client)?, limit)?;
    log.text(&format!("{driver}: {report}\n"));
    server.stop()?;
    expect(&report, "errors", 0.0)?;
    expect(&report, "requests", as_number(count * 100))?;
    let idle = number(&report, "memory_per_idle_connection_bytes")?;
    log.text(&format!(
        "{driver}: {idle} bytes of resident memory for each of {count} idle connections\n"
    ));
    if idle > IDLE_BYTES_MAX {
        return Err(format!(
            "an idle connection holds {idle} bytes, and may hold {IDLE_BYTES_MAX}"
        ));
    }
    Ok(())
}

/// Requests of all kinds for a while.
fn burden(workspace: &Workspace, log: &mut Log, driver: &str, seconds: u64) -> Result<(), String> {
    let server = start(workspace, driver, &[])?;
    let mut client = client(workspace, &server)?;
    client.args(["--mixed", "--get-ratio", "70", "--depth", "4"]);
    client.args(["--seconds", &seconds.to_string()]);
    let limit = Duration::from_secs(seconds + 120);
    let report = finish(spawn(log, &mut client)?, limit)?;
    log.text(&format!("{driver}: {report}\n"));
    server.stop()?;
    expect(&report, "errors", 0.0)
}

/// A signal in the middle of a load: no answer is cut, and all connections are closed.
fn terminate(workspace: &Workspace, log: &mut Log, driver: &str, round: u64) -> Result<(), String> {
    let server = start(workspace, driver, &[])?;
    let mut client = client(workspace, &server)?;
    // Answers of one packet and answers of many, one at a time and several on the way.
    let (depth, value_bytes) = [("1", "100"), ("8", "100"), ("4", "100000"), ("1", "900000")]
        [usize::try_from(round % 4).expect("below four")];
    client.args(["--until-closed", "--seconds", "20", "--keys", "20"]);
    client.args(["--depth", depth, "--value-bytes", value_bytes]);
    let mut child = spawn(log, &mut client)?;
    wait_for_load(server.address)?;
    thread::sleep(DRAIN_AFTER);
    if let Ok(Some(status)) = child.try_wait() {
        return Err(format!("the load ended before the signal: {status}"));
    }
    let status = server.terminate(DRAIN_LIMIT)?;
    let report = finish(child, DRAIN_LIMIT)?;
    log.text(&format!(
        "{driver}, round {round}, {depth} x {value_bytes} bytes: {status}, {report}\n"
    ));
    if status.code() != Some(0) {
        return Err(format!("the server ended with {status}"));
    }
    expect(&report, "errors", 0.0)
}

/// Waits until the load has begun, which is when all of its connections are there.
fn wait_for_load(server: SocketAddr) -> Result<(), String> {
    let failed = |error| format!("cannot ask for the server's numbers: {error}");
    let begun = Instant::now();
    while begun.elapsed() < BEGIN_LIMIT {
        // Only then it reads what it has stored.
        if gets(server).map_err(failed)? > 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("the load did not begin within {BEGIN_LIMIT:?}"))
}

/// How many values the server was asked for.
fn gets(server: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(BEGIN_LIMIT))?;
    stream.write_all(b"stats\r\nquit\r\n")?;
    let told = io::read_to_string(stream)?;
    let gets = told
        .lines()
        .find_map(|line| line.strip_prefix("STAT cmd_get "));
    let gets = gets.and_then(|gets| gets.parse().ok());
    gets.ok_or_else(|| io::Error::other(format!("it says {told}")))
}

fn start(workspace: &Workspace, driver: &str, arguments: &[&str]) -> Result<Server, String> {
    let program = workspace.release_program("cache");
    let arguments = [arguments, &["--io", driver]].concat();
    Server::start_with(&program, &arguments, &[])
}

fn client(workspace: &Workspace, server: &Server) -> Result<Command, String> {
    let mut client = Command::new(workspace.release_program("cache-load"));
    client.args(["--address", &server.address.to_string()]);
    Ok(client)
}

fn spawn(log: &mut Log, client: &mut Command) -> Result<Child, String> {
    log.attach(client)?;
    let child = client.stdout(Stdio::piped()).spawn();
    child.map_err(|error| format!("cannot start the load client: {error}"))
}

/// Waits for the client, which must succeed, and reads its report.
fn finish(mut client: Child, limit: Duration) -> Result<Value, String> {
    // One line fits into the pipe, so nobody has to read while the client runs.
    let status = wait(&mut client, limit).map_err(|error| format!("the load: {error}"))?;
    let output = client.stdout.take();
    let output = output.map_or(Ok(String::new()), io::read_to_string);
    let output = output.map_err(|error| format!("the load client's output: {error}"))?;
    if !status.success() {
        return Err(format!("the load client failed: {status}, {output}"));
    }
    serde_json::from_str(output.trim())
        .map_err(|error| format!("the load client's report `{output}`: {error}"))
}

fn number(report: &Value, field: &str) -> Result<f64, String> {
    let number = report[field].as_f64();
    number.ok_or_else(|| format!("the report has no {field}: {report}"))
}

fn expect(report: &Value, field: &str, wanted: f64) -> Result<(), String> {
    let got = number(report, field)?;
    if (got - wanted).abs() < 0.5 {
        Ok(())
    } else {
        Err(format!("{field}: {got} instead of {wanted}"))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
const fn as_number(count: u64) -> f64 {
    count as f64
}

/// How many files a process of this user may open at most.
fn hard_limit_of_files() -> Result<u64, String> {
    let output = Command::new("sh").args(["-c", "ulimit -Hn"]).output();
    let output = output.map_err(|error| format!("cannot ask for the limit of files: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim() {
        "unlimited" => Ok(u64::MAX),
        text => text
            .parse()
            .map_err(|_| format!("the limit of files is no number: {text}")),
    }
}

//! Clients that strangers wrote, against the running cache, on each driver.

use core::net::SocketAddr;
use core::time::Duration;
use std::process::Command;

use crate::runner::{Log, Outcome};
use crate::server::{Server, wait};
use crate::steps::{is_installed, succeeds};
use crate::workspace::Workspace;

pub(crate) const DRIVERS: [&str; 2] = ["ring", "poll"];
/// Connections that each send 100 requests without waiting for a reply.
const PIPELINES: &str = "1000";

const LIMIT: Duration = Duration::from_secs(120);
const SCRIPT: &str = include_str!("clients.py");

/// Our own client: many connections that pipeline, every reply checked byte by byte.
pub(crate) fn pipelined(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    on_each_driver(workspace, log, |address| {
        let mut command = Command::new(workspace.release_program("cache-load"));
        command.args(["--address", &address.to_string(), "--check", PIPELINES]);
        command
    })
}

/// libmemcached's own test of a server, on the ASCII protocol.
pub(crate) fn memccapable(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    if !is_installed("memccapable") {
        let reason = "memccapable is not installed (package libmemcached-tools)";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    on_each_driver(workspace, log, |address| {
        let mut command = Command::new("memccapable");
        command.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-a"]);
        command
    })
}

/// A session with pymemcache: every kind of command, small values and large ones.
pub(crate) fn pymemcache(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    if !succeeds(Command::new("python3").args(["-c", "import pymemcache"])) {
        let reason = "pymemcache is not installed (pip install pymemcache)";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    on_each_driver(workspace, log, |address| {
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT, &address.port().to_string()]);
        command
    })
}

fn on_each_driver(
    workspace: &Workspace,
    log: &mut Log,
    client: impl Fn(SocketAddr) -> Command,
) -> Result<Outcome, String> {
    log.run(
        workspace
            .cargo()
            .args(["build", "--release", "-p", "cache"]),
    )?;
    for driver in DRIVERS {
        on_driver(workspace, log, driver, &client).map_err(|error| format!("{driver}: {error}"))?;
    }
    Ok(Outcome::Passed)
}

fn on_driver(
    workspace: &Workspace,
    log: &mut Log,
    driver: &str,
    client: &impl Fn(SocketAddr) -> Command,
) -> Result<(), String> {
    let program = workspace.release_program("cache");
    let server = Server::start(&program, &[("HOST_LINUX_IO", driver)])?;
    let mut command = client(server.address);
    log.attach(&mut command)?;
    let mut child = command
        .spawn()
        .map_err(|error| format!("the client: {error}"))?;
    let status = wait(&mut child, LIMIT);
    log.text(&format!(
        "the server said:\n{}\n",
        server.stderr().join("\n")
    ));
    let chosen = server.driver().unwrap_or_else(|| "not logged".to_owned());
    let alive = server.stop();
    let status = status?;
    if !status.success() {
        return Err(format!("the client failed: {status}"));
    }
    alive?;
    // The server may not fall back in silence, or one driver would be tested twice.
    if chosen != driver {
        return Err(format!("another driver served: {chosen}"));
    }
    Ok(())
}

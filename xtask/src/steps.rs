//! Everything that `cargo xtask test` runs, as a table.

use std::env;
use std::process::{Command, Stdio};

use crate::runner::Action::{Call, Cargo};
use crate::runner::{Log, Outcome, Step};
use crate::workspace::{Workspace, cargo};
use crate::{clients, count, differential, gdb, layers, prove, purity, tidy};

/// In this order: what is quick to fail comes first.
#[rustfmt::skip]
const STEPS: &[Step] = &[
    Step { name: "tools", about: "cargo-nextest, installed when missing", action: Call(tools) },
    Step { name: "fmt", about: "rustfmt", action: Cargo(&["fmt", "--all", "--check"], &[]) },
    Step { name: "clippy", about: "no warning", action: Cargo(
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[]) },
    Step { name: "tidy", about: "rules of the house", action: Call(tidy_step) },
    Step { name: "layers", about: "who depends on whom", action: Call(layers_step) },
    Step { name: "purity", about: "the core knows no system", action: Call(purity_step) },
    Step { name: "nextest", about: "all tests", action: Cargo(
        &["nextest", "run", "--workspace"], &[]) },
    Step { name: "abort", about: "cancels in a program whose panics abort", action: Cargo(
        &["run", "--profile", "abort", "-p", "fiber", "--example", "panic_abort"], &[]) },
    Step { name: "doctests", about: "the examples in the docs", action: Cargo(
        &["test", "--doc", "--workspace"], &[]) },
    Step { name: "laws-ring", about: "the laws of a host, on io_uring", action: Cargo(
        &["nextest", "run", "-p", "host-linux", "--test", "laws_ring"], &[]) },
    Step { name: "laws-poll", about: "the laws on readiness", action: Cargo(
        &["nextest", "run", "-p", "host-linux", "--test", "laws_poll"], &[]) },
    Step { name: "laws-tiny-ring", about: "the laws on a ring of 8", action: Cargo(
        &["nextest", "run", "-p", "host-linux", "--test", "laws_tiny_ring"], &[]) },
    Step { name: "laws-sim", about: "the laws in the simulator", action: Cargo(
        &["nextest", "run", "-p", "host-sim", "--test", "laws"], &[]) },
    Step { name: "loom-core", about: "interleavings of fiber-core", action: Call(
        |workspace, log| loom(workspace, log, "fiber-core")) },
    Step { name: "loom-sched", about: "interleavings of fiber-sched", action: Call(
        |workspace, log| loom(workspace, log, "fiber-sched")) },
    Step { name: "loom-sync", about: "interleavings of fiber-sync", action: Call(
        |workspace, log| loom(workspace, log, "fiber-sync")) },
    Step { name: "loom-linux", about: "interleavings of host-linux", action: Call(
        |workspace, log| loom(workspace, log, "host-linux")) },
    Step { name: "simulator", about: "200 seeds of the cache", action: Cargo(
        &["run", "--release", "-p", "cache", "--bin", "cache-sim", "--", "--seeds", "200"], &[]) },
    Step { name: "examples", about: "the examples in release", action: Cargo(
        &["build", "--release", "-p", "echo", "-p", "cache"], &[]) },
    Step { name: "million", about: "a million fibers, 10 times, and their memory", action: Cargo(
        &["run", "--release", "-p", "fiber", "--example", "million"], &[]) },
    Step { name: "doc", about: "rustdoc, no warning", action: Cargo(
        &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")]) },
    Step { name: "valgrind", about: "memcheck of a fiber smoke test", action: Call(valgrind) },
    Step { name: "count", about: "instructions of the hot paths, 3 % more at most", action: Call(
        count::step) },
    Step { name: "gdb", about: "the debugger's script lists parked fibers", action: Call(
        gdb::check) },
    Step { name: "pipelined", about: "1000 connections x 100 requests at once", action: Call(
        clients::pipelined) },
    Step { name: "prove-connections", about: "3000 at once, memory per idle one", action: Call(
        prove::connections) },
    Step { name: "prove-load", about: "5 s of mixed load without an error", action: Call(
        prove::load) },
    Step { name: "prove-drain", about: "SIGTERM under load, whole answers", action: Call(
        prove::drain) },
    Step { name: "memccapable", about: "libmemcached's client, ring and poll", action: Call(
        clients::memccapable) },
    Step { name: "differential", about: "random commands to memcached and to us", action: Call(
        differential::differential) },
    Step { name: "pymemcache", about: "a Python client, ring and poll", action: Call(
        clients::pymemcache) },
];

/// The names of all steps and what they check.
pub(crate) fn list() -> String {
    STEPS
        .iter()
        .map(|step| format!("{:<18}{}\n", step.name, step.about))
        .collect()
}

/// The steps of these names in the table's order; all of them if none is named.
pub(crate) fn select(names: &[&str]) -> Result<Vec<Step>, String> {
    let unknown = names
        .iter()
        .find(|name| !STEPS.iter().any(|step| step.name == **name));
    if let Some(name) = unknown {
        return Err(format!(
            "error: no step is called `{name}`; there are:\n{}",
            list()
        ));
    }
    let wanted = |step: &&Step| names.is_empty() || names.contains(&step.name);
    Ok(STEPS.iter().filter(wanted).copied().collect())
}

fn tools(_: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    for (component, what) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        log.run(cargo().args([component, "--version"]))
            .map_err(|_| format!("{what} is missing: run `rustup component add {what}`"))?;
    }
    if log.run(cargo().args(["nextest", "--version"])).is_err() {
        log.run(cargo().args(["install", "cargo-nextest", "--locked"]))?;
    }
    Ok(Outcome::Passed)
}

fn tidy_step(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    let findings = tidy::check(&workspace.root)?;
    for finding in &findings {
        log.text(&format!("{finding}\n"));
    }
    if findings.is_empty() {
        Ok(Outcome::Passed)
    } else {
        Err(format!("{} to mend", findings.len()))
    }
}

fn layers_step(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    log.text(&layers::check(workspace)?);
    Ok(Outcome::Passed)
}

fn purity_step(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    log.text(&purity::check(workspace)?);
    Ok(Outcome::Passed)
}

/// The models of a crate, with a bound on preemptions that keeps them to minutes.
fn loom(workspace: &Workspace, log: &mut Log, package: &str) -> Result<Outcome, String> {
    let mut command = workspace.cargo();
    command
        .args(["test", "--release", "--lib", "-p", package, "loom_"])
        .env("RUSTFLAGS", "--cfg loom")
        .env("LOOM_MAX_PREEMPTIONS", "2")
        // Other flags would rebuild everything that the other steps share.
        .env("CARGO_TARGET_DIR", workspace.target.join("loom"));
    log.run(&mut command)?;
    if log.contents().contains("running 0 tests") {
        return Err(format!("{package} has no test whose name contains `loom_`"));
    }
    Ok(Outcome::Passed)
}

fn valgrind(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    if !is_installed("valgrind") {
        return Ok(Outcome::Skipped("valgrind is not installed".to_owned()));
    }
    let example = [
        "build",
        "--release",
        "-p",
        "host-linux",
        "--example",
        "smoke",
    ];
    log.run(workspace.cargo().args(example))?;
    let program = workspace.release_program("examples/smoke");
    log.run(
        Command::new("valgrind")
            .args(["-q", "--error-exitcode=9"])
            .arg("--suppressions=tools/valgrind.supp")
            .arg(program)
            // It runs one thread at a time, and does not let go of it in a ring's wait.
            .env("HOST_LINUX_IO", "poll")
            .current_dir(&workspace.root),
    )?;
    Ok(Outcome::Passed)
}

/// Whether a program of this name is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether a quiet run of the command succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::{STEPS, select};

    #[test]
    fn no_name_selects_every_step_and_names_keep_the_order_of_the_table() {
        assert_eq!(select(&[]).expect("all steps").len(), STEPS.len());
        let names: Vec<_> = select(&["tidy", "fmt"])
            .expect("both exist")
            .iter()
            .map(|step| step.name)
            .collect();
        assert_eq!(names, ["fmt", "tidy"]);
    }

    #[test]
    fn a_step_that_does_not_exist_is_an_error_that_lists_those_that_do() {
        let error = select(&["fnt"]).expect_err("there is no such step");
        assert!(
            error.contains("`fnt`") && error.contains("clippy"),
            "{error}"
        );
    }
}

//! `cargo xtask sanitize`: the tests of fibers, scopes and processes under two sanitizers.
//!
//! | sanitizer | finds | knows of fibers by |
//! |---|---|---|
//! | address | use of what was freed, or lies beyond, also on stacks | a feature of `fiber-core` |
//! | thread | races of plain memory between workers | nothing: see below |
//!
//! The thread sanitizer is not told of switches. A fiber stays on its thread, so that what its
//! fibers do is in the order of the thread; but it keeps a shadow of each thread's calls, which
//! switches confuse. Its reports name the right memory and perhaps wrong frames.
//! It must see what std's locks and counts order, so std is built with it, from its source.
//!
//! Both need nightly's compiler. It is no part of `ci`, which must pass without one.

use core::fmt::Write as _;
use std::process::Command;

use crate::{progress, runner::Log, steps::succeeds, workspace::Workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const TESTS: &[&str] = &["fibers", "scopes", "processes"];
const MISSING: &str = "sanitizers need nightly and the source of its std: run `rustup toolchain \
    install nightly --component rust-src`";

/// A sanitizer adds a function without unwind tables to each module. Where a module with debug
/// information has no other, as the one that switches stacks, the tables of its assembly are put
/// where only debuggers look; and backtraces would end at each switch.
const SWITCHES: &str = "profile.sim.package.corosensei.debug=false";

/// One of the compiler's sanitizers, and how to build and run with it.
struct Sanitizer {
    name: &'static str,
    flags: &'static str,
    arguments: &'static [&'static str],
    /// For the sanitizer's run time; `HERE` is the folder of this file.
    options: (&'static str, &'static str),
    /// Simulated worlds of one test. They make programs slow, and find in a few worlds what they
    /// find in many.
    worlds: &'static str,
    /// Tests that it cannot run, and why.
    leaves_out: &'static [(&'static str, &'static str)],
}

const SANITIZERS: &[Sanitizer] = &[
    Sanitizer {
        name: "address",
        flags: "-Zsanitizer=address",
        arguments: &["--features", "fiber-core/sanitizer"],
        // Fibers that do not end when they are killed are leaked on purpose.
        options: ("ASAN_OPTIONS", "detect_leaks=0"),
        worlds: "20",
        leaves_out: &[],
    },
    Sanitizer {
        name: "thread",
        flags: "-Zsanitizer=thread",
        // What the tests are made of takes longest to build, and gains least.
        arguments: &[
            "-Zbuild-std",
            "--config",
            "profile.sim.package.fiber.opt-level=0",
        ],
        options: (
            "TSAN_OPTIONS",
            "halt_on_error=1:suppressions=HERE/sanitize.supp",
        ),
        // A world is one thread: what it cannot show need not be repeated.
        worlds: "3",
        leaves_out: &[],
    },
];

/// Builds and runs the tests under each sanitizer.
pub(crate) fn run(workspace: &Workspace, words: &[&str]) -> Result<(), String> {
    if let Some(word) = words.iter().find(|word| wanted(&[**word]).is_empty()) {
        return Err(format!(
            "error: no such sanitizer: {word} (address, thread)"
        ));
    }
    if !succeeds(nightly().args(["rustc", "--version"])) {
        return Err(format!("error: {MISSING}"));
    }
    let mut failed = String::new();
    for sanitizer in wanted(words) {
        let name = sanitizer.name;
        let (result, time) = progress::show(name, || sanitizer.run(workspace));
        let seconds = time.as_secs_f64();
        match result {
            Ok(summary) => println!("{seconds:>7.1} s  ok: {summary}"),
            Err(error) => {
                println!("{seconds:>7.1} s  FAILED");
                let _ = writeln!(failed, "{name}: {error}");
            }
        }
        for (test, why) in sanitizer.leaves_out {
            println!("  left out: {test}: {why}");
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed),
    }
}

/// Runs a program of the nightly toolchain.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]);
    command
}

fn wanted(words: &[&str]) -> Vec<&'static Sanitizer> {
    let all = SANITIZERS.iter();
    all.filter(|it| words.is_empty() || words.contains(&it.name))
        .collect()
}

impl Sanitizer {
    /// Says how many tests have passed.
    fn run(&self, workspace: &Workspace) -> Result<String, String> {
        let folder = workspace.target.join("xtask/logs");
        let mut log = Log::create(&folder, &format!("sanitize-{}", self.name))?;
        // First to build, which takes its own time.
        let built = log.run(self.command(workspace).arg("--no-run"));
        let result = built.and_then(|()| log.run(&mut self.command(workspace)));
        let said = log.contents();
        if let Err(error) = result {
            let log = format!("sanitize-{}.log in {}", self.name, folder.display());
            return Err(format!("{error}; see {log}\n{}", end_of(&said)));
        }
        summary(&said, self.leaves_out.len())
    }

    fn command(&self, workspace: &Workspace) -> Command {
        let here = workspace.root.join("xtask/src");
        let options = self.options.1.replace("HERE", &here.to_string_lossy());
        let mut command = nightly();
        command
            .current_dir(&workspace.root)
            .args(["cargo", "nextest", "run", "--profile", "sanitize"])
            .args(["-p", "fiber", "--cargo-profile", "sim", "--target", TARGET])
            .args(["--config", SWITCHES])
            .args(self.arguments)
            .env("RUSTFLAGS", self.flags)
            .env("WORLDS_MAX", self.worlds)
            .env(self.options.0, options)
            // Other flags would rebuild everything that the steps share.
            .env(
                "CARGO_TARGET_DIR",
                workspace.target.join(format!("sanitize-{}", self.name)),
            );
        for test in TESTS {
            command.args(["--test", test]);
        }
        let left_out = self.leaves_out.iter();
        let tests: Vec<_> = left_out.map(|(test, _)| format!("test(={test})")).collect();
        if !tests.is_empty() {
            command.args(["-E", &format!("not ({})", tests.join(" | "))]);
        }
        command
    }
}

/// What the runner of tests says last: its count, and then which tests have failed.
fn end_of(said: &str) -> &str {
    said.rfind("Summary [").map_or("", |at| &said[at..])
}

/// The runner's count of tests, if it has left out what it was told to, and no more.
fn summary(said: &str, left_out: usize) -> Result<String, String> {
    let count = end_of(said).lines().next().unwrap_or_default();
    if count.ends_with(&format!(", {left_out} skipped")) {
        return Ok(count.to_owned());
    }
    Err(format!("{left_out} tests are to be left out: {count}"))
}

#[cfg(test)]
mod tests {
    use super::summary;

    const SAID: &str = "
        PASS [   0.5s] fiber::fibers joins::a_test
     Summary [  12.3s] 187 tests run: 187 passed (2 slow), 1 skipped
";

    #[test]
    fn the_count_is_told_when_just_what_is_listed_was_left_out() {
        let count = "Summary [  12.3s] 187 tests run: 187 passed (2 slow), 1 skipped";
        assert_eq!(summary(SAID, 1).as_deref(), Ok(count));
    }

    #[test]
    fn a_run_that_has_left_out_something_else_or_has_not_come_to_its_end_fails() {
        assert!(summary(SAID, 0).is_err());
        assert!(summary(SAID, 2).is_err());
        assert!(summary("PASS fiber::fibers joins::a_test", 0).is_err());
    }
}

//! `cargo xtask sanitize`: the tests of fibers, scopes and processes under two sanitizers.
//!
//! | sanitizer | finds | knows of fibers by |
//! |---|---|---|
//! | address | use of what was freed, or lies beyond, also on stacks | corosensei's feature |
//! | thread | races of plain memory between workers | nothing: see below |
//!
//! The thread sanitizer is not told of switches. A fiber stays on its thread, so that what its
//! fibers do is in the order of the thread; but it keeps a shadow of each thread's calls, which
//! unwinding on another stack confuses. Its reports name the right memory and perhaps wrong frames.
//! std is not instrumented: what only its locks order would be reported, were it used.
//!
//! Both need nightly's compiler. It is no part of `ci`, which must pass without one.

use core::fmt::Write as _;
use std::process::Command;

use crate::{progress, runner::Log, steps::succeeds, workspace::Workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const TESTS: &[&str] = &["fibers", "scopes", "processes"];

/// One of the compiler's sanitizers, and how to build and run with it.
struct Sanitizer {
    name: &'static str,
    flags: &'static str,
    features: &'static [&'static str],
    /// For the sanitizer's run time.
    options: (&'static str, &'static str),
    /// What it cannot run, and why, as arguments of the test programs.
    leaves_out: &'static [(&'static str, &'static str)],
}

const SANITIZERS: &[Sanitizer] = &[
    Sanitizer {
        name: "address",
        flags: "-Zsanitizer=address",
        features: &["--features", "fiber-core/sanitizer"],
        // Fibers that do not end when they are killed are leaked on purpose.
        options: ("ASAN_OPTIONS", "detect_leaks=0"),
        leaves_out: &[],
    },
    Sanitizer {
        name: "thread",
        flags: "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer",
        features: &[],
        options: ("TSAN_OPTIONS", "halt_on_error=1"),
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
        println!("skipped: sanitizers need nightly: run `rustup toolchain install nightly`");
        return Ok(());
    }
    let mut failed = String::new();
    for sanitizer in wanted(words) {
        let name = sanitizer.name;
        let (result, time) = progress::show(name, || sanitizer.run(workspace));
        println!("{:>7.1} s", time.as_secs_f64());
        if let Err(error) = result {
            let _ = writeln!(failed, "{name}: {error}");
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
    fn run(&self, workspace: &Workspace) -> Result<(), String> {
        let folder = workspace.target.join("xtask/logs");
        let mut log = Log::create(&folder, &format!("sanitize-{}", self.name))?;
        let mut command = nightly();
        command
            .current_dir(&workspace.root)
            .args([
                "cargo",
                "test",
                "-p",
                "fiber",
                "--profile",
                "sim",
                "--target",
                TARGET,
            ])
            .args(self.features);
        for test in TESTS {
            command.args(["--test", test]);
        }
        command.args(["--no-fail-fast", "--"]);
        for (test, why) in self.leaves_out {
            log.text(&format!("left out: {test}: {why}\n"));
            command.args(["--skip", test]);
        }
        command
            .env("RUSTFLAGS", self.flags)
            // They make programs slow, and find in a few worlds what they find in many.
            .env("WORLDS_MAX", "20")
            .env(self.options.0, self.options.1)
            // Other flags would rebuild everything that the steps share.
            .env(
                "CARGO_TARGET_DIR",
                workspace.target.join(format!("sanitize-{}", self.name)),
            );
        let result = log.run(&mut command);
        result.map_err(|error| {
            format!(
                "{error}; see sanitize-{}.log in {}",
                self.name,
                folder.display()
            )
        })
    }
}

//! Runs steps one after the other: one line each, a log each, and a count at the end.

use core::time::Duration;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use crate::progress;
use crate::workspace::Workspace;

/// No command of a step runs for longer.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How often a running command is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// One line of the table in `steps.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) action: Action,
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Runs cargo with these arguments and environment.
    Cargo(
        &'static [&'static str],
        &'static [(&'static str, &'static str)],
    ),
    /// Calls a function of this tool.
    Call(fn(&Workspace, &mut Log) -> Result<Outcome, String>),
}

/// How a step ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// Something from outside is missing; says what.
    Skipped(String),
}

/// Where the output of a step goes.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Whether texts go to standard output too.
    pub(crate) is_shown: bool,
}

impl Log {
    pub(crate) fn create(folder: &Path, step: &str) -> Result<Self, String> {
        let path = folder.join(format!("{step}.log"));
        let file = fs::create_dir_all(folder).and_then(|()| File::create(&path));
        let file = file.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(Self {
            path,
            file,
            is_shown: false,
        })
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, text: &str) {
        // What cannot be logged is still part of the step's result.
        let _ = self.file.write_all(text.as_bytes());
        if self.is_shown {
            print!("{text}");
        }
    }

    /// Points the output of a command here.
    pub(crate) fn attach(&mut self, command: &mut Command) -> Result<(), String> {
        self.text(&format!("$ {command:?}\n"));
        let clone = || {
            self.file
                .try_clone()
                .map_err(|error| format!("cannot log: {error}"))
        };
        command
            .stdin(Stdio::null())
            .stdout(clone()?)
            .stderr(clone()?);
        Ok(())
    }

    /// Runs a command with its output here; anything but success is an error.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<(), String> {
        self.attach(command)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot run {program}: {error}"))?;
        match wait(&mut child).map_err(|error| format!("cannot wait for {program}: {error}"))? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{program}: {status}")),
            None => Err(format!(
                "{program} was ended: it ran for {} s",
                LIMIT.as_secs()
            )),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything logged so far.
    pub(crate) fn contents(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Waits for `child` to end; ends it when the limit is reached, so that nothing hangs for ever.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// Runs the steps and fails if one of them failed.
pub(crate) fn run(workspace: &Workspace, steps: &[Step]) -> Result<(), String> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (index, step) in steps.iter().enumerate() {
        let mut log = Log::create(&workspace.target.join("xtask/logs"), step.name)?;
        let label = format!("[{:>2}/{}] {}", index + 1, steps.len(), step.name);
        let (result, time) = progress::show(&label, || run_one(workspace, step, &mut log));
        let seconds = format!("{:>7.1} s", time.as_secs_f64());
        match result {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("{seconds}  ok");
            }
            Ok(Outcome::Skipped(reason)) => {
                skipped += 1;
                println!("{seconds}  skipped: {reason}");
            }
            Err(reason) => {
                failed += 1;
                println!("{seconds}  FAILED");
                println!("{}", log.contents().trim_end());
                println!("{}: {}", step.name, reason.trim_end());
            }
        }
    }
    if failed > 0 {
        println!("logs: {}", workspace.target.join("xtask/logs").display());
    }
    println!("{}", summary(passed, failed, skipped));
    // The count says it all; nothing may follow it.
    if failed == 0 {
        Ok(())
    } else {
        Err(String::new())
    }
}

fn run_one(workspace: &Workspace, step: &Step, log: &mut Log) -> Result<Outcome, String> {
    match step.action {
        Action::Cargo(arguments, environment) => {
            let mut command = workspace.cargo();
            command.args(arguments).envs(environment.iter().copied());
            log.run(&mut command).map(|()| Outcome::Passed)
        }
        Action::Call(function) => function(workspace, log),
    }
}

fn summary(passed: u32, failed: u32, skipped: u32) -> String {
    let skips = if skipped == 0 {
        String::new()
    } else {
        format!(", {skipped} skipped")
    };
    format!("{passed} passed, {failed} failed{skips}")
}

#[cfg(test)]
mod tests {
    use super::{Action, Log, Outcome, Step, run, summary};
    use crate::scratch::Scratch;
    use crate::workspace::Workspace;

    fn workspace(scratch: &Scratch) -> Workspace {
        let root = scratch.path().to_owned();
        Workspace {
            target: root.join("target"),
            root,
            packages: Vec::new(),
        }
    }

    fn step(action: Action) -> Step {
        Step {
            name: "planted",
            about: "",
            action,
        }
    }

    #[test]
    fn the_last_line_counts_and_names_skips_only_if_there_are_any() {
        assert_eq!(summary(3, 0, 0), "3 passed, 0 failed");
        assert_eq!(summary(3, 1, 2), "3 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn one_failing_step_fails_the_run_and_the_others_still_run() {
        let scratch = Scratch::new("runner");
        let steps = [
            step(Action::Cargo(&["no-such-command"], &[])),
            step(Action::Call(|_, _| Err("planted".to_owned()))),
            Step {
                name: "last",
                ..step(Action::Call(|_, log| {
                    log.text("reached");
                    Ok(Outcome::Skipped("planted".to_owned()))
                }))
            },
        ];
        assert!(run(&workspace(&scratch), &steps).is_err());
        assert!(run(&workspace(&scratch), &steps[2..]).is_ok());
        let log = scratch.path().join("target/xtask/logs/last.log");
        assert_eq!(
            std::fs::read_to_string(log).expect("the step wrote it"),
            "reached"
        );
    }

    #[test]
    fn a_log_holds_the_command_and_what_it_said() {
        let scratch = Scratch::new("log");
        let mut log = Log::create(scratch.path(), "version").expect("the log can be made");
        log.run(workspace(&scratch).cargo().arg("--version"))
            .expect("cargo has a version");
        assert!(log.contents().contains("--version"));
        assert!(log.contents().contains("\ncargo "));
    }
}

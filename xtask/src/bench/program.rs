//! A program that measures: building it, what it can do, and asking it.

use core::time::Duration;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::sample::{Column, Role, Sample};
use crate::steps::{is_installed, succeeds};
use crate::workspace::Workspace;

/// Nothing that is measured takes so long.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Program {
    pub(super) column: Column,
    pub(super) path: PathBuf,
    /// What it is told by its environment.
    pub(super) told: Option<(&'static str, &'static str)>,
    /// What it lists: names and numbers of workers.
    pub(super) workloads: Vec<(String, u16)>,
}

/// Whose it is and where it comes from.
struct Origin {
    column: Column,
    source: Source,
}

enum Source {
    /// A program of `benches`, and the features that it needs.
    Cargo(&'static str, &'static str),
    /// Our servers on the driver for systems without io_uring.
    OnEpoll,
    /// The folder `benches/go`.
    Go,
    /// A server that is installed, for one protocol.
    Installed(&'static str, &'static str),
}

const fn origin(title: &'static str, role: Role, source: Source) -> Origin {
    let column = Column { title, role };
    Origin { column, source }
}

/// Ours first.
const PROGRAMS: [Origin; 7] = [
    origin("fiber", Role::Ours, Source::Cargo(OURS, "")),
    origin("fiber, epoll", Role::Variant, Source::OnEpoll),
    origin("floor", Role::Floor, Source::Cargo("floor-bench", "")),
    origin("tokio", Role::Peer, Source::Cargo("tokio-bench", "peers")),
    origin("may", Role::Peer, Source::Cargo("may-bench", "may")),
    origin("go", Role::Peer, Source::Go),
    origin(MEMCACHED, Role::Peer, Source::Installed(MEMCACHED, "mc")),
];

pub(super) const MEMCACHED: &str = "memcached";
const OURS: &str = "fiber-bench";
const ON_EPOLL: (&str, &str) = ("HOST_LINUX_IO", "poll");
const LOAD: &str = "bench-load";

/// Builds the programs, with peers or without, and the one that makes load.
pub(super) fn build(workspace: &Workspace, peers: bool) -> Result<(Vec<Program>, PathBuf), String> {
    let mut programs = Vec::new();
    for origin in PROGRAMS {
        if origin.column.role == Role::Peer && !peers {
            continue;
        }
        match origin.build(workspace)? {
            Ok(program) => programs.push(program),
            Err(reason) => eprintln!("{}: skipped, {reason}", origin.column.title),
        }
    }
    cargo_build(workspace, LOAD, "")?;
    Ok((programs, workspace.release_program(LOAD)))
}

/// One by one, so that nobody else's choice of features changes what is measured.
fn cargo_build(workspace: &Workspace, name: &str, features: &str) -> Result<(), String> {
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "benches", "--bin", name]);
    build.args(["--no-default-features", "--features", features]);
    let status = build.status();
    let status = status.map_err(|error| format!("cannot run cargo: {error}"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{name} does not build: {status}"))
}

impl Origin {
    /// The program, or why there is none on this machine.
    fn build(&self, workspace: &Workspace) -> Result<Result<Program, String>, String> {
        let column = self.column;
        let path = match self.source {
            Source::Cargo(name, features) => {
                cargo_build(workspace, name, features)?;
                workspace.release_program(name)
            }
            Source::OnEpoll => workspace.release_program(OURS),
            Source::Go => match go_build(workspace)? {
                Ok(path) => path,
                Err(reason) => return Ok(Err(reason)),
            },
            Source::Installed(name, _) if !is_installed(name) => {
                return Ok(Err("it is not installed".to_owned()));
            }
            Source::Installed(name, protocol) => {
                let workloads = vec![(format!("serve-{protocol}"), 1)];
                return Ok(Ok(Program::new(column, name.into(), workloads)));
            }
        };
        let mut program = Program::new(column, path, Vec::new());
        let list = program.ask(&["list"])?;
        program.workloads = parse_list(&list).ok_or_else(|| program.misunderstood(&list))?;
        if matches!(self.source, Source::OnEpoll) {
            program.told = Some(ON_EPOLL);
            program
                .workloads
                .retain(|(name, _)| name.starts_with("serve-"));
        }
        Ok(Ok(program))
    }
}

fn go_build(workspace: &Workspace) -> Result<Result<PathBuf, String>, String> {
    if !succeeds(Command::new("go").arg("version")) {
        return Ok(Err("go is not installed".to_owned()));
    }
    let path = workspace.release_program("go-bench");
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&path)
        .arg(".")
        .current_dir(workspace.root.join("benches/go"))
        .status()
        .map_err(|error| format!("cannot run go: {error}"))?;
    if status.success() {
        Ok(Ok(path))
    } else {
        Err(format!("benches/go does not build: {status}"))
    }
}

impl Program {
    pub(super) const fn new(column: Column, path: PathBuf, workloads: Vec<(String, u16)>) -> Self {
        Self {
            column,
            path,
            told: None,
            workloads,
        }
    }

    pub(super) fn can(&self, name: &str, workers: u16) -> bool {
        let listed = |(known, on): &(String, u16)| known == name && *on == workers;
        self.workloads.iter().any(listed)
    }

    pub(super) fn serves(&self, protocol: &str) -> bool {
        self.can(&format!("serve-{protocol}"), 1)
    }

    pub(super) fn run(&self, name: &str, workers: u16, ops: u64) -> Result<Sample, String> {
        let answer = self.ask(&["bench", name, &workers.to_string(), &ops.to_string()])?;
        Sample::parse(&answer).ok_or_else(|| self.misunderstood(&answer))
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        output(&self.path, arguments)
    }

    fn misunderstood(&self, answer: &str) -> String {
        let title = self.column.title;
        format!("{title} gives an unexpected answer: {answer}")
    }
}

/// What a program says on stdout, or the end of what it complains about.
pub(super) fn output(path: &Path, arguments: &[&str]) -> Result<String, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let call = format!("{name} {}", arguments.join(" "));
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {call}: {error}"))?;
    let (said, complaint) = (read(child.stdout.take()), read(child.stderr.take()));
    // Its end closes the pipe; nothing of ours runs meanwhile.
    let Ok(said) = said.recv_timeout(LIMIT) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("{call}: it takes more than {LIMIT:?}"));
    };
    let status = child.wait().map_err(|error| format!("{call}: {error}"))?;
    if status.success() {
        return Ok(said);
    }
    let complaint = complaint.recv().unwrap_or_default();
    let complaint = complaint.trim_end().lines().last().unwrap_or_default();
    Err(format!("{call}: {status}: {complaint}"))
}

/// Reads a pipe to its end, on a thread.
fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = pipe {
            // What cannot be read is not said.
            let _ = pipe.read_to_string(&mut text);
        }
        let _ = tell.send(text);
    });
    told
}

/// Lines such as `yield_2 1,2`.
fn parse_list(text: &str) -> Option<Vec<(String, u16)>> {
    let mut workloads = Vec::new();
    for line in text.lines() {
        let (name, workers) = line.split_once(' ')?;
        for workers in workers.split(',') {
            workloads.push((name.to_owned(), workers.parse().ok()?));
        }
    }
    Some(workloads)
}

#[cfg(test)]
mod tests {
    use super::parse_list;

    #[test]
    fn a_list_has_a_line_for_each_workload_with_its_numbers_of_workers() {
        let list = parse_list("a 1,2\nb 2\n").expect("it is well formed");
        let expected = [("a", 1), ("a", 2), ("b", 2)].map(|(name, on)| (name.to_owned(), on));
        assert_eq!(list, expected);
        assert_eq!(parse_list("a one"), None);
    }
}

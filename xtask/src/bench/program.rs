//! A benchmark program: what it can measure, and measuring it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::table::Sample;
use crate::workspace::Workspace;

pub(super) const OURS: &str = "fiber-bench";

/// How each program is called in tables; ours, then its peers.
pub(super) const PROGRAMS: [(&str, &str); 3] = [
    ("fiber", OURS),
    ("tokio", "tokio-bench"),
    ("floor", "floor-bench"),
];

#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    pub(super) workloads: Vec<(String, u16)>,
}

/// Builds all of them and asks each what it can do.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<Program>, String> {
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "benches", "--bins"]);
    let status = build.status();
    let status = status.map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("the benchmark programs do not build: {status}"));
    }
    let load = |(_, name)| Program::load(workspace.release_program(name));
    PROGRAMS.into_iter().map(load).collect()
}

impl Program {
    pub(super) const fn new(path: PathBuf, workloads: Vec<(String, u16)>) -> Self {
        Self { path, workloads }
    }

    fn load(path: PathBuf) -> Result<Self, String> {
        let mut program = Self::new(path, Vec::new());
        let list = program.ask(&["list"])?;
        program.workloads = parse_list(&list).ok_or_else(|| program.misunderstood(&list))?;
        Ok(program)
    }

    pub(super) fn can(&self, name: &str, workers: u16) -> bool {
        let listed = |(known, on): &(String, u16)| known == name && *on == workers;
        self.workloads.iter().any(listed)
    }

    pub(super) fn run(&self, name: &str, workers: u16, ops: u64) -> Result<Sample, String> {
        let answer = self.ask(&["bench", name, &workers.to_string(), &ops.to_string()])?;
        parse_sample(&answer).ok_or_else(|| self.misunderstood(&answer))
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let call = format!("{} {}", self.path.display(), arguments.join(" "));
        let output = Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot run {call}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{call}: {}", output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn misunderstood(&self, answer: &str) -> String {
        format!(
            "{} gives an unexpected answer: {answer}",
            self.path.display()
        )
    }
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

fn parse_sample(text: &str) -> Option<Sample> {
    let json: Value = serde_json::from_str(text.lines().last()?).ok()?;
    Some(Sample {
        wall_ns: json["ns_per_op"].as_f64()?,
        processor_ns: json["cpu_ns_per_op"].as_f64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Sample, parse_list, parse_sample};

    #[test]
    fn a_list_has_a_line_for_each_workload_with_its_numbers_of_workers() {
        let list = parse_list("a 1,2\nb 2\n").expect("it is well formed");
        let expected = [("a", 1), ("a", 2), ("b", 2)].map(|(name, on)| (name.to_owned(), on));
        assert_eq!(list, expected);
        assert_eq!(parse_list("a one"), None);
    }

    #[test]
    fn the_last_line_of_an_answer_is_its_sample() {
        let answer = "noise\n{\"ns_per_op\":1.5,\"cpu_ns_per_op\":2,\"wall_ms\":9}\n";
        let sample = Sample {
            wall_ns: 1.5,
            processor_ns: 2.0,
        };
        assert_eq!(parse_sample(answer), Some(sample));
        assert_eq!(parse_sample("{}"), None);
    }
}

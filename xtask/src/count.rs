//! `cargo xtask count`: how many instructions the hot paths take, beside what they took when
//! somebody last wrote that down. Unlike times, these are the same on a busy machine.
//!
//! Each path is taken so often, and then three times as often: what starts the program falls out of
//! the difference. Both compilers must be the same for two counts to say anything.

use core::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::runner::{Log, Outcome};
use crate::steps::is_installed;
use crate::workspace::Workspace;

/// A multiple of every size of batch in there.
const TIMES: u64 = 16_000;
/// Percent by which a path may take more than it did.
const TOLERANCE: f64 = 3.0;
const USAGE: &str = "usage: cargo xtask count [--write]";

/// What was written down.
#[derive(Debug, Default, PartialEq)]
struct Baseline {
    compiler: String,
    paths: Vec<(String, f64)>,
}

impl Baseline {
    /// The first line names the compiler, each further one a count and its path.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let compiler = lines.next()?.strip_prefix("# ")?.to_owned();
        let path = |line: &str| {
            let (count, name) = line.trim_start().split_once("  ")?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let paths = lines.map(path).collect::<Option<_>>()?;
        Some(Self { compiler, paths })
    }

    fn render(&self) -> String {
        let mut text = format!("# {}\n", self.compiler);
        for (name, count) in &self.paths {
            let _ = writeln!(text, "{count:>8.1}  {name}");
        }
        text
    }

    fn of(&self, name: &str) -> Option<f64> {
        let found = self.paths.iter().find(|(known, _)| known == name);
        found.map(|(_, count)| *count)
    }
}

/// Counts and prints; with `--write`, writes it down.
pub(crate) fn run(workspace: &Workspace, words: &[&str]) -> Result<(), String> {
    let writes = match words {
        [] => false,
        ["--write"] => true,
        _ => return Err(format!("error: {USAGE}")),
    };
    let mut log = Log::create(&workspace.target.join("xtask/logs"), "count")?;
    let before = match read(workspace) {
        // The first time of all.
        Err(_) if writes => Baseline::default(),
        read => read?,
    };
    let now = count(workspace, &mut log)?;
    print!("{}", table(&before, &now));
    if writes {
        let path = file(workspace);
        return fs::write(&path, now.render())
            .map_err(|error| format!("cannot write {}: {error}", path.display()));
    }
    judge(&before, &now).map(drop)
}

/// The same as a step of `test`.
pub(crate) fn step(workspace: &Workspace, log: &mut Log) -> Result<Outcome, String> {
    if !is_installed("valgrind") {
        return Ok(Outcome::Skipped("valgrind is not installed".to_owned()));
    }
    let before = read(workspace)?;
    let compiler = compiler()?;
    if compiler != before.compiler {
        let reason = format!("counted with {}, this is {compiler}", before.compiler);
        return Ok(Outcome::Skipped(reason));
    }
    let now = count(workspace, log)?;
    log.text(&table(&before, &now));
    judge(&before, &now)
}

fn file(workspace: &Workspace) -> PathBuf {
    workspace.root.join("benches/instructions.txt")
}

fn read(workspace: &Workspace) -> Result<Baseline, String> {
    let path = file(workspace);
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Baseline::parse(&text).ok_or_else(|| format!("{} is not as it is written", path.display()))
}

fn compiler() -> Result<String, String> {
    let said = Command::new("rustc").arg("--version").output();
    let said = said.map_err(|error| format!("cannot run rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

fn count(workspace: &Workspace, log: &mut Log) -> Result<Baseline, String> {
    let build = [
        "build",
        "--release",
        "-p",
        "benches",
        "--bin",
        "fiber-count",
    ];
    log.run(workspace.cargo().args(build))?;
    let program = workspace.release_program("fiber-count");
    let names = Command::new(&program).output();
    let names = names.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let mut paths = Vec::new();
    for name in String::from_utf8_lossy(&names.stdout).lines() {
        let mut instructions = |times: u64| {
            let mut command = Command::new("valgrind");
            command
                .args(["--tool=cachegrind", "--cache-sim=no"])
                .arg("--cachegrind-out-file=/dev/null")
                .arg(&program)
                .args([name, &times.to_string()]);
            log.run(&mut command)?;
            let contents = log.contents();
            total(&contents).ok_or_else(|| format!("valgrind does not say how many: {name}"))
        };
        let (once, thrice) = (instructions(TIMES)?, instructions(3 * TIMES)?);
        let each = thrice.saturating_sub(once) as f64 / (2 * TIMES) as f64;
        paths.push((name.to_owned(), each));
    }
    let compiler = compiler()?;
    Ok(Baseline { compiler, paths })
}

/// The last number after `I refs:` or `I   refs:`.
fn total(said: &str) -> Option<u64> {
    let line = said.lines().rev().find(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.windows(2).any(|pair| pair == ["I", "refs:"])
    })?;
    line.rsplit_once(':')?
        .1
        .trim()
        .replace(',', "")
        .parse()
        .ok()
}

fn percent(before: f64, now: f64) -> f64 {
    (now - before) * 100.0 / before
}

fn table(before: &Baseline, now: &Baseline) -> String {
    let mut text = String::from("| path | instructions | before | change |\n|---|--:|--:|--:|\n");
    for (name, count) in &now.paths {
        let (old, change) = match before.of(name) {
            Some(old) => (
                format!("{old:.1}"),
                format!("{:+.1} %", percent(old, *count)),
            ),
            None => ("–".to_owned(), "new".to_owned()),
        };
        let _ = writeln!(text, "| {name} | {count:.1} | {old} | {change} |");
    }
    text
}

/// An error names what takes more than it did, or is written down no more.
fn judge(before: &Baseline, now: &Baseline) -> Result<Outcome, String> {
    let worse = now.paths.iter().filter_map(|(name, count)| {
        let old = before.of(name)?;
        let more = percent(old, *count);
        (more > TOLERANCE).then(|| format!("`{name}` takes {more:.1} % more: {old:.1}, {count:.1}"))
    });
    let unknown = now
        .paths
        .iter()
        .filter(|(name, _)| before.of(name).is_none());
    let unknown = unknown.map(|(name, _)| format!("`{name}` is not written down"));
    let complaints: Vec<_> = worse.chain(unknown).collect();
    if complaints.is_empty() {
        return Ok(Outcome::Passed);
    }
    Err(format!(
        "{}; if that is meant: cargo xtask count --write",
        complaints.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(paths: &[(&str, f64)]) -> Baseline {
        let paths = paths
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        Baseline {
            compiler: "rustc 1".to_owned(),
            paths: paths.collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = baseline(&[("a path", 12.5), ("another", 100_000.0)]);
        assert_eq!(Baseline::parse(&written.render()), Some(written));
        assert_eq!(Baseline::parse("12  a path\n"), None);
    }

    #[test]
    fn more_than_the_tolerance_is_an_error_and_less_is_none() {
        let before = baseline(&[("a", 100.0), ("b", 100.0)]);
        assert!(judge(&before, &baseline(&[("a", 103.0), ("b", 50.0)])).is_ok());
        let error = judge(&before, &baseline(&[("a", 104.0), ("b", 100.0)])).unwrap_err();
        assert!(error.contains("`a` takes 4.0 % more"), "{error}");
        let error = judge(&before, &baseline(&[("c", 1.0)])).unwrap_err();
        assert!(error.contains("`c` is not written down"), "{error}");
    }

    #[test]
    fn the_total_is_the_last_one_that_was_said() {
        let said = "==1== I   refs:      1,000\n==2== noise\n==2== I refs:  12,345\n==2== end\n";
        assert_eq!(total(said), Some(12_345));
        assert_eq!(total("nothing"), None);
    }
}

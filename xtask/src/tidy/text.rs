//! What holds for every file: no path of one machine, and a change log that is up to date.

use super::{Code, Finding};

/// Folders of somebody's machine, spelled so that this file does not contain them.
const MACHINE_FOLDERS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

const CHANGES: &str = "CHANGELOG.md";

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &code.tree.files {
        for (index, line) in text.lines().enumerate() {
            for folder in MACHINE_FOLDERS {
                let absolute = line
                    .match_indices(folder)
                    .any(|(at, _)| is_start(&line[..at]));
                if absolute {
                    let message = format!("`{folder}` is a path of one machine");
                    findings.push(Finding::new(path, index + 1, message));
                }
            }
        }
    }
    findings.extend(changes(code));
    findings
}

/// Whether a path that follows `before` starts at the root of the file system.
fn is_start(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "_-./~}".contains(c))
}

/// The head of the change log is `Unreleased` or the version of the workspace.
fn changes(code: &Code<'_>) -> Option<Finding> {
    let Some(text) = code.tree.text(CHANGES) else {
        return Some(Finding::new(CHANGES, 1, "missing"));
    };
    let manifest = code.tree.text("Cargo.toml").unwrap_or_default();
    let version = workspace_version(manifest).unwrap_or_default();
    let heads = text
        .lines()
        .enumerate()
        .find(|(_, line)| line.starts_with("## "));
    let (index, head) = heads.unwrap_or((0, ""));
    let mut words = head.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '#'));
    if words.any(|word| word == "Unreleased" || (word == version && !version.is_empty())) {
        return None;
    }
    let message = format!("the head must be `## Unreleased` or `## {version}`, as Cargo.toml says");
    Some(Finding::new(CHANGES, index + 1, message))
}

fn workspace_version(manifest: &str) -> Option<&str> {
    let section = manifest.split_once("[workspace.package]")?.1;
    let section = section.split("\n[").next()?;
    let line = section.lines().find(|line| line.starts_with("version"))?;
    Some(line.split_once('=')?.1.trim().trim_matches('"'))
}

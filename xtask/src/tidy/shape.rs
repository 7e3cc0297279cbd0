//! The shape of a source file: what it opens with, how wide and how long it may be.

use super::{Code, Finding};

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 600;

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &code.sources {
        if !source.text.starts_with("//!") {
            let message = "the first line must be a `//!` that says what the file is for";
            findings.push(Finding::new(source.path, 1, message));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            let message = format!("{lines} lines, at most {LINES_MAX}: split the file by concept");
            findings.push(Finding::new(source.path, LINES_MAX + 1, message));
        }
        for (index, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            let is_url = line.contains("https://") || line.contains("http://");
            if columns > COLUMNS_MAX && !is_url {
                let message = format!("{columns} columns, at most {COLUMNS_MAX}");
                findings.push(Finding::new(source.path, index + 1, message));
            }
        }
    }
    findings
}

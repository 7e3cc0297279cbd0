//! Every path that `ARCHITECTURE.md` names in its code map exists.

use std::path::Path;

use super::{Code, Finding};

const DOCUMENT: &str = "ARCHITECTURE.md";

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    // That the document itself is missing is for the invariants to say.
    let Some(document) = code.tree.text(DOCUMENT) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut level = None;
    let mut found = false;
    for (index, line) in document.lines().enumerate() {
        let hashes = line.bytes().take_while(|byte| *byte == b'#').count();
        if hashes > 0 && level.is_none_or(|level| hashes <= level) {
            level = line.to_lowercase().contains("code map").then_some(hashes);
            found |= level.is_some();
        }
        if level.is_none() {
            continue;
        }
        for path in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|path| is_path(path))
        {
            if !exists(code, path) {
                let message = format!("`{path}` is in the code map and does not exist");
                findings.push(Finding::new(DOCUMENT, index + 1, message));
            }
        }
    }
    if !found {
        findings.push(Finding::new(DOCUMENT, 1, "no heading says `code map`"));
    }
    findings
}

fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    text.chars().all(plain)
        && !text.starts_with('/')
        && (text.contains('/') || Path::new(text).extension().is_some_and(|end| end == "rs"))
}

/// A path may be given from the root, or as the end of one (`sys.rs`, `env/clock.rs`).
fn exists(code: &Code<'_>, path: &str) -> bool {
    let parts: Vec<_> = Path::new(path).iter().collect();
    code.tree.root.join(path).exists()
        || code.tree.files.iter().any(|(file, _)| {
            let file: Vec<_> = file.iter().collect();
            file.windows(parts.len()).any(|window| window == parts)
        })
}

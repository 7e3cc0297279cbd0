//! No dead files: every source is reached by `mod` declarations from a crate root.

use super::{Code, Finding, crate_folder};

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &code.sources {
        let Some(folder) = crate_folder(source.path) else {
            continue;
        };
        let in_src = source
            .path
            .strip_prefix(folder)
            .is_ok_and(|path| path.starts_with("src"));
        if in_src && !code.modules.reached.contains_key(source.path) {
            let message = "no `mod` leads to this file: declare it or delete it";
            findings.push(Finding::new(source.path, 1, message));
        }
    }
    if code.modules.declarations == 0 {
        let message = "no `mod` seen in any crate: this check's parser must be broken";
        findings.push(Finding::new("xtask/src/tidy/modules.rs", 1, message));
    }
    findings
}

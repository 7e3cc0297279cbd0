//! The invariants are those of `ARCHITECTURE.md`: nothing cites another, none goes uncited.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{Code, Finding};

const DOCUMENT: &str = "ARCHITECTURE.md";

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    let Some(document) = code.tree.text(DOCUMENT) else {
        return vec![Finding::new(
            DOCUMENT,
            1,
            "missing: it lists the invariants",
        )];
    };
    let mut listed = BTreeMap::new();
    for (index, line) in document.lines().enumerate() {
        for number in cited(line) {
            listed.entry(number).or_insert(index + 1);
        }
    }
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    // The tool's own tests plant citations of what does not exist.
    for source in code
        .sources
        .iter()
        .filter(|source| !source.path.starts_with("xtask"))
    {
        for (index, line) in source.text.lines().enumerate() {
            for number in cited(line) {
                used.insert(number);
                if !listed.contains_key(&number) {
                    let message = format!("I-{number} is not listed in {DOCUMENT}");
                    findings.push(Finding::new(source.path, index + 1, message));
                }
            }
        }
    }
    for (number, line) in listed
        .into_iter()
        .filter(|(number, _)| !used.contains(number))
    {
        let message = format!("I-{number} is cited by no source file: cite it where it is kept");
        findings.push(Finding::new(DOCUMENT, line, message));
    }
    findings
}

/// The numbers of the invariants that a text cites.
pub(super) fn cited(text: &str) -> impl Iterator<Item = u32> {
    text.match_indices("I-").filter_map(|(at, _)| {
        let is_part_of_a_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
        let digits = &text[at + 2..];
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        if is_part_of_a_word {
            None
        } else {
            digits[..end].parse().ok()
        }
    })
}

//! Every unsafe block and unsafe impl says which invariant makes it sound.
//!
//! Clippy demands the SAFETY comment and its place; this check reads what it says.

use super::lex::Comment;
use super::parse::Source;
use super::{Code, Finding, invariants};

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = 0;
    for source in &code.sources {
        let parts: Vec<_> = source
            .path
            .iter()
            .filter_map(|part| part.to_str())
            .collect();
        if !matches!(parts.as_slice(), ["crates", _, "src", ..]) {
            continue;
        }
        for index in 0..source.tokens.len() {
            let is_impl = source.matches(index, &["unsafe", "impl"]);
            if !is_impl && !source.matches(index, &["unsafe", "{"]) {
                continue;
            }
            seen += 1;
            let what = if is_impl { "impl" } else { "block" };
            let problem = match comment_of(source, index, is_impl) {
                None => "has no `// SAFETY:` comment of its own",
                Some(text) if invariants::cited(&text).next().is_none() => {
                    "has a SAFETY comment that names no invariant (I-n)"
                }
                Some(_) => continue,
            };
            let line = source.tokens[index].line;
            findings.push(Finding::new(
                source.path,
                line,
                format!("this unsafe {what} {problem}"),
            ));
        }
    }
    if seen == 0 {
        let message = "no `unsafe` seen in any crate: this check's parser must be broken";
        findings.push(Finding::new("xtask/src/tidy/citations.rs", 1, message));
    }
    findings
}

/// The text behind `SAFETY:` in the nearest comment before the token, if no other statement or
/// impl lies between.
fn comment_of(source: &Source<'_>, index: usize, is_impl: bool) -> Option<String> {
    let start = source.tokens[index].start;
    let before = source
        .comments
        .partition_point(|comment| comment.start < start);
    let mut first = (0..before)
        .rev()
        .find(|at| marker(&source.comments[*at]).is_some())?;
    let comment = source.comments[first];
    if !is_own(source, comment.start, index, is_impl) {
        return None;
    }
    let mut text = marker(&comment)?.to_owned();
    // A run of `//` lines is one comment.
    while let Some([this, next]) = source.comments.get(first..first + 2)
        && next.line == this.line + this.text.lines().count()
        && next.start < start
    {
        text.push(' ');
        text.push_str(next.text);
        first += 1;
    }
    Some(text)
}

fn marker<'a>(comment: &Comment<'a>) -> Option<&'a str> {
    comment.text.split_once("SAFETY:").map(|(_, text)| text)
}

/// Whether everything between the comment and the token belongs to the token's own statement.
fn is_own(source: &Source<'_>, comment_start: usize, index: usize, is_impl: bool) -> bool {
    let first = source
        .tokens
        .partition_point(|token| token.start < comment_start);
    let mut open = Vec::new();
    for at in first..index {
        match source.tokens[at].text {
            mark @ ("(" | "[" | "{") => open.push(mark),
            ")" | "]" | "}" => {
                let Some(_) = open.pop() else { return false };
            }
            // In brackets a semicolon separates an array's type from its length.
            ";" if !open.iter().any(|mark| *mark != "{") => return false,
            "unsafe" if is_impl => return false,
            _ => {}
        }
    }
    true
}

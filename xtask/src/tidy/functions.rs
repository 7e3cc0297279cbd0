//! No function is longer than a screen.

use super::lex::Kind;
use super::parse::Source;
use super::{Code, Finding};

const LINES_MAX: usize = 70;

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    code.sources.iter().flat_map(check_source).collect()
}

fn check_source(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, pair) in source.tokens.windows(2).enumerate() {
        // `fn(` is a type, `fn $name` belongs to a macro.
        if !pair[0].is("fn") || pair[1].kind != Kind::Word {
            continue;
        }
        let Some(open) = body(source, index) else {
            continue;
        };
        let lines = source.tokens[source.closing(open)].line - pair[0].line + 1;
        if lines > LINES_MAX {
            let name = pair[1].text;
            let message = format!("`{name}` has {lines} lines, at most {LINES_MAX}: split it");
            findings.push(Finding::new(source.path, pair[0].line, message));
        }
    }
    findings
}

/// The opening brace of the function at `index`; none if it is only declared.
fn body(source: &Source<'_>, index: usize) -> Option<usize> {
    let mut at = index;
    loop {
        match source.tokens.get(at)?.text {
            "(" | "[" => at = source.closing(at),
            "{" => return Some(at),
            ";" => return None,
            _ => {}
        }
        at += 1;
    }
}

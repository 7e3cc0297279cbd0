//! What must not be written, and what to write instead.

use std::path::Path;

use super::lex::{Token, lex};
use super::parse::Source;
use super::{CORE_CRATES, Code, Finding, crate_folder};

/// A sequence of tokens that is banned somewhere.
struct Ban {
    pattern: &'static str,
    applies: fn(&Place<'_>) -> bool,
    instead: &'static str,
}

/// Where a token stands.
struct Place<'a> {
    /// The crate's folder, or nothing for a file outside of any crate.
    folder: &'a str,
    path: &'a Path,
    test: bool,
}

fn outside_tests(place: &Place<'_>) -> bool {
    !place.test
}

fn in_tests(place: &Place<'_>) -> bool {
    place.test
}

/// Only real hosts, examples and this tool may look at a real clock.
fn without_a_clock(place: &Place<'_>) -> bool {
    place.folder.starts_with("crates/")
        && (!place.folder.starts_with("crates/host-") || in_simulator(place))
}

/// Code whose every iteration order must be the same in each run.
fn deterministic(place: &Place<'_>) -> bool {
    let core = CORE_CRATES
        .iter()
        .any(|name| place.folder.strip_prefix("crates/") == Some(name));
    !place.test && (core || in_simulator(place))
}

fn in_simulator(place: &Place<'_>) -> bool {
    place.path.starts_with("crates/host-sim/src")
}

const BANS: [Ban; 11] = [
    Ban {
        pattern: "dbg!",
        applies: |_| true,
        instead: "use a tracing event",
    },
    Ban {
        pattern: "todo!",
        applies: |_| true,
        instead: "write it",
    },
    Ban {
        pattern: "unimplemented!",
        applies: |_| true,
        instead: "write it",
    },
    Ban {
        pattern: "#[ignore",
        applies: |_| true,
        instead: "mend the test or delete it",
    },
    Ban {
        pattern: "std::time::Instant",
        applies: without_a_clock,
        instead: "ask the env's `Clock`",
    },
    Ban {
        pattern: "std::time::SystemTime",
        applies: without_a_clock,
        instead: "ask the env's `Clock`",
    },
    Ban {
        pattern: "HashMap",
        applies: deterministic,
        instead: "its order differs from run to run (I-6): use `BTreeMap` or a slab",
    },
    Ban {
        pattern: "HashSet",
        applies: deterministic,
        instead: "its order differs from run to run (I-6): use `BTreeSet` or a slab",
    },
    Ban {
        pattern: "thread::sleep",
        applies: in_tests,
        instead: "wait for the event itself: a join, a channel, virtual time",
    },
    Ban {
        pattern: ".unwrap()",
        applies: outside_tests,
        instead: "use `expect(\"why it holds\")` or return the error",
    },
    Ban {
        pattern: ".unwrap_err()",
        applies: outside_tests,
        instead: "use `expect_err(\"why it holds\")`",
    },
];

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &code.sources {
        for ban in &BANS {
            let pattern = lex(ban.pattern).0;
            for index in 0..source.tokens.len() {
                let folder = crate_folder(source.path).unwrap_or_default();
                if !occurs(source, index, &pattern) {
                    continue;
                }
                let test = code.is_test(source, index);
                if (ban.applies)(&Place {
                    folder,
                    path: source.path,
                    test,
                }) {
                    let message = format!("`{}` is banned here: {}", ban.pattern, ban.instead);
                    findings.push(Finding::new(
                        source.path,
                        source.tokens[index].line,
                        message,
                    ));
                }
            }
        }
        findings.extend(unfinished(source));
    }
    findings
}

/// Whether the pattern stands at `index`, also in the form `std::time::{Duration, Instant}`.
fn occurs(source: &Source<'_>, index: usize, pattern: &[Token<'_>]) -> bool {
    let same = |at: usize, want: &Token<'_>| {
        source
            .tokens
            .get(at)
            .is_some_and(|token| token.kind == want.kind && token.is(want.text))
    };
    let Some((last, prefix)) = pattern.split_last() else {
        return false;
    };
    if !prefix
        .iter()
        .enumerate()
        .all(|(offset, want)| same(index + offset, want))
    {
        return false;
    }
    let at = index + prefix.len();
    if same(at, last) {
        return true;
    }
    let is_path = prefix.last().is_some_and(|token| token.is(":"));
    let is_group = source.tokens.get(at).is_some_and(|token| token.is("{"));
    is_path && is_group && (at..source.closing(at)).any(|inner| same(inner, last))
}

fn unfinished(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for comment in &source.comments {
        for (offset, line) in comment.text.lines().enumerate() {
            if line
                .split(|c: char| !c.is_alphanumeric())
                .any(|word| word == "FIXME")
            {
                let message = "`FIXME` is banned: mend it, or state the limit in the docs";
                findings.push(Finding::new(source.path, comment.line + offset, message));
            }
        }
    }
    findings
}

//! The sources of the core crates name no operating system (I-1).

use super::cfg::Cfg;
use super::lex::Kind;
use super::parse::Source;
use super::{Code, Finding};

/// The crates that know no operating system.
pub(crate) const CORE_CRATES: [&str; 4] = ["fiber-core", "fiber-sched", "fiber-io", "fiber-sync"];

const SYSTEM_CFGS: [&str; 6] = [
    "unix",
    "windows",
    "target_os",
    "target_env",
    "target_family",
    "target_vendor",
];

/// Features under which a core crate may link std; purity builds without them.
const STD_FEATURES: [&str; 3] = ["script", "laws", "std"];

pub(super) fn check(code: &Code<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut cfgs_seen = 0;
    for name in CORE_CRATES {
        let sources = format!("crates/{name}/src");
        findings.extend(manifest(code, name));
        for source in code
            .sources
            .iter()
            .filter(|source| source.path.starts_with(&sources))
        {
            findings.extend(check_source(code, source, &mut cfgs_seen));
        }
        let root = format!("{sources}/lib.rs");
        match code
            .sources
            .iter()
            .find(|source| source.path.as_os_str() == root.as_str())
        {
            None => findings.push(Finding::new(root, 1, "a core crate must have this file")),
            Some(source) => findings.extend(no_std(source)),
        }
    }
    if cfgs_seen == 0 {
        let message = "no `cfg` seen in any core crate: this check's parser must be broken";
        findings.push(Finding::new("xtask/src/tidy/os_free.rs", 1, message));
    }
    findings
}

fn no_std(source: &Source<'_>) -> Option<Finding> {
    let attribute = ["#", "!", "[", "no_std", "]"];
    let found = (0..source.tokens.len()).any(|index| source.matches(index, &attribute));
    let message = "a core crate must say `#![no_std]`, without any condition (I-1)";
    (!found).then(|| Finding::new(source.path, 1, message))
}

fn manifest(code: &Code<'_>, name: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let script = format!("crates/{name}/build.rs");
    if code.tree.text(&script).is_some() {
        findings.push(Finding::new(
            script,
            1,
            "a core crate has no build script (I-1)",
        ));
    }
    let path = format!("crates/{name}/Cargo.toml");
    for (index, line) in code
        .tree
        .text(&path)
        .unwrap_or_default()
        .lines()
        .enumerate()
    {
        let key = line.split('=').next().unwrap_or_default().trim();
        if key == "build" || key == "links" {
            let message = "a core crate has no build script and links nothing (I-1)";
            findings.push(Finding::new(&path, index + 1, message));
        }
    }
    findings
}

fn check_source(code: &Code<'_>, source: &Source<'_>, cfgs_seen: &mut usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let mut report = |message: String| {
            findings.push(Finding::new(source.path, token.line, message));
        };
        if let Some(open) = cfg_group(source, index) {
            *cfgs_seen += 1;
            for inner in &source.tokens[open..source.closing(open)] {
                if inner.kind == Kind::Word && SYSTEM_CFGS.contains(&inner.text) {
                    report(format!(
                        "`cfg({})` in a core crate (I-1): ask the env",
                        inner.text
                    ));
                }
            }
        }
        if token.is("extern")
            && is_foreign_block(source, index)
            && !is_under(code, source, index, &is_for_sanitizers)
        {
            report("a foreign block in a core crate (I-1): add a slot to `Env`".to_owned());
        }
        if token.kind == Kind::Word
            && token.text.ends_with("asm")
            && source.matches(index + 1, &["!"])
        {
            report(format!("`{}!` in a core crate (I-1)", token.text));
        }
        if source.matches(index, &["extern", "crate", "std"]) && !may_link_std(code, source, index)
        {
            let where_to = "put it under `cfg(test)` or one of the features script, laws, std";
            report(format!(
                "`extern crate std` in a core crate (I-1): {where_to}"
            ));
        }
    }
    findings
}

/// The opening delimiter of the predicate if a `cfg` of any form starts at `index`.
fn cfg_group(source: &Source<'_>, index: usize) -> Option<usize> {
    let word = source.tokens[index];
    if word.kind != Kind::Word || !matches!(word.text, "cfg" | "cfg_attr" | "cfg_select") {
        return None;
    }
    let bang = source.tokens.get(index + 1)?.is("!");
    let open = index + 1 + usize::from(bang);
    source
        .tokens
        .get(open)
        .filter(|token| token.is("(") || token.is("{"))
        .map(|_| open)
}

/// `extern "C" {` or `extern {`; a function type or definition is not meant.
fn is_foreign_block(source: &Source<'_>, index: usize) -> bool {
    let abi = source
        .tokens
        .get(index + 1)
        .is_some_and(|token| token.kind == Kind::Text);
    source
        .tokens
        .get(index + 1 + usize::from(abi))
        .is_some_and(|token| token.is("{"))
}

/// The compiler puts what a sanitizer's functions need into the program.
fn is_for_sanitizers(atom: &Cfg) -> bool {
    matches!(atom, Cfg::Value(key, value) if key == "feature" && value == "sanitizer")
}

fn may_link_std(code: &Code<'_>, source: &Source<'_>, index: usize) -> bool {
    is_under(code, source, index, &|atom| match atom {
        Cfg::Flag(name) => name == "test" || name == "loom",
        Cfg::Value(key, value) => key == "feature" && STD_FEATURES.contains(&value.as_str()),
        _ => false,
    })
}

/// Whether what is at `index` is there only where something of what is accepted holds.
fn is_under(
    code: &Code<'_>,
    source: &Source<'_>,
    index: usize,
    accepted: &impl Fn(&Cfg) -> bool,
) -> bool {
    let outer = code
        .modules
        .reached
        .get(source.path)
        .map(|reached| &reached.cfgs);
    source
        .cfgs_at(index)
        .chain(outer.into_iter().flatten())
        .any(|cfg| cfg.implies(accepted))
}

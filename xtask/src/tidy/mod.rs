//! `cargo xtask tidy`: the rules of the house that neither rustfmt nor clippy can see.
//!
//! Every check reports `file:line: error: …`, all checks run, then the command fails. A check is
//! a function from the [`Code`] of a tree to findings, so that tests run it on a tree of their own.

mod bans;
mod cfg;
mod citations;
mod code_map;
mod functions;
mod invariants;
mod lex;
mod modules;
mod os_free;
mod parse;
mod reachable;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod tree;

use core::fmt;
use std::path::{Path, PathBuf};

use self::modules::{Modules, is_test_folder};
use self::parse::Source;
use self::tree::Tree;

pub(crate) use self::os_free::CORE_CRATES;

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: error: {}",
            self.path.display(),
            self.line,
            self.message
        )
    }
}

/// A tree, parsed once for all checks.
struct Code<'a> {
    tree: &'a Tree,
    sources: Vec<Source<'a>>,
    modules: Modules,
}

impl<'a> Code<'a> {
    fn new(tree: &'a Tree) -> Self {
        let rust = tree
            .files
            .iter()
            .filter(|(path, _)| path.extension() == Some("rs".as_ref()));
        let sources: Vec<_> = rust.map(|(path, text)| Source::new(path, text)).collect();
        let modules = Modules::new(tree, &sources);
        Self {
            tree,
            sources,
            modules,
        }
    }

    /// Whether the token at `index` is compiled into tests only.
    fn is_test(&self, source: &Source<'_>, index: usize) -> bool {
        is_test_folder(source.path)
            || self
                .modules
                .reached
                .get(source.path)
                .is_some_and(|reached| reached.test)
            || source.cfgs_at(index).any(cfg::Cfg::is_test)
    }
}

/// Runs every check over the tree at `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let tree = Tree::load(root)?;
    let code = Code::new(&tree);
    let checks = [
        shape::check,
        functions::check,
        bans::check,
        os_free::check,
        citations::check,
        invariants::check,
        code_map::check,
        reachable::check,
        text::check,
    ];
    let mut findings: Vec<_> = checks.iter().flat_map(|check| check(&code)).collect();
    findings.sort();
    Ok(findings)
}

/// Runs the checks that belong to purity: the sources of the core crates name no system.
pub(crate) fn check_purity(root: &Path) -> Result<Vec<Finding>, String> {
    let tree = Tree::load(root)?;
    Ok(os_free::check(&Code::new(&tree)))
}

/// The crate folder that a path lies in, such as `crates/fiber-core`, if it lies in one.
fn crate_folder(path: &Path) -> Option<&str> {
    let mut parts = path.to_str()?.match_indices('/');
    let end = match path.iter().next()?.to_str()? {
        "crates" | "examples" => parts.nth(1)?.0,
        "benches" | "xtask" => parts.next()?.0,
        _ => return None,
    };
    path.to_str()?.get(..end)
}

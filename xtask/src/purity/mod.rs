//! `cargo xtask purity`: the proof that the core crates know no operating system (I-1).
//!
//! 1. `#![no_std]` without a condition, and 6. no system in `cfg`, no foreign block, no assembly:
//!    read from the sources by [`mod@crate::tidy`].
//! 2. The edges of the dependency graph: [`crate::layers`].
//! 3. Link as a kernel would: a crate with a panic handler and an allocator of its own. Any std
//!    anywhere below is a second panic handler, which rustc refuses.
//! 4. The same without libc: all of it, reached or not, down to core, and every symbol defined.
//! 5. The symbols that the compiled crates ask for, and no system call in the machine code.

mod kernel;
mod symbols;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use self::kernel::{Kernel, Linked};
use self::symbols::no_system_call;
use crate::tidy::CORE_CRATES;
use crate::workspace::Workspace;
use crate::{layers, tidy};

/// A crate to be proved pure, built without its default features.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Runs all six checks; the error names every one that failed.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let subjects: Vec<_> = CORE_CRATES
        .iter()
        .map(|name| Subject {
            name: (*name).to_owned(),
            path: workspace.root.join("crates").join(name),
        })
        .collect();
    let kernel = Kernel {
        folder: workspace.target.join("xtask/purity"),
        target: workspace.target.join("xtask/purity/target"),
        lock: workspace.root.join("Cargo.lock"),
        subjects,
    };
    let linked = kernel.link();
    let unlinked = |_| "not looked at: there is nothing linked to look at".to_owned();
    let symbols = linked
        .as_ref()
        .map_err(unlinked)
        .and_then(|it| symbols::of_crates(&it.rlibs));
    let free = linked
        .as_ref()
        .map_err(unlinked)
        .and_then(Linked::link_freestanding);
    let calls = free
        .as_ref()
        .map_err(unlinked)
        .and_then(|library| no_system_call(library));
    let results = [
        ("1, 6  the sources name no system", sources(&workspace.root)),
        ("2     every edge is in the table", edges(workspace)),
        ("3     they link as a kernel would", linked.map(|_| ())),
        ("4     they link without libc", free.map(|_| ())),
        ("5     no foreign symbol", symbols),
        ("5     no system call", calls),
    ];
    summary(&results)
}

fn sources(root: &Path) -> Result<(), String> {
    let findings = tidy::check_purity(root)?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n"))
}

fn edges(workspace: &Workspace) -> Result<(), String> {
    let violations = layers::violations(workspace);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.join("\n"))
    }
}

fn summary(results: &[(&str, Result<(), String>)]) -> Result<String, String> {
    let mut text = String::new();
    for (name, result) in results {
        match result {
            Ok(()) => text.push_str(&format!("ok      {name}\n")),
            Err(error) => text.push_str(&format!("FAILED  {name}\n{error}\n")),
        }
    }
    if results.iter().all(|(_, result)| result.is_ok()) {
        Ok(text)
    } else {
        Err(text)
    }
}

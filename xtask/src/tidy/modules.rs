//! Which files the compiler reaches from which crate root, and under which `cfg`.

use alloc::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::cfg::Cfg;
use super::parse::{ModDeclaration, Source};
use super::tree::Tree;

/// How a file is reached.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The predicates on the `mod` declarations that lead to the file.
    pub(crate) cfgs: Vec<Cfg>,
    /// Whether every way to it leads through tests.
    pub(crate) test: bool,
}

/// The module tree of every package.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    pub(crate) reached: BTreeMap<PathBuf, Reached>,
    /// How many `mod name;` were seen, so that a broken parser is noticed.
    pub(crate) declarations: usize,
}

impl Modules {
    pub(crate) fn new(tree: &Tree, sources: &[Source<'_>]) -> Self {
        let by_path: BTreeMap<&Path, &Source<'_>> =
            sources.iter().map(|source| (source.path, source)).collect();
        let mut modules = Self::default();
        for root in crate_roots(tree, sources) {
            let test = is_test_folder(&root);
            modules.visit(&by_path, &root, true, Vec::new(), test);
        }
        modules
    }

    fn visit(
        &mut self,
        sources: &BTreeMap<&Path, &Source<'_>>,
        path: &Path,
        owns_folder: bool,
        cfgs: Vec<Cfg>,
        test: bool,
    ) {
        let Some(source) = sources.get(path) else {
            return;
        };
        let test = test || cfgs.iter().any(Cfg::is_test);
        if let Some(reached) = self.reached.get_mut(path)
            && (test || !reached.test)
        {
            // Been here, and nothing below can become less of a test.
            return;
        }
        self.reached.insert(
            path.to_owned(),
            Reached {
                cfgs: cfgs.clone(),
                test,
            },
        );
        for include in source.includes() {
            let file = normal(&folder_of(path).join(include));
            self.visit(sources, &file, owns_folder, cfgs.clone(), test);
        }
        for declaration in source.mod_declarations() {
            self.declarations += 1;
            let mut below = cfgs.clone();
            below.extend(source.cfgs_at(declaration.token).cloned());
            for (file, owns) in candidates(path, owns_folder, &declaration) {
                self.visit(sources, &file, owns, below.clone(), test);
            }
        }
    }
}

/// Whether the path lies in a folder that only tests see.
pub(crate) fn is_test_folder(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches")))
        && !path.components().any(|part| part.as_os_str() == "src")
}

/// The files that a declaration may mean, and whether each owns its folder as `mod.rs` does.
fn candidates(path: &Path, owns_folder: bool, module: &ModDeclaration) -> Vec<(PathBuf, bool)> {
    let mut folder = folder_of(path).to_owned();
    if !owns_folder && (module.path.is_none() || !module.inside.is_empty()) {
        folder.push(path.file_stem().unwrap_or_default());
    }
    folder.extend(&module.inside);
    match &module.path {
        Some(explicit) => vec![(normal(&folder.join(explicit)), true)],
        None => vec![
            (folder.join(format!("{}.rs", module.name)), false),
            (folder.join(&module.name).join("mod.rs"), true),
        ],
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// The crate roots that cargo finds by itself, and those that a manifest names.
fn crate_roots(tree: &Tree, sources: &[Source<'_>]) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    for (manifest, text) in &tree.files {
        if manifest.file_name().is_none_or(|name| name != "Cargo.toml") {
            continue;
        }
        let package = folder_of(manifest);
        roots.extend(
            text.lines()
                .filter_map(named_root)
                .map(|path| package.join(path)),
        );
        let inside = sources
            .iter()
            .filter_map(|source| source.path.strip_prefix(package).ok());
        roots.extend(
            inside
                .filter(|path| is_usual_root(path))
                .map(|path| package.join(path)),
        );
    }
    roots
}

/// The value of a `path = "….rs"` line of a manifest.
fn named_root(line: &str) -> Option<&str> {
    let value = line
        .trim()
        .strip_prefix("path")?
        .trim_start()
        .strip_prefix('=')?;
    let value = value.trim().trim_matches('"');
    value.ends_with(".rs").then_some(value)
}

fn is_usual_root(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    matches!(
        parts.as_slice(),
        ["build.rs"]
            | ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "examples" | "benches", _]
            | ["tests" | "examples" | "benches", _, "main.rs"]
    )
}

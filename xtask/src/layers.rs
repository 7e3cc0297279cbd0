//! `cargo xtask layers`: who may depend on whom.
//!
//! ```text
//!              examples
//!  ┌───────────┬───┴───────┬───────────┬───────────┐
//! fiber-sched fiber-io  fiber-sync  host-linux  host-sim     five siblings, no edge between them
//!  └───────────┴──────┬────┴───────────┴───────────┘         (dev-dependencies excepted)
//!                 fiber-core             host-std ◀── host-linux, host-sim
//! fiber: a facade over core and the first three, without a host
//! benches, xtask: off the graph
//! ```

use core::fmt::Write as _;

use crate::workspace::{Edge, EdgeKind, Package, Workspace};

/// What one package may depend on.
struct Allowed {
    package: &'static str,
    normal: &'static [&'static str],
    dev: &'static [&'static str],
}

/// A dependency that is not listed here needs a reason in `docs/rationale.md` first.
const TABLE: [Allowed; 10] = [
    Allowed {
        package: "fiber-core",
        normal: &[
            "corosensei",
            "crossbeam-utils",
            "pin-project-lite",
            "slab",
            "thiserror",
            "tracing",
        ],
        dev: &["loom"],
    },
    Allowed {
        package: "fiber-sched",
        normal: &[
            "fiber-core",
            "crossbeam-utils",
            "slab",
            "thiserror",
            "tracing",
        ],
        dev: TESTS,
    },
    Allowed {
        package: "fiber-io",
        normal: SIBLING,
        dev: TESTS,
    },
    Allowed {
        package: "fiber-sync",
        normal: SIBLING,
        dev: TESTS,
    },
    Allowed {
        package: "host-linux",
        normal: &[
            "fiber-core",
            "host-std",
            "backtrace",
            "crossbeam-utils",
            "io-uring",
            "libc",
            "slab",
            "thiserror",
            "tracing",
        ],
        dev: TESTS,
    },
    Allowed {
        package: "host-std",
        normal: &["corosensei", "tracing"],
        dev: &[],
    },
    Allowed {
        package: "host-sim",
        normal: &[
            "fiber-core",
            "host-std",
            "corosensei",
            "crossbeam-utils",
            "libc",
            "slab",
            "thiserror",
            "tracing",
        ],
        dev: TESTS,
    },
    Allowed {
        package: "fiber",
        normal: &["fiber-core", "fiber-io", "fiber-sched", "fiber-sync"],
        dev: TESTS,
    },
    Allowed {
        package: "benches",
        normal: &[
            "cache",
            "corosensei",
            "echo",
            "fiber",
            "fiber-core",
            "host-linux",
            "io-uring",
            "libc",
            "may",
            "rustix",
            "tokio",
        ],
        dev: &[],
    },
    Allowed {
        package: "xtask",
        normal: &["rustix", "serde_json"],
        dev: &[],
    },
];

const SIBLING: &[&str] = &["fiber-core", "crossbeam-utils", "thiserror", "tracing"];

/// What the tests of a sibling may use: the other siblings, loom, proptest, and what is told.
const TESTS: &[&str] = &[
    "fiber-core",
    "fiber-io",
    "fiber-sched",
    "fiber-sync",
    "host-linux",
    "host-sim",
    "libc",
    "loom",
    "proptest",
    "tracing-subscriber",
    "tracing",
];

/// Every edge that the table does not allow, as a sentence.
pub(crate) fn violations(workspace: &Workspace) -> Vec<String> {
    let mut found = Vec::new();
    for package in workspace
        .packages
        .iter()
        .filter(|package| !is_example(package))
    {
        let Some(allowed) = TABLE.iter().find(|allowed| allowed.package == package.name) else {
            found.push(format!("{} is not in the table of layers.rs", package.name));
            continue;
        };
        for Edge { kind, to } in &package.edges {
            let may = match kind {
                EdgeKind::Normal => allowed.normal.contains(&to.as_str()),
                EdgeKind::Dev => {
                    allowed.normal.contains(&to.as_str()) || allowed.dev.contains(&to.as_str())
                }
                EdgeKind::Build => false,
            };
            if !may {
                found.push(format!("{} -> {to} ({kind}) is not allowed", package.name));
            }
        }
    }
    found
}

/// The graph, one package a line.
pub(crate) fn graph(workspace: &Workspace) -> String {
    let mut text = String::new();
    for package in &workspace.packages {
        let _ = writeln!(text, "{} ({})", package.name, package.folder.display());
        for kind in [EdgeKind::Normal, EdgeKind::Dev, EdgeKind::Build] {
            let edges = package.edges.iter().filter(|edge| edge.kind == kind);
            let names: Vec<_> = edges.map(|edge| edge.to.as_str()).collect();
            if !names.is_empty() {
                let _ = writeln!(text, "  {:<7} {}", kind.to_string(), names.join(", "));
            }
        }
    }
    text
}

/// Prints the graph and fails on the first edge too many.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let violations = violations(workspace);
    let graph = graph(workspace);
    if violations.is_empty() {
        return Ok(graph);
    }
    let errors: Vec<_> = violations
        .iter()
        .map(|violation| format!("error: {violation}"))
        .collect();
    Err(format!("{graph}\n{}", errors.join("\n")))
}

fn is_example(package: &Package) -> bool {
    package.folder.starts_with("examples")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::violations;
    use crate::workspace::Workspace;

    fn workspace(name: &str, folder: &str, dependency: Value) -> Workspace {
        let json = json!({
            "workspace_root": "/w", "target_directory": "/w/target", "workspace_members": ["m"],
            "packages": [
                { "id": "stranger", "name": "libc" },
                {
                    "id": "m", "name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"),
                    "dependencies": [dependency],
                },
            ],
        });
        Workspace::parse(&json).expect("the metadata is well formed")
    }

    fn edge(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        let dependency = json!({ "name": to, "kind": kind, "target": null });
        violations(&workspace(from, &format!("crates/{from}"), dependency))
    }

    #[test]
    fn a_planted_edge_is_reported_per_kind() {
        assert_eq!(
            edge("fiber-core", "libc", None),
            ["fiber-core -> libc (normal) is not allowed"]
        );
        assert_eq!(edge("fiber-sched", "fiber-io", None).len(), 1);
        assert_eq!(edge("host-sim", "fiber-sched", None).len(), 1);
        assert_eq!(edge("fiber-core", "thiserror", Some("build")).len(), 1);
        assert_eq!(edge("fiber-core", "host-sim", Some("dev")).len(), 1);
        assert_eq!(edge("fiber", "host-linux", None).len(), 1);
    }

    #[test]
    fn allowed_edges_pass() {
        assert_eq!(edge("fiber-core", "corosensei", None), [""; 0]);
        assert_eq!(edge("fiber-sched", "host-sim", Some("dev")), [""; 0]);
        assert_eq!(edge("host-linux", "io-uring", None), [""; 0]);
        let loom = json!({ "name": "loom", "kind": null, "target": "cfg(loom)" });
        assert_eq!(
            violations(&workspace("fiber-core", "crates/fiber-core", loom)),
            [""; 0]
        );
        let any = json!({ "name": "rand", "kind": null, "target": null });
        assert_eq!(
            violations(&workspace("cache", "examples/cache", any)),
            [""; 0]
        );
    }

    #[test]
    fn a_new_crate_must_enter_the_table() {
        assert_eq!(
            edge("fiber-new", "thiserror", None),
            ["fiber-new is not in the table of layers.rs"]
        );
    }
}

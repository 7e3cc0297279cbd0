//! The workspace as cargo sees it: root, target directory, packages and their edges.

use core::fmt;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What `cargo metadata` says.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The package's folder below the root.
    pub(crate) folder: PathBuf,
    pub(crate) edges: Vec<Edge>,
}

/// One direct dependency of a member.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) kind: EdgeKind,
    pub(crate) to: String,
}

/// When a dependency is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EdgeKind {
    Normal,
    /// For tests; a dependency under `cfg(loom)` counts as one.
    Dev,
    Build,
}

impl fmt::Display for EdgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Dev => "dev",
            Self::Build => "build",
        })
    }
}

impl Workspace {
    /// Asks cargo about the workspace that this tool was built from.
    pub(crate) fn load() -> Result<Self, String> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let output = cargo()
            .args(["metadata", "--format-version", "1", "--manifest-path"])
            .arg(manifest)
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "cargo metadata: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let json = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata: {error}"))?;
        Self::parse(&json).ok_or_else(|| "cargo metadata: not the expected shape".to_owned())
    }

    /// Reads the JSON of `cargo metadata`.
    pub(crate) fn parse(json: &Value) -> Option<Self> {
        let root = PathBuf::from(json["workspace_root"].as_str()?);
        let members = json["workspace_members"].as_array()?;
        let mut packages = Vec::new();
        for package in json["packages"].as_array()? {
            if !members.contains(&package["id"]) {
                continue;
            }
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let folder = manifest.parent()?.strip_prefix(&root).ok()?.to_owned();
            let dependencies = package["dependencies"].as_array()?;
            let mut edges = dependencies
                .iter()
                .map(Edge::parse)
                .collect::<Option<Vec<_>>>()?;
            edges.sort();
            packages.push(Package {
                name: package["name"].as_str()?.to_owned(),
                folder,
                edges,
            });
        }
        packages.sort_by(|a, b| a.folder.cmp(&b.folder));
        Some(Self {
            root,
            target: PathBuf::from(json["target_directory"].as_str()?),
            packages,
        })
    }

    /// A cargo command that runs at the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// The path of a program built in release.
    pub(crate) fn release_program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }
}

impl Edge {
    fn parse(dependency: &Value) -> Option<Self> {
        let kind = match dependency["kind"].as_str() {
            None if dependency["target"] == "cfg(loom)" => EdgeKind::Dev,
            None => EdgeKind::Normal,
            Some("dev") => EdgeKind::Dev,
            Some("build") => EdgeKind::Build,
            Some(_) => return None,
        };
        Some(Self {
            kind,
            to: dependency["name"].as_str()?.to_owned(),
        })
    }
}

/// The cargo that started this tool.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

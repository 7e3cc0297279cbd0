//! The files that the checks read: everything that is, or could be, committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The text files below a root, by relative path, in order.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<(PathBuf, String)>,
}

impl Tree {
    /// Reads the tree; files that are not UTF-8 are left out.
    pub(crate) fn load(root: &Path) -> Result<Self, String> {
        let mut paths = if root.join(".git").exists() {
            listed(root)?
        } else {
            walked(root)?
        };
        paths.sort();
        paths.dedup();
        let mut files = Vec::new();
        for path in paths {
            // A file may be listed and yet deleted in the working tree.
            if let Ok(bytes) = fs::read(root.join(&path))
                && let Ok(text) = String::from_utf8(bytes)
            {
                files.push((path, text));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            files,
        })
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        let path = Path::new(path);
        self.files
            .iter()
            .find(|(name, _)| name == path)
            .map(|(_, text)| text.as_str())
    }
}

/// Tracked files, and untracked ones that are not ignored.
fn listed(root: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}

fn walked(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry
                .map_err(|error| format!("{}: {error}", folder.display()))?
                .path();
            if !path.is_dir() {
                let below = path
                    .strip_prefix(root)
                    .expect("the walk starts at the root");
                found.push(below.to_owned());
            } else if !path.ends_with("target") {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

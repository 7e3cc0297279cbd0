//! A folder for one test, removed when the test is over.

use std::fs;
use std::path::{Path, PathBuf};

/// A temporary folder.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder; `name` must differ between the tests of one process.
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be made");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        let folder = path.parent().expect("a file has a folder");
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::write(path, text).expect("the file can be written");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: a folder left behind hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

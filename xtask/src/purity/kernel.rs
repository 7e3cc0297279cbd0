//! A generated crate that links the core crates as a kernel would.
//!
//! It is a workspace of its own, so that features do not unify with those of the hosts, and it
//! is never run.

use core::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Subject;
use crate::workspace::cargo;

/// Where the crate is generated and what it links.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) folder: PathBuf,
    pub(crate) target: PathBuf,
    /// The lock file whose versions are used, if it exists.
    pub(crate) lock: PathBuf,
    pub(crate) subjects: Vec<Subject>,
}

/// What linking left behind.
#[derive(Debug)]
pub(crate) struct Linked {
    /// Everything in one archive: the subjects, what they depend on, alloc and core.
    archive: PathBuf,
    /// The compiled subjects.
    pub(crate) rlibs: Vec<PathBuf>,
}

impl Linked {
    /// Links everything in the archive, called or not, without libc, start files or compiler
    /// runtime; every symbol must be defined. Returns the library.
    pub(crate) fn link_freestanding(&self) -> Result<PathBuf, String> {
        let library = self.archive.with_extension("freestanding.so");
        let mut command = Command::new("cc");
        command
            .args([
                "-shared",
                "-nostdlib",
                "-nostartfiles",
                "-Wl,-z,defs",
                "-Wl,--whole-archive",
            ])
            .arg(&self.archive)
            .arg("-o")
            .arg(&library);
        run(command).map(|_| library)
    }
}

/// What a kernel brings along: a panic handler, an allocator, and the memory functions that the
/// compiler calls by name. All fail: nothing here runs.
const RUNTIME: &str = r#"#![no_std]
#![allow(unused_extern_crates, reason = "some crates are only linked")]

use core::alloc::{GlobalAlloc, Layout};

struct Empty;

unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static EMPTY: Empty = Empty;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

macro_rules! memory {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(_: usize, _: usize, _: usize) -> usize {
            loop {}
        }
    )* };
}
memory! { memcpy memmove memset memcmp bcmp strlen rust_eh_personality _Unwind_Resume }
"#;

impl Kernel {
    /// Compiles and links with the usual libraries at hand.
    pub(crate) fn link(&self) -> Result<Linked, String> {
        self.generate()?;
        let mut command = cargo();
        command
            .args([
                "build",
                "--quiet",
                "--message-format",
                "json-render-diagnostics",
            ])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        let output = run(command)?;
        let (mut archive, mut rlibs) = (None, Vec::new());
        for line in output.lines().filter(|line| line.starts_with('{')) {
            let Ok(message) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let Some(files) = message["filenames"].as_array() else {
                continue;
            };
            let name = message["target"]["name"]
                .as_str()
                .unwrap_or_default()
                .replace('_', "-");
            for file in files.iter().filter_map(Value::as_str).map(PathBuf::from) {
                match file.extension().and_then(|end| end.to_str()) {
                    Some("a") if name == "purity" => archive = Some(file),
                    Some("rlib") if self.is_subject(&name) => rlibs.push(file),
                    _ => {}
                }
            }
        }
        if rlibs.len() != self.subjects.len() {
            return Err(format!(
                "expected one library per core crate, found {rlibs:?}"
            ));
        }
        Ok(Linked {
            archive: archive.ok_or("cargo built no archive")?,
            rlibs,
        })
    }

    fn is_subject(&self, name: &str) -> bool {
        self.subjects.iter().any(|subject| subject.name == name)
    }

    fn generate(&self) -> Result<(), String> {
        let mut manifest = String::from(
            "[package]\nname = \"purity\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [lib]\ncrate-type = [\"cdylib\", \"staticlib\"]\n\
             [profile.dev]\npanic = \"abort\"\n\
             [workspace]\n[dependencies]\n",
        );
        let mut code = String::from(RUNTIME);
        for Subject { name, path } in &self.subjects {
            let path = path.display();
            let _ = writeln!(
                manifest,
                "{name} = {{ path = \"{path}\", default-features = false }}"
            );
            let _ = writeln!(code, "extern crate {};", name.replace('-', "_"));
        }
        write_if_changed(&self.folder.join("Cargo.toml"), &manifest)?;
        write_if_changed(&self.folder.join("src/lib.rs"), &code)?;
        if let Ok(lock) = fs::read_to_string(&self.lock) {
            write_if_changed(&self.folder.join("Cargo.lock"), &lock)?;
        }
        Ok(())
    }
}

fn write_if_changed(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn run(mut command: Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

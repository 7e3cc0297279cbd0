//! Each check of purity fails on a planted violation, and passes on an innocent crate.

use std::fs;

use super::kernel::Kernel;
use super::{Subject, symbols};
use crate::scratch::Scratch;

const INNOCENT: &str = "#![no_std]\npub fn touch() -> u32 { 7 }\n";

const FOREIGN: &str = "#![no_std]\n\
    unsafe extern \"C\" { fn getenv(name: *const u8) -> *const u8; }\n\
    #[inline(never)]\n\
    pub fn touch() -> bool { unsafe { getenv(core::ptr::null()).is_null() } }\n";

const HOSTED: &str = "pub fn touch() -> usize { std::env::args().count() }\n";

const DIRECT: &str = "#![no_std]\n\
    pub fn touch() { unsafe { core::arch::asm!(\"syscall\") } }\n";

/// A kernel over one planted crate.
fn plant(scratch: &Scratch, code: &str) -> Kernel {
    let path = scratch.path().join("planted");
    fs::create_dir_all(path.join("src")).expect("the folder can be made");
    let manifest = "[package]\nname = \"planted\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
    fs::write(path.join("Cargo.toml"), manifest).expect("the file can be written");
    fs::write(path.join("src/lib.rs"), code).expect("the file can be written");
    Kernel {
        folder: scratch.path().join("kernel"),
        target: scratch.path().join("target"),
        lock: scratch.path().join("Cargo.lock"),
        subjects: vec![Subject {
            name: "planted".to_owned(),
            path,
        }],
    }
}

#[test]
fn an_innocent_crate_passes_every_check() {
    let scratch = Scratch::new("purity-innocent");
    let linked = plant(&scratch, INNOCENT).link().expect("it links");
    assert_eq!(symbols::of_crates(&linked.rlibs), Ok(()));
    let library = linked.link_freestanding().expect("it links without libc");
    assert_eq!(symbols::no_system_call(&library), Ok(()));
}

#[test]
fn a_crate_that_uses_std_does_not_link_as_a_kernel() {
    let scratch = Scratch::new("purity-hosted");
    let error = plant(&scratch, HOSTED)
        .link()
        .expect_err("std must be noticed");
    assert!(
        error.contains("panic_impl") && error.contains("std"),
        "{error}"
    );
}

#[test]
fn a_foreign_function_is_found_even_where_nobody_calls_it() {
    let scratch = Scratch::new("purity-foreign");
    let linked = plant(&scratch, FOREIGN)
        .link()
        .expect("a shared library may leave it open");
    let error = symbols::of_crates(&linked.rlibs).expect_err("the symbol must be noticed");
    assert!(error.contains("`getenv`"), "{error}");
    let error = linked
        .link_freestanding()
        .expect_err("nobody defines the symbol");
    assert!(error.contains("getenv"), "{error}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_system_call_in_the_machine_code_is_found() {
    let scratch = Scratch::new("purity-direct");
    let linked = plant(&scratch, DIRECT).link().expect("it links");
    let library = linked.link_freestanding().expect("every symbol is defined");
    let error = symbols::no_system_call(&library).expect_err("the call must be noticed");
    assert!(error.contains("`syscall`"), "{error}");
}

//! Each check of tidy fails on a planted violation and on nothing else.

use super::check;
use crate::scratch::Scratch;

const LIB: &str = "//! A crate.\n#![no_std]\n#[cfg(test)]\nextern crate std;\nmod part;\n";

const PART: &str = "//! A part (I-1).\n\
    pub struct Part(*const u8);\n\
    // SAFETY: nothing is behind the pointer, as the type's\n\
    // owner promises (I-1).\n\
    unsafe impl Send for Part {}\n\
    pub fn part() -> [u8; 1] {\n\
    \x20   // SAFETY: a zero is fine (I-1).\n\
    \x20   let x: [u8; 1] = [unsafe { core::mem::zeroed() }];\n\
    \x20   x\n\
    }\n";

const ARCHITECTURE: &str = "# Architecture\n`no/such/path` outside of the map is fine.\n\
    ## Code map\n`crates/fiber-core/src`, `part.rs`, `fn x`\n\
    ## Invariants\n| I-1 | It holds. |\n";

/// A tree without a fault.
fn clean(name: &str) -> Scratch {
    let scratch = Scratch::new(&format!("tidy-{name}"));
    scratch.write("Cargo.toml", "[workspace.package]\nversion = \"0.1.0\"\n");
    scratch.write("CHANGELOG.md", "# Changes\n## 0.1.0\n");
    scratch.write("ARCHITECTURE.md", ARCHITECTURE);
    for name in super::CORE_CRATES {
        scratch.write(&format!("crates/{name}/Cargo.toml"), "[package]\n");
        scratch.write(&format!("crates/{name}/src/lib.rs"), LIB);
        scratch.write(&format!("crates/{name}/src/part.rs"), PART);
    }
    scratch
}

fn findings(scratch: &Scratch) -> Vec<String> {
    let found = check(scratch.path()).expect("the tree can be read");
    found.iter().map(ToString::to_string).collect()
}

/// Adds `code` to a source of the crate and expects exactly the findings that contain `wanted`.
fn plant(name: &str, path: &str, code: &str, wanted: &[&str]) {
    let scratch = clean(name);
    let base = match path {
        "crates/fiber-core/src/part.rs" => PART,
        "crates/fiber-core/src/lib.rs" => LIB,
        "ARCHITECTURE.md" => ARCHITECTURE,
        _ => "",
    };
    scratch.write(path, &format!("{base}{code}"));
    expect(&scratch, wanted);
}

fn plant_in_part(name: &str, code: &str, wanted: &[&str]) {
    plant(name, "crates/fiber-core/src/part.rs", code, wanted);
}

fn expect(scratch: &Scratch, wanted: &[&str]) {
    let found = findings(scratch);
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (finding, wanted) in found.iter().zip(wanted) {
        assert!(finding.contains(wanted), "`{wanted}` is not in {finding}");
    }
}

#[test]
fn a_clean_tree_has_no_finding() {
    expect(&clean("clean"), &[]);
}

#[test]
fn a_finding_names_file_and_line() {
    plant_in_part(
        "format",
        "fn f() { dbg!(1); }\n",
        &["part.rs:11: error: `dbg!`"],
    );
}

#[test]
fn the_shape_of_a_file_is_checked() {
    let path = "crates/fiber-io/src/part.rs";
    let scratch = clean("shape");
    scratch.write(path, &format!("\n{PART}"));
    expect(&scratch, &["first line"]);
    scratch.write(path, &format!("{PART}// {}\n", "ä".repeat(98)));
    expect(&scratch, &["101 columns"]);
    scratch.write(path, &format!("{PART}// https://{}\n", "x".repeat(98)));
    expect(&scratch, &[]);
    scratch.write(path, &format!("{PART}{}", "//\n".repeat(591)));
    expect(&scratch, &["601 lines"]);
}

#[test]
fn long_functions_are_reported_once() {
    let lines = |count: usize| format!("fn f(_: fn(u8)) {{\n{}}}\nfn g();\n", ";\n".repeat(count));
    plant_in_part("long", &lines(69), &["`f` has 71 lines"]);
    plant_in_part("not-long", &lines(68), &[]);
}

#[test]
fn banned_words_are_found_in_code_and_not_in_text() {
    plant_in_part("ban-todo", "fn f() { todo!() }\n", &["write it"]);
    plant_in_part("ban-fixme", "// a FIXME here\n", &["FIXME"]);
    plant_in_part(
        "ban-ignore",
        "#[ignore = \"slow\"]\nfn f() {}\n",
        &["#[ignore"],
    );
    plant_in_part("ban-map", "fn f() { HashMap::new(); }\n", &["BTreeMap"]);
    plant_in_part("ban-unwrap", "fn f() { Some(1).unwrap(); }\n", &["expect"]);
    plant_in_part(
        "ban-clock",
        "use std::time::{Duration, Instant};\n",
        &["Clock"],
    );
    plant_in_part(
        "ban-text",
        "// dbg!(HashMap)\nconst A: &str = \"todo!() .unwrap()\";\n",
        &[],
    );
}

#[test]
fn tests_may_unwrap_and_must_not_sleep() {
    let test = |body: &str| format!("#[cfg(test)]\nmod tests {{\nfn f() {{ {body} }}\n}}\n");
    plant_in_part("test-unwrap", &test("Some(1).unwrap();"), &[]);
    plant_in_part(
        "test-sleep",
        &test("std::thread::sleep(x);"),
        &["thread::sleep"],
    );
    let path = "crates/fiber-core/tests/it.rs";
    plant(
        "it-sleep",
        path,
        "//! A test.\nfn f() { thread::sleep(x); }\n",
        &["thread::sleep"],
    );
    plant(
        "it-unwrap",
        path,
        "//! A test.\nfn f() { x.unwrap(); }\n",
        &[],
    );
}

#[test]
fn a_file_behind_a_test_module_is_a_test() {
    let scratch = clean("test-file");
    scratch.write(
        "crates/fiber-io/src/lib.rs",
        &format!("{LIB}#[cfg(test)]\nmod more;\n"),
    );
    scratch.write(
        "crates/fiber-io/src/more.rs",
        "//! Tests.\nfn f() { x.unwrap(); }\n",
    );
    expect(&scratch, &[]);
}

#[test]
fn a_core_crate_that_names_a_system_is_found() {
    plant_in_part(
        "os-cfg",
        "#[cfg(all(test, not(unix)))]\nmod x {}\n",
        &["cfg(unix)"],
    );
    plant_in_part(
        "os-macro",
        "const A: bool = cfg!(target_os = \"linux\");\n",
        &["target_os"],
    );
    plant_in_part(
        "os-arch",
        "#[cfg(target_arch = \"x86_64\")]\nfn f() {}\n",
        &[],
    );
    plant_in_part(
        "os-block",
        "unsafe extern \"C\" {\nfn getenv();\n}\n",
        &["foreign block"],
    );
    plant_in_part("os-fn", "extern \"C\" fn f(_: extern \"C\" fn()) {}\n", &[]);
    plant_in_part(
        "os-asm",
        "core::arch::global_asm!(\"nop\");\n",
        &["global_asm!"],
    );
    plant(
        "os-build",
        "crates/fiber-io/build.rs",
        "//! Builds.\nfn main() {}\n",
        &["build script"],
    );
    let std = "extern crate std;\n";
    plant_in_part("os-std", std, &["extern crate std"]);
    plant_in_part(
        "os-feature",
        &format!("#[cfg(feature = \"script\")]\n{std}"),
        &[],
    );
    plant_in_part(
        "os-other",
        &format!("#[cfg(feature = \"net\")]\n{std}"),
        &["extern crate std"],
    );
}

#[test]
fn no_std_must_be_unconditional() {
    let scratch = clean("no-std");
    let code = LIB.replace("no_std", "cfg_attr(not(test), no_std)");
    scratch.write("crates/fiber-sync/src/lib.rs", &code);
    expect(&scratch, &["no_std"]);
}

#[test]
fn unsafe_code_must_cite_an_invariant_of_its_own() {
    let block = |comment: &str| format!("fn f() {{\n{comment}\nunsafe {{ g() }};\n}}\n");
    plant_in_part("cite", &block("// SAFETY: fine,\n// by (I-1)."), &[]);
    plant_in_part("cite-long", &block("/* SAFETY: fine,\n by I-1. */"), &[]);
    plant_in_part(
        "cite-none",
        &block("// SAFETY: fine."),
        &["names no invariant"],
    );
    plant_in_part(
        "cite-missing",
        &block("// Fine (I-1)."),
        &["no `// SAFETY:`"],
    );
    plant_in_part(
        "cite-other",
        &block("// SAFETY: (I-1).\ng();"),
        &["no `// SAFETY:`"],
    );
    let two = "// SAFETY: (I-1).\nunsafe impl A for B {}\nunsafe impl C for B {}\n";
    plant_in_part("cite-impl", two, &["no `// SAFETY:`"]);
    let same = "fn f() { /* SAFETY: (I-1) */ unsafe { g() } }\n";
    plant_in_part("cite-same", same, &[]);
    plant_in_part("cite-fn", "unsafe fn f() {}\n", &[]);
}

#[test]
fn invariants_are_checked_both_ways() {
    plant_in_part(
        "invariant-unknown",
        "// See I-99.\n",
        &["I-99 is not listed"],
    );
    plant(
        "invariant-uncited",
        "ARCHITECTURE.md",
        "| I-2 | Too. |\n",
        &["I-2 is cited by no"],
    );
}

#[test]
fn the_code_map_names_what_exists() {
    let map = "## More of the code map\n`crates/fiber-io/src/gone.rs`, `a/*/b`, `I`\n";
    plant("map", "ARCHITECTURE.md", map, &["gone.rs"]);
}

#[test]
fn a_file_that_no_module_declares_is_dead() {
    plant(
        "dead",
        "crates/fiber-core/src/dead.rs",
        "//! Dead.\n",
        &["no `mod` leads"],
    );
    let scratch = clean("alive");
    let code = format!("{LIB}mod a {{ mod b; }}\n#[path = \"odd/name.rs\"]\nmod c;\n");
    scratch.write("crates/fiber-io/src/lib.rs", &code);
    scratch.write("crates/fiber-io/src/a/b.rs", "//! B.\nmod d;\n");
    scratch.write("crates/fiber-io/src/a/b/d.rs", "//! D.\n");
    scratch.write("crates/fiber-io/src/odd/name.rs", "//! C.\n");
    scratch.write("crates/fiber-io/src/bin/tool.rs", "//! A program.\n");
    expect(&scratch, &[]);
}

#[test]
fn paths_of_one_machine_and_an_old_change_log_are_found() {
    let folder = concat!("/ro", "ot/");
    plant(
        "machine",
        "notes.md",
        &format!("see {folder}x\n"),
        &["notes.md:1"],
    );
    plant(
        "machine-not",
        "notes.md",
        &format!("https://example.org{folder}x\n"),
        &[],
    );
    let scratch = clean("changes");
    scratch.write("CHANGELOG.md", "# Changes\n\n## 0.0.9\n");
    expect(&scratch, &["CHANGELOG.md:3"]);
    scratch.write("CHANGELOG.md", "# Changes\n\n## [Unreleased]\n");
    expect(&scratch, &[]);
}

#[test]
fn a_parser_that_sees_nothing_is_reported() {
    let scratch = clean("blind");
    for name in super::CORE_CRATES {
        scratch.write(
            &format!("crates/{name}/src/lib.rs"),
            "//! Empty (I-1).\n#![no_std]\n",
        );
        scratch.write(&format!("crates/{name}/src/part.rs"), "//! Empty.\n");
    }
    let found = findings(&scratch);
    for wanted in ["no `cfg` seen", "no `unsafe` seen", "no `mod` seen"] {
        assert!(
            found.iter().any(|finding| finding.contains(wanted)),
            "{wanted}: {found:#?}"
        );
    }
}

//! What compiled code asks for by name, and whether it enters a kernel by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that the compiler itself calls, and those of the context switch of corosensei.
const PERMITTED: [&str; 9] = [
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "bcmp",
    "strlen",
    "_Unwind_Resume",
    "rust_eh_personality",
    "_GLOBAL_OFFSET_TABLE_",
];
const PERMITTED_PREFIXES: [&str; 2] = ["stack_init_trampoline", "stack_call_trampoline"];

const SYSTEM_CALLS: [&str; 4] = ["syscall", "sysenter", "svc", "ecall"];

/// Checks that the libraries ask for no function by its plain C name.
pub(crate) fn of_crates(libraries: &[PathBuf]) -> Result<(), String> {
    let mut foreign = Vec::new();
    for library in libraries {
        let name = library
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let listing = output_of("nm", &["--undefined-only", "--format=posix"], library)?;
        let symbols = listing
            .lines()
            .filter_map(undefined)
            .filter(|name| !is_permitted(name));
        foreign.extend(symbols.map(|symbol| format!("{name}: undefined symbol `{symbol}`")));
    }
    foreign.sort();
    foreign.dedup();
    if foreign.is_empty() {
        Ok(())
    } else {
        Err(foreign.join("\n"))
    }
}

/// Checks that the machine code holds no system call.
pub(crate) fn no_system_call(library: &Path) -> Result<(), String> {
    let listing = output_of("objdump", &["--disassemble", "--no-show-raw-insn"], library)?;
    let mut function = "";
    let mut calls = Vec::new();
    let mut instructions = 0;
    for line in listing.lines() {
        if let Some((_, name)) = line.split_once(" <").filter(|_| line.ends_with(">:")) {
            function = name;
        }
        let Some((_, instruction)) = line.split_once('\t') else {
            continue;
        };
        instructions += 1;
        let word = instruction.split_whitespace().next().unwrap_or_default();
        let old_style = instruction.starts_with("int ") && instruction.contains("$0x80");
        if SYSTEM_CALLS.contains(&word) || old_style {
            calls.push(format!("`{}` in <{function}", instruction.trim()));
        }
    }
    if instructions == 0 {
        return Err("objdump listed no instruction".to_owned());
    }
    if calls.is_empty() {
        Ok(())
    } else {
        Err(calls.join("\n"))
    }
}

/// The name on a line such as `getenv U`, unless it is mangled.
fn undefined(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let is_undefined = matches!(words.next(), Some("U" | "w" | "v"));
    (is_undefined && !name.starts_with("_ZN") && !name.starts_with("_R")).then_some(name)
}

fn is_permitted(name: &str) -> bool {
    PERMITTED.contains(&name)
        || PERMITTED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn output_of(program: &str, arguments: &[&str], file: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .output()
        .map_err(|error| format!("cannot run {program} (install binutils): {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

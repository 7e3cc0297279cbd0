//! The programs, and asking them.

use std::process::{Command, Output};

pub(crate) const PROGRAMS: &[&str] = &[
    env!("CARGO_BIN_EXE_fiber-bench"),
    env!("CARGO_BIN_EXE_floor-bench"),
    #[cfg(feature = "peers")]
    env!("CARGO_BIN_EXE_tokio-bench"),
    #[cfg(feature = "may")]
    env!("CARGO_BIN_EXE_may-bench"),
];

pub(crate) fn ask(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.expect("the program was built for this test")
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it speaks in UTF-8")
}

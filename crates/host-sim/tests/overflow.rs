//! A stack overflow is told, not suffered; each test looks at a process that it started.

use core::hint;
use std::{env, process::Command};

use host_sim::Sim;

const CHILD: &str = "HOST_SIM_OVERFLOW_CHILD";

#[test]
fn a_worker_that_overflows_its_stack_is_told_so_and_the_program_aborts() {
    if env::var_os(CHILD).is_some() {
        let mut sim = Sim::new(1);
        sim.node("deep", |_| {
            hint::black_box(dig(u64::MAX));
        });
        let outcome = sim.run();
        panic!("it should have aborted: {outcome}");
    }
    let name = "a_worker_that_overflows_its_stack_is_told_so_and_the_program_aborts";
    let child = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(!child.status.success());
    assert_eq!(child.status.code(), None, "ended by a signal");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(
        said.contains("overflowed its stack: 1024 KiB stack"),
        "{said}"
    );
    assert!(said.contains("hint:"), "{said}");
}

fn dig(depth: u64) -> u64 {
    let frame = hint::black_box([depth; 64]);
    if depth == 0 {
        0
    } else {
        dig(depth - 1) + frame[7]
    }
}

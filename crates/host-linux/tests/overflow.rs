//! What a program says when it runs over, each time in a process of its own.

use core::{hint, ptr};
use std::{
    env,
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
    thread,
};

use fiber_core::env::{AfterWork, StackClass, Stacks, WorkerId, Workers};
use host_linux::{Config, Io, Linux};

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

/// Runs the test of this name again, in another process, where [`is_child`] says so.
fn rerun(name: &str) -> Output {
    let program = env::current_exe().expect("a test is a program");
    Command::new(program)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("HOST_LINUX_TEST_CHILD", name)
        .output()
        .expect("a test can be run again")
}

fn is_child(name: &str) -> bool {
    env::var("HOST_LINUX_TEST_CHILD").is_ok_and(|child| child == name)
}

/// Touches one byte below the limit of a stack, on a worker of a fresh host.
fn touch_guard(class: StackClass, below: usize) {
    let linux = Linux::new(Config::default().io(Io::Poll)).expect("a host");
    linux
        .run(1, &|_: WorkerId| {
            let stack = linux.map_stack(class).expect("a stack");
            let guard = stack.limit().as_ptr().wrapping_sub(below);
            // SAFETY: not sound at all: it ends the process, which is what the parent waits for
            // (I-3).
            unsafe { guard.write_volatile(1) };
            AfterWork::Free
        })
        .expect("one worker needs no thread");
}

#[test]
fn touching_the_guard_of_a_stack_is_reported_and_aborts() {
    let name = "touching_the_guard_of_a_stack_is_reported_and_aborts";
    if is_child(name) {
        touch_guard(StackClass::K64, 1);
        return;
    }
    let output = rerun(name);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{text}");
    assert!(
        text.contains("overflowed its stack: 64 KiB stack"),
        "{text}"
    );
    assert!(
        text.contains("hint: spawn it with a larger StackClass"),
        "{text}"
    );
}

#[test]
fn a_fault_elsewhere_is_left_to_the_handler_before_ours() {
    let name = "a_fault_elsewhere_is_left_to_the_handler_before_ours";
    if is_child(name) {
        let _linux = Linux::new(Config::default().io(Io::Poll)).expect("a host");
        let nowhere = hint::black_box(ptr::without_provenance_mut::<u8>(8));
        // SAFETY: not sound at all: it ends the process, which is what the parent looks at (I-3).
        unsafe { nowhere.write_volatile(1) };
        return;
    }
    let output = rerun(name);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGSEGV), "{text}");
    assert!(!text.contains("overflowed"), "{text}");
}

#[test]
fn a_plain_thread_that_runs_over_is_still_reported_by_std() {
    let name = "a_plain_thread_that_runs_over_is_still_reported_by_std";
    if is_child(name) {
        let _linux = Linux::new(Config::default().io(Io::Poll)).expect("a host");
        let deep = thread::Builder::new()
            .name("deep".into())
            .spawn(|| recurse(0));
        let _ = deep.expect("a thread").join();
        return;
    }
    let output = rerun(name);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{text}");
    assert!(text.contains("thread 'deep'"), "{text}");
}

#[expect(unconditional_recursion, reason = "it is there to run over its stack")]
fn recurse(depth: u64) -> u64 {
    let page = hint::black_box([depth; 512]);
    recurse(depth + 1) + page[0]
}

//! Which driver is chosen, each time in a process of its own: by the environment, and where
//! io_uring is forbidden.

use std::{
    env,
    process::{Command, Output},
};

use fiber_core::env::Env;
use host_linux::{Config, IO_VARIABLE, Io, Linux};

const CHILD: &str = "HOST_LINUX_TEST_CHILD";

/// Runs the test of this name again, in another process.
fn rerun(name: &str, io: Option<&str>) -> Output {
    let program = env::current_exe().expect("a test is a program");
    let mut command = Command::new(program);
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, name);
    match io {
        Some(io) => command.env(IO_VARIABLE, io),
        None => command.env_remove(IO_VARIABLE),
    };
    command.output().expect("a test can be run again")
}

fn is_child(name: &str) -> bool {
    env::var(CHILD).is_ok_and(|child| child == name)
}

/// What a fresh host says about itself.
fn describe(config: Config) -> String {
    match Linux::new(config) {
        Ok(linux) => linux.describe().to_string(),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_says(output: &Output, expected: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(expected), "no {expected:?} in {text}");
}

#[test]
fn the_environment_chooses_the_driver() {
    let name = "the_environment_chooses_the_driver";
    if is_child(name) {
        eprintln!("{}", describe(Config::default()));
        return;
    }
    assert_says(&rerun(name, Some("poll")), "host-linux (poll)");
    assert_says(&rerun(name, Some("ring")), "host-linux (ring)");
    assert_says(&rerun(name, Some("auto")), "host-linux (ring)");
    assert_says(&rerun(name, None), "host-linux (ring)");
    assert_says(&rerun(name, Some("rings")), "set it to ring, poll or auto");
}

#[test]
fn where_io_uring_is_forbidden_auto_polls_and_ring_is_an_error_that_says_why() {
    let name = "where_io_uring_is_forbidden_auto_polls_and_ring_is_an_error_that_says_why";
    if is_child(name) {
        forbid_io_uring();
        eprintln!("{}", describe(Config::default().io(Io::Auto)));
        eprintln!("{}", describe(Config::default().io(Io::Ring)));
        return;
    }
    let output = rerun(name, None);
    assert_says(&output, "host-linux (poll): io_uring_setup is forbidden");
    assert_says(&output, "io_uring_setup failed with error 1");
    assert_says(&output, "kernel.io_uring_disabled");
}

/// Makes `io_uring_setup` fail with EPERM for the rest of this process, as a container's seccomp
/// profile does.
fn forbid_io_uring() {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, k, jt| libc::sock_filter { code, jt, jf: 0, k };
    let setup = u32::try_from(libc::SYS_io_uring_setup).expect("a small number");
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let mut steps = [
        step(LOAD, 0, 0),
        libc::sock_filter {
            jf: 1,
            ..step(JUMP_IF_EQUAL, setup, 0)
        },
        step(RETURN, refuse, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let filter = libc::sock_fprog {
        len: 4,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: takes numbers only (I-1).
    let allowed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(allowed, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the filter is on this frame for the length of the call (I-3).
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    assert_eq!(set, 0);
}

//! A host that cannot start all of the workers' threads starts none of the workers.
//!
//! Alone in its file: it takes address space away from its own process.

use core::{
    mem::MaybeUninit,
    sync::atomic::{AtomicUsize, Ordering},
};
use std::fs;

use fiber_core::env::{AfterWork, Workers};
use host_linux::{Config, Io, Linux};

#[test]
fn threads_that_cannot_be_started_are_an_error_and_no_worker_runs() {
    let linux = Linux::new(Config::default().io(Io::Poll)).expect("a host");
    let before = limit_address_space(256 << 20);
    let ran = AtomicUsize::new(0);
    // Each thread's stack takes two megabytes of address space.
    let started = linux.run(2000, &|_| {
        ran.fetch_add(1, Ordering::Relaxed);
        AfterWork::Free
    });
    set_address_space(&before);
    let text = started
        .expect_err("there is no room for so many")
        .to_string();
    assert!(text.contains("run fewer workers"), "{text}");
    assert_eq!(ran.into_inner(), 0);
    linux
        .run(2, &|_| AfterWork::Free)
        .expect("there is room again");
}

/// Leaves the process so much more address space than it has now; the limit before.
fn limit_address_space(more: u64) -> libc::rlimit {
    let sizes = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 = sizes
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .expect("its first word is a number of pages");
    let mut before = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the structure is on this frame for the length of the call (I-3).
    let result = unsafe { libc::getrlimit(libc::RLIMIT_AS, before.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: the call succeeded, so the kernel has written all of it (I-3).
    let before = unsafe { before.assume_init() };
    set_address_space(&libc::rlimit {
        rlim_cur: pages * 4096 + more,
        ..before
    });
    before
}

fn set_address_space(limit: &libc::rlimit) {
    // SAFETY: the structure is borrowed for the length of the call (I-3).
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, limit) };
    assert_eq!(result, 0);
}

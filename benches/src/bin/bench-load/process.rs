//! What the system knows of a process: another one, or this one.

use std::{fs, io, path::Path};

use benches::meter::memory_in;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Processor time of all threads that a process has, in nanoseconds.
pub(crate) fn processor_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        sum += thread_ns(&thread?.path()).unwrap_or(0);
    }
    Ok(sum)
}

/// `None` for one that has just ended.
fn thread_ns(thread: &Path) -> Option<u64> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Bytes that are resident, and those of page tables.
pub(crate) fn memory(pid: u32) -> io::Result<[u64; 2]> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(["VmRSS:", "VmPTE:"].map(|field| memory_in(&status, field)))
}

/// Raises this process's limit of open files as far as it may.
pub(crate) fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // With the old limit, connecting fails and says so.
    let _ = setrlimit(Resource::Nofile, raised);
}

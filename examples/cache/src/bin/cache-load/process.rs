//! What Linux tells about the server's process: the CPU it used and the memory it holds; and how
//! many files this one may open.

use core::time::Duration;
use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The CPU time that all tasks of `pid` have used, to the nanosecond.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut total_ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A task may end between being listed and being read; what it used is then missing.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split_whitespace().next().unwrap_or_default();
        total_ns += first.parse::<u64>().map_err(io::Error::other)?;
    }
    Ok(Duration::from_nanos(total_ns))
}

/// The memory of `pid` that is in RAM, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    match number {
        Some(kibibytes) => Ok(kibibytes * 1024),
        None => Err(io::Error::other(format!("{path} has no VmRSS line"))),
    }
}

/// Raises the soft limit of open files to the hard one if so many connections need it. If that
/// does not help, opening them fails, and says so.
pub(crate) fn allow_files(connections: usize) {
    const SPARE: u64 = 32;
    let hard = getrlimit(Resource::Nofile).maximum;
    let soft = getrlimit(Resource::Nofile).current;
    if soft.is_some_and(|soft| soft < connections as u64 + SPARE) {
        let raised = Rlimit {
            current: hard,
            maximum: hard,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_cpu() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 0);
        assert!(cpu_time(pid).unwrap() > Duration::ZERO);
    }
}

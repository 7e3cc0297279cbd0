//! Time, processor time and memory of a run.

use core::{fmt, mem::MaybeUninit};
use std::{fs, time::Instant};

/// A measurement that has begun.
#[derive(Debug)]
pub struct Meter {
    begun: Instant,
    processor_ns: u64,
    rss: u64,
    page_tables: u64,
}

/// What a run has cost; displayed as a line of JSON.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// How many ops were run.
    pub ops: u64,
    /// From begin to end.
    pub wall_ns: u64,
    /// Processor time of all threads of this OS process meanwhile.
    pub processor_ns: u64,
    /// The most memory that was resident so far, in MiB.
    pub peak_rss_mb: u64,
    /// What only some runs know, by name.
    pub more: Vec<(&'static str, f64)>,
}

impl Meter {
    /// Begins.
    pub fn start() -> Self {
        let (rss, page_tables) = (memory("VmRSS:"), memory("VmPTE:"));
        let processor_ns = processor_ns();
        Self {
            begun: Instant::now(),
            processor_ns,
            rss,
            page_tables,
        }
    }

    /// Ends, after so many ops.
    pub fn stop(&self, ops: u64) -> Measured {
        let wall_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Measured {
            ops,
            wall_ns,
            processor_ns: processor_ns() - self.processor_ns,
            peak_rss_mb: memory("VmHWM:") >> 20,
            more: Vec::new(),
        }
    }

    /// Ends when so many tasks wait, and says what memory each of them has.
    pub fn stop_while_waiting(&self, tasks: u64) -> Measured {
        let measured = self.stop(tasks);
        let each = |now: u64, before: u64| (now as f64 - before as f64) / tasks.max(1) as f64;
        measured
            .with("rss_per_task", each(memory("VmRSS:"), self.rss))
            .with("pte_per_task", each(memory("VmPTE:"), self.page_tables))
    }
}

impl Measured {
    /// The same with one more number.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.more.push((name, value));
        self
    }

    /// The same with what ending the tasks took, which `ending` has measured.
    #[must_use]
    pub fn with_ending(self, ending: &Self) -> Self {
        let ops = ending.ops.max(1) as f64;
        self.with("teardown_ns_per_op", ending.wall_ns as f64 / ops)
            .with("teardown_cpu_ns_per_op", ending.processor_ns as f64 / ops)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, processor) = (self.wall_ns as f64, self.processor_ns as f64);
        let ops = self.ops.max(1) as f64;
        write!(
            f,
            "{{\"ns_per_op\":{:.2},\"cpu_ns_per_op\":{:.2},\"wall_ms\":{:.2},\"peak_rss_mb\":{}",
            wall / ops,
            processor / ops,
            wall / 1e6,
            self.peak_rss_mb
        )?;
        for (name, value) in &self.more {
            write!(f, ",\"{name}\":{value:.3}")?;
        }
        f.write_str("}")
    }
}

fn processor_ns() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the call writes one `timespec`, into this frame.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, time.as_mut_ptr()) };
    assert_eq!(result, 0, "every process has this clock");
    // SAFETY: zeros are a `timespec`, and the call has succeeded.
    let time = unsafe { time.assume_init() };
    let [seconds, rest] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + rest
}

/// Bytes; 0 where the system does not say.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    memory_in(&status, field)
}

/// What a process's `status` says of its memory, in bytes.
pub fn memory_in(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::{Measured, memory_in};

    #[test]
    fn costs_are_per_op_and_no_ops_divide_by_nothing() {
        let mut measured = Measured {
            ops: 4,
            wall_ns: 6_000_000,
            processor_ns: 10,
            peak_rss_mb: 3,
            more: Vec::new(),
        };
        let json =
            r#"{"ns_per_op":1500000.00,"cpu_ns_per_op":2.50,"wall_ms":6.00,"peak_rss_mb":3}"#;
        assert_eq!(measured.to_string(), json);
        measured.ops = 0;
        assert!(measured.to_string().contains(r#""cpu_ns_per_op":10.00"#));
        let ending = measured.clone();
        let whole = measured.with("extra", 1.5).with_ending(&ending).to_string();
        assert!(whole.contains(r#""peak_rss_mb":3,"extra":1.500,"teardown_ns_per_op""#));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "VmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(memory_in(status, "VmRSS:"), 1 << 20);
        assert_eq!(memory_in(status, "VmPTE:"), 0);
    }
}

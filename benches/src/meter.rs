//! Time, processor time and memory of a run.

use core::{fmt, mem::MaybeUninit};
use std::{fs, time::Instant};

/// A measurement that has begun.
#[derive(Debug)]
pub struct Meter {
    begun: Instant,
    processor_ns: u64,
}

/// What a run has cost; displayed as a line of JSON.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// How many ops were run.
    pub ops: u64,
    /// From begin to end.
    pub wall_ns: u64,
    /// Processor time of all threads of this OS process meanwhile.
    pub processor_ns: u64,
    /// The most memory that was resident so far.
    pub peak_rss_mb: u64,
}

impl Meter {
    /// Begins.
    pub fn start() -> Self {
        let processor_ns = processor_ns();
        Self {
            begun: Instant::now(),
            processor_ns,
        }
    }

    /// Ends, after so many ops.
    pub fn stop(self, ops: u64) -> Measured {
        let wall_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Measured {
            ops,
            wall_ns,
            processor_ns: processor_ns() - self.processor_ns,
            peak_rss_mb: peak_rss_mb(),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, processor) = (self.wall_ns as f64, self.processor_ns as f64);
        let ops = self.ops.max(1) as f64;
        write!(
            f,
            "{{\"ns_per_op\":{:.2},\"cpu_ns_per_op\":{:.2},\"wall_ms\":{:.2},\"peak_rss_mb\":{}}}",
            wall / ops,
            processor / ops,
            wall / 1e6,
            self.peak_rss_mb
        )
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

/// 0 where the system does not say.
fn peak_rss_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::Measured;

    #[test]
    fn costs_are_per_op_and_no_ops_divide_by_nothing() {
        let mut measured = Measured {
            ops: 4,
            wall_ns: 6_000_000,
            processor_ns: 10,
            peak_rss_mb: 3,
        };
        let json =
            r#"{"ns_per_op":1500000.00,"cpu_ns_per_op":2.50,"wall_ms":6.00,"peak_rss_mb":3}"#;
        assert_eq!(measured.to_string(), json);
        measured.ops = 0;
        assert!(measured.to_string().contains(r#""cpu_ns_per_op":10.00"#));
    }
}

//! A process in numbers.

use alloc::vec::Vec;
use core::{fmt, time::Duration};

use super::Process;
use crate::runtime::Runtime;

/// What a process has, and what it has used so far. Read while it runs, so that the numbers may
/// differ by what happens meanwhile. Its children have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessStats {
    /// Fibers, started or not.
    pub fibers: usize,
    /// Ids of connections, listeners and other things; those of fibers and processes are not
    /// counted.
    pub ids: usize,
    /// Bytes of stacks, as large as they may become.
    pub stack_bytes: usize,
    /// Bytes that its fibers have allocated and not freed; `None` unless the program's allocator is
    /// a [`CountingAllocator`](fiber_core::process::CountingAllocator).
    pub heap_bytes: Option<usize>,
    /// How often its fibers were switched out, to wait or to let others run.
    pub parks: u64,
    /// Requests that its fibers have made of the host.
    pub requests: u64,
    /// Processor time, as far as samples tell: every ten milliseconds what a worker has used since
    /// is counted to the process of the fiber that runs there. Fair in the long run, and 0 for one
    /// that was never met; always 0 on hosts whose workers are not watched, and without a
    /// [`Watchdog`](crate::Watchdog).
    pub cpu: Duration,
}

impl Process {
    /// The process in numbers.
    ///
    /// ```
    /// # let env = fiber_core::script::ScriptEnv::new();
    /// # fiber_sched::Runtime::builder(env).run(|| {
    /// use fiber_sched::Process;
    ///
    /// let process = Process::builder().spawn(fiber_sched::park).unwrap();
    /// assert_eq!(process.process().stats().fibers, 1);
    /// process.kill("enough");
    /// # }).unwrap();
    /// ```
    pub fn stats(&self) -> ProcessStats {
        let record = self.record();
        ProcessStats {
            fibers: record.fibers(),
            ids: record.ids(),
            stack_bytes: record.stack_bytes(),
            heap_bytes: record.heap_bytes(),
            parks: record.parks(),
            requests: record.requests(),
            cpu: record.cpu(),
        }
    }
}

impl Runtime {
    /// The processes that the runtime's first one has made and that have not ended, oldest first:
    /// the roots of the trees that [`Process::children`] tells of.
    pub fn processes(&self) -> Vec<Process> {
        self.shared().processes.all()
    }
}

impl fmt::Display for ProcessStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} fibers, {} ids, {} KiB of stacks, ",
            self.fibers,
            self.ids,
            self.stack_bytes >> 10
        )?;
        if let Some(bytes) = self.heap_bytes {
            write!(f, "{} KiB of the heap, ", bytes >> 10)?;
        }
        write!(
            f,
            "{} parks, {} requests, {} ms of processor time",
            self.parks,
            self.requests,
            self.cpu.as_millis()
        )
    }
}

//! Looking at a worker from outside, while a fiber keeps it from looking after itself.
//!
//! A fiber that never comes back can be seen by another thread alone, and most of what there is to
//! see is the operating system's: how much processor time a thread has used, whether it sleeps in
//! the kernel, where it is right now.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{fmt, ops::Range, time::Duration};

use super::EnvError;
use crate::context::Glance;

/// A thread of the operating system, as the host names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it; it is its number"
)]
pub struct ThreadNumber(pub u64);

/// How a host lets threads be watched. A host whose workers are not threads of the operating system
/// has none.
pub trait Watch: Send + Sync {
    /// Calls [`Watched::tick`] about every `period`, on a thread that belongs to the host and is
    /// not a worker. Dropping the guard ends that, and waits for a call that is in progress.
    ///
    /// # Errors
    /// When the thread could not be started.
    fn start(
        &self,
        period: Duration,
        watched: Arc<dyn Watched>,
    ) -> Result<Box<dyn Watching>, EnvError>;

    /// The calling thread.
    fn this_thread(&self) -> ThreadNumber;

    /// Processor time that a live thread of this process has used; `None` if there is none of this
    /// number. *Cost*: a system call.
    fn cpu(&self, thread: ThreadNumber) -> Option<Duration>;

    /// Whether a thread sleeps in the kernel. *Cost*: several system calls.
    fn is_asleep(&self, thread: ThreadNumber) -> bool;

    /// Interrupts a worker's thread and looks at what runs there; `None` if it did not answer in
    /// time, or is no worker. A system call that the thread is in may end early with `EINTR` where
    /// the system does not restart it. Waits for some milliseconds at the most. *Thread*: any but
    /// the worker itself.
    fn sample(&self, thread: ThreadNumber) -> Option<Sample>;
}

/// What a host's watching thread calls.
pub trait Watched: Send + Sync {
    /// Looks at the workers.
    fn tick(&self) -> Tick;
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "hosts match on it")]
pub enum Tick {
    /// After a period.
    Again,
    /// Once [`Watching::wake`] is called.
    Rest,
}

/// Ends the watching when it is dropped.
pub trait Watching: Send + Sync {
    /// Ends a [`Tick::Rest`], now or the one that is just being asked for. *Cost*: a lock, and
    /// perhaps a system call.
    fn wake(&self);
}

/// What a worker's thread was doing when it was interrupted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// The fibers of the worker.
    pub glance: Glance,
    /// Where the thread was, innermost first: addresses of code, as far as its frame pointers lead.
    pub addresses: Vec<usize>,
}

impl Sample {
    /// What was seen.
    pub const fn new(glance: Glance, addresses: Vec<usize>) -> Self {
        Self { glance, addresses }
    }
}

/// How a host knows where code is.
pub trait Trace: Send + Sync {
    /// Writes the return addresses of the caller's frames, innermost first, up to the first frame
    /// that lies outside of `stack`; gives how many there are, at most as many as fit. Never
    /// unwinds, and needs no more than some kilobytes of the caller's stack.
    fn capture(&self, stack: Range<usize>, into: &mut [usize]) -> usize;

    /// The functions at an address, the innermost first: several where some were inlined, none
    /// where there is no code that has a name. Reads files the first time, and needs a whole
    /// thread's stack.
    fn frames_at(&self, address: usize) -> Vec<Frame>;

    /// What was read for [`Trace::frames_at`] is not needed for now, and its memory may go: it can
    /// be more than the rest of the program.
    fn forget(&self) {}
}

/// A function on a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// Its name.
    pub function: String,
    /// Where in the source.
    pub file: Option<String>,
    /// The line there, from 1.
    pub line: Option<u32>,
}

impl Frame {
    /// A function; see the fields.
    pub const fn new(function: String, file: Option<String>, line: Option<u32>) -> Self {
        Self {
            function,
            file,
            line,
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            _ => Ok(()),
        }
    }
}

//! The threads that run fibers.

use super::EnvError;

/// A worker's index within its runtime, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts build it; it is its number"
)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The index as a `usize`.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is to become of a thread when its worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "hosts heed each of them")]
pub enum AfterWork {
    /// It may end, or go on with other things.
    Free,
    /// Fibers were abandoned on it. Others may still use what their frames have borrowed, and that
    /// may be a thread-local value of this thread: so its destructors must not run, and the thread
    /// must not end (I-3).
    Keep,
}

/// Starts workers.
pub trait Workers {
    /// Runs `body` once for each worker `0..n`, each on a thread of its own (a virtual one in a
    /// simulator), and returns when all have returned. Either every body runs or none does: a
    /// worker waits for its siblings, so those that could start are held back until all could.
    ///
    /// The calling thread may serve as worker 0. `body` does not unwind. The references that
    /// `body` borrows are used only until this returns; a host that abandons workers instead
    /// (a simulated power cut) abandons the caller with them, so that its frame stays (I-3).
    ///
    /// A thread whose `body` gives [`AfterWork::Keep`] counts as returned, and is never ended. The
    /// calling thread goes on with what it likes, but the host sees to it that it does not end, or
    /// says what comes of that.
    ///
    /// # Errors
    /// When a thread could not be started; then no body was called, and the error says what to
    /// raise.
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Result<(), EnvError>;

    /// How many workers are worth starting here: the number of CPUs that this process may use.
    fn parallelism(&self) -> u16;
}

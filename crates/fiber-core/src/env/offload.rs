//! Work that would block a worker's thread goes to helper threads of the host.

use alloc::boxed::Box;

use super::Room;

/// A piece of work for a helper thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool of helper threads.
pub trait Offload {
    /// Runs `job` on a helper thread, some time soon. The job tells its owner that it is done by
    /// itself (it wakes a fiber). A simulator may run it at once, on its only thread.
    ///
    /// *Thread*: any. *Cost*: a lock, perhaps a thread start; never waits for a free helper.
    ///
    /// # Errors
    /// Gives the job back when the queue is at its bound; the caller waits or reports (I-10).
    fn offload(&self, job: Job) -> Result<(), OffloadFull>;

    /// Room for as many jobs as the pool takes. Whoever has a place hands in one job at a time, and
    /// gives the place back once it has ended; [`Offload::offload`] refuses nobody who has one
    /// unless the system has no thread left. The same one on every call.
    fn room(&self) -> &Room;
}

/// The helper pool's queue is at its bound; here is the job back.
#[derive(thiserror::Error)]
#[error("the host's helper queue is full: raise its limit or run fewer blocking jobs at once")]
#[non_exhaustive]
pub struct OffloadFull {
    /// The job that was not taken.
    pub job: Job,
}

impl OffloadFull {
    /// Hands `job` back.
    pub fn new(job: Job) -> Self {
        Self { job }
    }
}

impl core::fmt::Debug for OffloadFull {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("OffloadFull")
    }
}

//! Helper threads for calls that block: started when needed, gone when idle, bounded.

extern crate alloc;

use alloc::{collections::VecDeque, sync::Arc};
use core::time::Duration;
use std::{
    panic,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use fiber_core::env::{Job, Offload, OffloadFull, Room};

use crate::linux::Linux;

/// Bounds of the pool (I-10).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) threads: usize,
    pub(crate) queue: usize,
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads: 64,
            queue: 1024,
            idle: Duration::from_secs(60),
        }
    }
}

impl Offload for Linux {
    fn offload(&self, job: Job) -> Result<(), OffloadFull> {
        self.pool.offload(job)
    }

    /// As many as the queue holds: one that is in a thread's hands has left the queue.
    fn room(&self) -> &Room {
        &self.pool.room
    }
}

/// The pool. Its threads go when it is dropped, each after the job in hand.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    room: Room,
}

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closing: bool,
}

impl Pool {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            room: Room::new(limits.queue),
            shared: Arc::new(Shared {
                limits,
                state: Mutex::default(),
                work: Condvar::new(),
            }),
        }
    }

    fn offload(&self, job: Job) -> Result<(), OffloadFull> {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.shared.limits.queue {
            return Err(OffloadFull::new(job));
        }
        state.queue.push_back(job);
        if state.idle >= state.queue.len() {
            drop(state);
            self.shared.work.notify_one();
            return Ok(());
        }
        if state.threads >= self.shared.limits.threads {
            return Ok(());
        }
        if self.start() {
            state.threads += 1;
        } else if state.threads == 0 {
            let job = state
                .queue
                .pop_back()
                .expect("pushed above, under the same lock");
            return Err(OffloadFull::new(job));
        }
        Ok(())
    }

    /// Starts a helper; `false` when the system refuses another thread.
    fn start(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let builder = thread::Builder::new().name("fiber-helper".into());
        builder.spawn(move || shared.help()).is_ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn help(&self) {
        while let Some(job) = self.next() {
            // A job that panics has reported it; the helper serves the next one.
            let _ = panic::catch_unwind(panic::AssertUnwindSafe(job));
        }
    }

    /// The next job; `None` ends the helper.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.closing {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.limits.idle);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock, and the state is consistent at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool(threads: usize, queue: usize) -> Pool {
        Pool::new(Limits {
            threads,
            queue,
            ..Limits::default()
        })
    }

    #[test]
    fn a_job_runs_on_another_thread() {
        let (tell, told) = mpsc::channel();
        let job = move || tell.send(thread::current().id()).unwrap();
        pool(1, 1).offload(Box::new(job)).unwrap();
        assert_ne!(told.recv().unwrap(), thread::current().id());
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool = pool(1, 1);
        let (release, released) = mpsc::channel::<()>();
        let (tell, started) = mpsc::channel();
        let blocking = move || {
            tell.send(()).unwrap();
            let _ = released.recv();
        };
        pool.offload(Box::new(blocking)).unwrap();
        started.recv().unwrap();
        pool.offload(Box::new(|| ())).unwrap();
        let (tell, told) = mpsc::channel();
        let full = pool.offload(Box::new(move || tell.send(7).unwrap()));
        (full.unwrap_err().job)();
        assert_eq!(told.recv().unwrap(), 7);
        drop(release);
    }

    #[test]
    fn a_job_that_panics_does_not_end_its_helper() {
        let pool = pool(1, 8);
        let (tell, told) = mpsc::channel();
        let thread = tell.clone();
        let panics = move || {
            thread.send(thread::current().id()).unwrap();
            panic::resume_unwind(Box::new("a job that panics"));
        };
        pool.offload(Box::new(panics)).unwrap();
        pool.offload(Box::new(move || tell.send(thread::current().id()).unwrap()))
            .unwrap();
        assert_eq!(told.recv().unwrap(), told.recv().unwrap());
    }

    #[test]
    fn jobs_that_wait_for_each_other_get_threads_of_their_own() {
        let pool = pool(2, 8);
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel();
        pool.offload(Box::new(move || {
            released.recv().unwrap();
            tell.send(()).unwrap();
        }))
        .unwrap();
        pool.offload(Box::new(move || release.send(()).unwrap()))
            .unwrap();
        told.recv().unwrap();
    }
}

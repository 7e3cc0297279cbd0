//! One operating-system thread for each worker.
//!
//! ```text
//! caller    start all ─▶ open the gate ─▶ work as 0 ─▶ wait for the crew ─▶ join who is free
//! thread    wait at the gate ─▶ work ─▶ report: free ─▶ end
//!                                         └── keep ──▶ park for ever, see `keep`
//! ```
//!
//! A thread that may not end cannot be joined, so these are not a scope's threads: the crew says
//! when the last of them has left what the caller lends.

extern crate alloc;

use alloc::sync::Arc;
use core::{mem, ptr};
use std::{
    panic::resume_unwind,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use fiber_core::env::{AfterWork, EnvError, WorkerId, Workers};

use crate::{
    config::Affinity, errno::Errno, keep, linux::Linux, overflow::SignalStack,
    sys::affinity::Processors,
};

impl Workers for Linux {
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Result<(), EnvError> {
        let crew = Arc::new(Crew::default());
        // Dropped last, also by unwinding: nobody uses what is lent here after that.
        let threads = Threads {
            crew: Arc::clone(&crew),
            handles: Mutex::default(),
        };
        for index in 1..n {
            let lent = Lent::new(self, body);
            let own = Arc::clone(&crew);
            let held_back = move || {
                let report = Report::new(&own, index);
                // A worker that runs waits for its siblings, and there is no way back.
                if own.all_have_started() && lent.work_as(WorkerId(index)) == AfterWork::Keep {
                    report.keep();
                    keep::this_thread();
                }
            };
            let thread = thread::Builder::new().name(format!("fiber-worker-{index}"));
            crew.begin();
            match thread.spawn(held_back) {
                Ok(handle) => threads.push(index, handle),
                Err(error) => {
                    crew.ended(index, AfterWork::Free);
                    crew.open_gate(false);
                    return Err(EnvError::new(
                        "starting a worker's thread",
                        Errno::from(&error).0,
                        "raise the limit of threads (`ulimit -u`, the control group's pids.max) \
                         or of memory, or run fewer workers",
                    ));
                }
            }
        }
        crew.open_gate(true);
        if n > 0 && self.work_as(WorkerId(0), body) == AfterWork::Keep {
            keep::at_the_end_of_this_thread();
        }
        drop(threads);
        Ok(())
    }

    /// What affinity and control groups leave of the machine.
    fn parallelism(&self) -> u16 {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        u16::try_from(cpus).unwrap_or(u16::MAX)
    }
}

impl Linux {
    fn work_as(
        &self,
        worker: WorkerId,
        body: &(dyn Fn(WorkerId) -> AfterWork + Sync),
    ) -> AfterWork {
        let _stack = SignalStack::install();
        let _confined = match self.affinity {
            Affinity::Inherit => None,
            Affinity::OnePerProcessor => Confined::to_one(worker),
        };
        body(worker)
    }
}

/// What the caller of `run` lends to the threads, until the last of them has reported.
#[derive(Clone, Copy)]
struct Lent {
    linux: *const Linux,
    body: *const (dyn Fn(WorkerId) -> AfterWork + Sync),
}

// SAFETY: both are `Sync`; that they are there is what `Threads` waits for (I-3).
unsafe impl Send for Lent {}

impl Lent {
    fn new(linux: &Linux, body: &(dyn Fn(WorkerId) -> AfterWork + Sync)) -> Self {
        let body: *const (dyn Fn(WorkerId) -> AfterWork + Sync + '_) = body;
        Self {
            linux: ptr::from_ref(linux),
            // SAFETY: only the lifetime changes, which `Threads` stands for (I-3).
            body: unsafe {
                mem::transmute::<
                    *const (dyn Fn(WorkerId) -> AfterWork + Sync + '_),
                    *const (dyn Fn(WorkerId) -> AfterWork + Sync + 'static),
                >(body)
            },
        }
    }

    fn work_as(self, worker: WorkerId) -> AfterWork {
        // SAFETY: this thread has not reported, so the caller of `run` waits (I-3).
        let linux = unsafe { &*self.linux };
        // SAFETY: as above (I-3).
        linux.work_as(worker, unsafe { &*self.body })
    }
}

/// The threads of one run, as they report.
#[derive(Default)]
struct Crew {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether all have started, once that is known.
    gate: Option<bool>,
    /// Threads that have not reported.
    at_work: usize,
    kept: Vec<u16>,
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.lock().at_work += 1;
    }

    fn open_gate(&self, all_have_started: bool) {
        self.lock().gate = Some(all_have_started);
        self.changed.notify_all();
    }

    fn all_have_started(&self) -> bool {
        let state = self.changed.wait_while(self.lock(), |it| it.gate.is_none());
        state.unwrap_or_else(PoisonError::into_inner).gate == Some(true)
    }

    fn ended(&self, index: u16, after: AfterWork) {
        let mut state = self.lock();
        state.at_work -= 1;
        if after == AfterWork::Keep {
            state.kept.push(index);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until all have reported; gives those that do not end.
    fn join(&self) -> Vec<u16> {
        let state = self.changed.wait_while(self.lock(), |it| it.at_work > 0);
        mem::take(&mut state.unwrap_or_else(PoisonError::into_inner).kept)
    }
}

/// A thread's report that it has left what it was lent; made by dropping it.
struct Report<'crew> {
    crew: &'crew Crew,
    index: u16,
    after: AfterWork,
}

impl<'crew> Report<'crew> {
    const fn new(crew: &'crew Crew, index: u16) -> Self {
        Self {
            crew,
            index,
            after: AfterWork::Free,
        }
    }

    fn keep(mut self) {
        self.after = AfterWork::Keep;
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        self.crew.ended(self.index, self.after);
    }
}

/// The threads of one run; dropped, they have ended, or will never.
struct Threads {
    crew: Arc<Crew>,
    handles: Mutex<Vec<(u16, JoinHandle<()>)>>,
}

impl Threads {
    fn push(&self, index: u16, handle: JoinHandle<()>) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.push((index, handle));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Nobody is let past it that waits there still, when this comes of unwinding.
        if self.crew.lock().gate.is_none() {
            self.crew.open_gate(false);
        }
        let kept = self.crew.join();
        let handles = self
            .handles
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for (index, handle) in handles.drain(..) {
            if kept.contains(&index) {
                continue;
            }
            if let Err(payload) = handle.join()
                && !thread::panicking()
            {
                resume_unwind(payload);
            }
        }
    }
}

/// The calling thread runs on one processor; dropped, on those that it had before.
struct Confined(Processors);

impl Confined {
    fn to_one(worker: WorkerId) -> Option<Self> {
        let before = Processors::of_this_thread();
        let confined = before.and_then(|before| match before.only(worker.index()) {
            Some(one) => one.confine_this_thread().map(|()| Some(Self(before))),
            None => Ok(None),
        });
        confined.unwrap_or_else(|error| {
            tracing::warn!(
                target: "host_linux", worker = worker.0, error = error.0,
                "a worker could not be confined to one processor: it runs where the system likes",
            );
            None
        })
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // It worked before, and if it does not any more the thread stays where it is.
        let _ = self.0.confine_this_thread();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_worker_runs_once_on_a_thread_of_its_own() {
        let linux = Linux::new(Config::default()).unwrap();
        let seen = Mutex::new(HashMap::new());
        linux
            .run(3, &|worker| {
                let before = seen.lock().unwrap().insert(worker, thread::current().id());
                assert_eq!(before, None, "each index once");
                AfterWork::Free
            })
            .unwrap();
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen[&WorkerId(0)], thread::current().id());
        assert_ne!(seen[&WorkerId(1)], seen[&WorkerId(2)]);
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn confined_workers_have_a_processor_each_and_their_thread_gets_its_own_back() {
        let numbers = || -> Vec<_> {
            let processors = Processors::of_this_thread().unwrap();
            processors.numbers().collect()
        };
        let before = numbers();
        let linux = Linux::new(Config::default().affinity(Affinity::OnePerProcessor)).unwrap();
        let seen = Mutex::new(Vec::new());
        linux
            .run(2, &|worker| {
                seen.lock().unwrap().push((worker, numbers()));
                AfterWork::Free
            })
            .unwrap();
        assert_eq!(numbers(), before);
        for (worker, processors) in seen.into_inner().unwrap() {
            let own = before[worker.index() % before.len()];
            assert_eq!(processors, [own]);
        }
    }

    #[test]
    fn a_process_that_may_use_one_processor_gets_one_worker_by_default() {
        let before = Processors::of_this_thread().unwrap();
        before.only(0).unwrap().confine_this_thread().unwrap();
        let linux = Linux::new(Config::default()).unwrap();
        assert_eq!(linux.parallelism(), 1);
        before.confine_this_thread().unwrap();
    }
}

//! One operating-system thread for each worker.

use std::{sync::OnceLock, thread};

use fiber_core::env::{EnvError, WorkerId, Workers};

use crate::{
    config::Affinity, errno::Errno, linux::Linux, overflow::SignalStack, sys::affinity::Processors,
};

impl Workers for Linux {
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) + Sync)) -> Result<(), EnvError> {
        // Whether all threads have started, once that is known: a worker that runs waits for its
        // siblings, and there is no way back.
        let gate = OnceLock::new();
        thread::scope(|scope| {
            for index in 1..n {
                let gate = &gate;
                let held_back = move || {
                    if *gate.wait() {
                        self.work_as(WorkerId(index), body);
                    }
                };
                let thread = thread::Builder::new().name(format!("fiber-worker-{index}"));
                if let Err(error) = thread.spawn_scoped(scope, held_back) {
                    let _ = gate.set(false);
                    return Err(EnvError::new(
                        "starting a worker's thread",
                        Errno::from(&error).0,
                        "raise the limit of threads (`ulimit -u`, the control group's pids.max) \
                         or of memory, or run fewer workers",
                    ));
                }
            }
            let _ = gate.set(true);
            if n > 0 {
                self.work_as(WorkerId(0), body);
            }
            Ok(())
        })
    }

    /// What affinity and control groups leave of the machine.
    fn parallelism(&self) -> u16 {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        u16::try_from(cpus).unwrap_or(u16::MAX)
    }
}

impl Linux {
    fn work_as(&self, worker: WorkerId, body: &(dyn Fn(WorkerId) + Sync)) {
        let _stack = SignalStack::install();
        let _confined = match self.affinity {
            Affinity::Inherit => None,
            Affinity::OnePerProcessor => Confined::to_one(worker),
        };
        body(worker);
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
            .run(2, &|worker| seen.lock().unwrap().push((worker, numbers())))
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

//! One operating-system thread for each worker.

use std::{sync::OnceLock, thread};

use fiber_core::env::{EnvError, WorkerId, Workers};

use crate::{errno::Errno, linux::Linux, overflow::SignalStack};

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
                        work_as(WorkerId(index), body);
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
                work_as(WorkerId(0), body);
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

fn work_as(worker: WorkerId, body: &(dyn Fn(WorkerId) + Sync)) {
    let _stack = SignalStack::install();
    body(worker);
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
}

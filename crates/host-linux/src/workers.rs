//! One operating-system thread for each worker.

use std::thread;

use fiber_core::env::{WorkerId, Workers};

use crate::{linux::Linux, overflow::SignalStack, sys::process};

impl Workers for Linux {
    fn run(&self, n: u16, body: &(dyn Fn(WorkerId) + Sync)) {
        thread::scope(|scope| {
            for index in 1..n {
                let work = move || work_as(WorkerId(index), body);
                let name = format!("fiber-worker-{index}");
                let started = thread::Builder::new().name(name).spawn_scoped(scope, work);
                if let Err(error) = started {
                    // Workers that run already wait for their siblings, so there is no way back.
                    let text = format!(
                        "cannot start worker {index} of {n}: {error}; \
                         raise the limit of threads or run fewer workers\n"
                    );
                    process::complain(text.as_bytes());
                    process::abort();
                }
            }
            if n > 0 {
                work_as(WorkerId(0), body);
            }
        });
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
        linux.run(3, &|worker| {
            let before = seen.lock().unwrap().insert(worker, thread::current().id());
            assert_eq!(before, None, "each index once");
        });
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen[&WorkerId(0)], thread::current().id());
        assert_ne!(seen[&WorkerId(1)], seen[&WorkerId(2)]);
        assert_eq!(seen.len(), 3);
    }
}

//! Knowing that somebody waits.

use core::time::Duration;

use fiber::{DumpOptions, FiberState, JoinHandle, Runtime, sleep};

/// Returns once the fiber waits, wherever it runs: its place in a queue is taken then.
pub(crate) fn until_it_waits<T>(fiber: &JoinHandle<T>) {
    let id = fiber.fiber().id().unwrap();
    let options = DumpOptions::default().frames_max(0);
    loop {
        let dump = Runtime::current().unwrap().dump_with(&options);
        let mut fibers = dump.workers.iter().flat_map(|worker| &worker.fibers);
        if fibers.any(|it| it.id == Some(id) && it.state == FiberState::Parked) {
            return;
        }
        sleep(Duration::from_millis(1));
    }
}

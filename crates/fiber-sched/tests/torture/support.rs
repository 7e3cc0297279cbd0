//! What the tests count with.

use alloc::sync::Arc;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fiber_core::script::ScriptEnv;
use fiber_sched::Runtime;

pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) fn run<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    Runtime::builder(ScriptEnv::new())
        .workers(1)
        .closed_world()
        .run(main)
        .expect("the run succeeds")
}

/// Counts what was made and what was dropped.
#[derive(Clone, Default)]
pub(crate) struct Ledger(pub(crate) Arc<(AtomicUsize, AtomicUsize)>);

impl Ledger {
    pub(crate) fn entry(&self) -> Entry {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Entry(self.clone())
    }

    pub(crate) fn assert_balanced(&self, made: usize) {
        let (have, dropped) = (&self.0.0, &self.0.1);
        assert_eq!(have.load(Ordering::SeqCst), made);
        assert_eq!(dropped.load(Ordering::SeqCst), made);
    }
}

pub(crate) struct Entry(Ledger);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.0.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// Does something when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

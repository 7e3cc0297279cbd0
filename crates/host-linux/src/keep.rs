//! Threads that must not end, since fibers were abandoned on them.
//!
//! Such a fiber may have been inside of `LocalKey::with`, and a thread of a `std::thread::scope`
//! may go on with what it has borrowed there. So the destructors of the thread's values must not
//! run, nor may its memory go (I-3). A worker's own thread parks for ever.
//!
//! The thread that has called `run` goes on. When it ends, a value of ours is dropped first, since
//! it is the newest of those that the run can have made, and the thread parks there: whoever joins
//! it waits for ever. So have `run` called by the program's first thread, whose end is that of the
//! process, or by one that nobody joins. The first thread is let go: its destructors run at the
//! very end of the process, as those of any program whose other threads still run.

use core::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering},
};
use std::thread;

use crate::sys;

/// How many threads were kept so far.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Parks the calling thread for ever.
pub(crate) fn this_thread() -> ! {
    let kept = KEPT.fetch_add(1, Ordering::Relaxed) + 1;
    let current = thread::current();
    tracing::error!(
        target: "host_linux", thread = current.name().unwrap_or("without a name"), kept,
        "fibers were abandoned on this thread: it is kept, and never ends"
    );
    loop {
        thread::park();
    }
}

/// Has the calling thread park for ever when it is about to end.
pub(crate) fn at_the_end_of_this_thread() {
    LAST.with(|last| {
        last.borrow_mut().get_or_insert(Last);
    });
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        if !sys::thread::is_first() {
            this_thread();
        }
    }
}

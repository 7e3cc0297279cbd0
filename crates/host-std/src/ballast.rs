//! One ballast: a coroutine that is idle, or has raised what it catches when it goes on.

use alloc::boxed::Box;
use core::{mem::ManuallyDrop, panic::AssertUnwindSafe};
use std::panic::{catch_unwind, resume_unwind};

use corosensei::{Coroutine, Yielder};

use crate::memory::Memory;

/// What a ballast is told when it goes on.
enum Go {
    Round,
    Home,
}

type Switch = Yielder<Go, ()>;

/// A ballast that has raised nothing.
pub(crate) struct Idle(Ballast);

/// One that has raised: the right to take one off the count of a thread, of any.
pub(crate) struct Raised(Ballast);

/// Forgotten, it is leaked: its stack stays in use.
struct Ballast(ManuallyDrop<Coroutine<Go, (), (), Memory>>);

// SAFETY: its stack holds frames of this file and of std alone. No value there is bound to a
// thread, and no frame keeps the address of a thread-local over a stop: the count goes up in a call
// that never returns, and down after the stop (unlike a fiber, whose frames are the user's, I-11).
unsafe impl Send for Ballast {}

impl Idle {
    pub(crate) fn new() -> Self {
        let coroutine = Coroutine::with_stack(Memory::new(), rounds);
        Self(Ballast(ManuallyDrop::new(coroutine)))
    }

    /// From here on the calling thread counts one panic more.
    pub(crate) fn raise(mut self) -> Raised {
        self.0.0.resume(Go::Round);
        Raised(self.0)
    }

    /// Its memory, for the self-test to look at.
    pub(crate) fn end(mut self) -> Memory {
        self.0.0.resume(Go::Home);
        ManuallyDrop::into_inner(self.0.0).into_stack()
    }
}

impl Raised {
    /// From here on the calling thread counts one panic less; it counted at least one.
    pub(crate) fn catch(mut self) -> Idle {
        self.0.0.resume(Go::Round);
        Idle(self.0)
    }
}

fn rounds(switch: &Switch, mut go: Go) {
    while let Go::Round = go {
        // Nothing unwinds out of a coroutine (I-9).
        let caught: Result<(), _> = catch_unwind(AssertUnwindSafe(|| raise(switch)));
        drop(caught);
        go = switch.suspend(());
    }
}

/// Never inlined: the count's address must not be known to a frame that stops.
#[inline(never)]
fn raise(switch: &Switch) -> ! {
    let _stop = Stop(switch);
    resume_unwind(Box::new(()))
}

/// Stops as it is dropped, that is, while its coroutine unwinds.
struct Stop<'switch>(&'switch Switch);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.suspend(());
    }
}

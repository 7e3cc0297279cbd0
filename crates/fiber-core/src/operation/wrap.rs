//! What is done with the outcome of an operation.

use core::pin::Pin;

use pin_project_lite::pin_project;

use super::{Deadlock, How, Operation, Published, Waits, cell::WaitCell, choice::Winner};
use crate::{env::Instant, park::mask};

pin_project! {
    /// An operation whose value goes through a function; see [`Operation::wrap`].
    #[derive(Debug)]
    pub struct Wrap<O, F> {
        #[pin]
        operation: O,
        then: Option<F>,
    }
}

impl<O, F> Wrap<O, F> {
    pub(super) const fn new(operation: O, then: F) -> Self {
        Self {
            operation,
            then: Some(then),
        }
    }
}

const ONCE: &str = "an operation is finished once";

/// The methods of [`Operation`] that a wrapper of one operation passes on as they are.
macro_rules! pass_on {
    () => {
        fn name(&self) -> &'static str {
            self.operation.name()
        }

        fn depth(&self) -> usize {
            self.operation.depth()
        }

        #[inline]
        fn arms(&self) -> u16 {
            self.operation.arms()
        }

        fn due(&self, now: &dyn Fn() -> Instant) -> Option<(Instant, u16)> {
            self.operation.due(now)
        }

        fn waits(&self) -> Option<Waits<'_>> {
            self.operation.waits()
        }

        fn is_simple(&self) -> bool {
            self.operation.is_simple()
        }

        #[inline]
        fn try_now(&mut self) -> Option<u16> {
            self.operation.try_now()
        }

        #[inline]
        fn try_arm(&mut self, arm: u16) -> bool {
            self.operation.try_arm(arm)
        }

        unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
            // SAFETY: the caller's promise, and the part is pinned with the whole (I-12).
            unsafe { self.project().operation.publish(cell, base) }
        }

        fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
            self.project().operation.look_again(cell, base)
        }

        fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
            self.project().operation.retract(winner);
        }
    };
}

// SAFETY: its nodes are those of the operation in it, which keeps the promises (I-2, I-12).
unsafe impl<O: Operation, F: FnOnce(O::Output) -> T, T> Operation for Wrap<O, F> {
    type Output = T;

    pass_on!();

    fn prepare(&mut self, how: How) {
        self.operation.prepare(how);
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> T {
        let this = self.project();
        // SAFETY: the caller's promise (I-12).
        let value = unsafe { this.operation.finish(arm) };
        this.then.take().expect(ONCE)(value)
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> T {
        let this = self.project();
        let value = this.operation.refuse(deadlock);
        this.then.take().expect(ONCE)(value)
    }

    fn lose(self: Pin<&mut Self>) {
        self.project().operation.lose();
    }
}

pin_project! {
    /// An operation that does something when it is not chosen; see [`Operation::wrap_abort`].
    #[derive(Debug)]
    pub struct WrapAbort<O, F: FnOnce()> {
        #[pin]
        operation: O,
        abort: Option<F>,
        tried: bool,
    }

    impl<O, F: FnOnce()> PinnedDrop for WrapAbort<O, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if *this.tried {
                run(this.abort);
            }
        }
    }
}

impl<O, F: FnOnce()> WrapAbort<O, F> {
    pub(super) const fn new(operation: O, abort: F) -> Self {
        Self {
            operation,
            abort: Some(abort),
            tried: false,
        }
    }
}

/// Masked: it puts something right.
fn run(abort: &mut Option<impl FnOnce()>) {
    if let Some(abort) = abort.take() {
        mask(abort);
    }
}

// SAFETY: its nodes are those of the operation in it, which keeps the promises (I-2, I-12).
unsafe impl<O: Operation, F: FnOnce()> Operation for WrapAbort<O, F> {
    type Output = O::Output;

    pass_on!();

    fn prepare(&mut self, how: How) {
        self.tried = true;
        self.operation.prepare(how);
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> O::Output {
        let this = self.project();
        // SAFETY: the caller's promise (I-12).
        let winner = unsafe { Winner::new(this.operation, arm) };
        // What the function has captured may unwind as it is dropped.
        drop(this.abort.take());
        winner.finish()
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> O::Output {
        let this = self.project();
        run(this.abort);
        this.operation.refuse(deadlock)
    }

    fn lose(self: Pin<&mut Self>) {
        let this = self.project();
        run(this.abort);
        this.operation.lose();
    }
}

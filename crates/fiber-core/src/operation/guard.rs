//! Operations that are made when they are performed.

use alloc::sync::Arc;
use core::{fmt, pin::Pin};

use pin_project_lite::pin_project;

use super::{
    Deadlock, How, Latch, LatchOperation, Operation, Published, Waits, cell::WaitCell, perform,
};
use crate::env::Instant;

/// An operation that `make` makes whenever it is performed: as late as possible, before any arm of
/// the same choice is tried. It runs on the performer and may wait.
///
/// ```
/// use fiber_core::operation::{Operation, always, guard};
///
/// let mut asked = 0;
/// let operation = guard(|| {
///     asked += 1;
///     always("made")
/// });
/// assert_eq!(operation.perform(), "made");
/// assert_eq!(asked, 1);
/// ```
pub fn guard<O: Operation>(make: impl FnOnce() -> O) -> Guard<impl FnOnce(How) -> O, O> {
    guard_with(|_| make())
}

/// [`guard`] whose function knows whether its performer will wait or only tries.
pub const fn guard_with<O: Operation, F: FnOnce(How) -> O>(make: F) -> Guard<F, O> {
    Guard {
        make: Some(make),
        operation: None,
    }
}

pin_project! {
    /// An operation that is made when it is performed; see [`guard()`].
    #[derive(Debug)]
    pub struct Guard<F, O> {
        make: Option<F>,
        #[pin]
        operation: Option<O>,
    }
}

const PREPARED: &str = "an operation is prepared before it is tried";

/// The methods of [`Operation`] that a maker of one operation passes on to it.
macro_rules! pass_on {
    () => {
        fn name(&self) -> &'static str {
            self.operation
                .as_ref()
                .map_or("a guard", |operation| operation.name())
        }

        fn depth(&self) -> usize {
            self.operation
                .as_ref()
                .map_or(0, |operation| operation.depth())
        }

        #[inline]
        fn arms(&self) -> u16 {
            self.operation
                .as_ref()
                .map_or(1, |operation| operation.arms())
        }

        fn due(&self, now: &dyn Fn() -> Instant) -> Option<(Instant, u16)> {
            self.operation.as_ref()?.due(now)
        }

        fn waits(&self) -> Option<Waits<'_>> {
            self.operation.as_ref()?.waits()
        }

        #[inline]
        fn try_now(&mut self) -> Option<u16> {
            self.operation.as_mut().expect(PREPARED).try_now()
        }

        #[inline]
        fn try_arm(&mut self, arm: u16) -> bool {
            self.operation.as_mut().expect(PREPARED).try_arm(arm)
        }

        unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
            let operation = self.project().operation.as_pin_mut().expect(PREPARED);
            // SAFETY: the caller's promise, and the part is pinned with the whole (I-12).
            unsafe { operation.publish(cell, base) }
        }

        fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
            let operation = self.project().operation.as_pin_mut().expect(PREPARED);
            operation.look_again(cell, base)
        }

        fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
            if let Some(operation) = self.project().operation.as_pin_mut() {
                operation.retract(winner);
            }
        }
    };
}

// SAFETY: its nodes are those of the operation in it, which keeps the promises (I-2, I-12).
unsafe impl<F: FnOnce(How) -> O, O: Operation> Operation for Guard<F, O> {
    type Output = O::Output;

    pass_on!();

    fn prepare(&mut self, how: How) {
        if let Some(make) = self.make.take() {
            self.operation = Some(make(how));
        }
        if let Some(operation) = &mut self.operation {
            operation.prepare(how);
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> O::Output {
        let operation = self.project().operation.as_pin_mut().expect(PREPARED);
        // SAFETY: the caller's promise (I-12).
        unsafe { operation.finish(arm) }
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> O::Output {
        let operation = self.project().operation.as_pin_mut().expect(PREPARED);
        operation.refuse(deadlock)
    }

    fn lose(self: Pin<&mut Self>) {
        if let Some(operation) = self.project().operation.as_pin_mut() {
            operation.lose();
        }
    }
}

/// [`guard()`] whose function gets a [`Nack`], which tells others if nothing of what it makes was
/// chosen: because another arm was, nobody waited any longer, or the performer unwound.
///
/// Allocates the nack.
pub const fn with_nack<O: Operation, F: FnOnce(Nack) -> O>(make: F) -> WithNack<F, O> {
    WithNack {
        make: Some(make),
        operation: None,
        nack: None,
    }
}

/// Says that an operation was not chosen. It never does if it was.
///
/// Cheap to clone, and waited for on any fiber or thread.
#[derive(Clone)]
pub struct Nack(Arc<Latch>);

impl Nack {
    /// A nack, and what makes it ready when it is dropped.
    pub(super) fn new() -> (Self, NotChosen) {
        let latch = Arc::new(Latch::new());
        (Self(Arc::clone(&latch)), NotChosen(Some(latch)))
    }

    /// Whether the operation was not chosen. `false` also while that is open.
    pub fn is_ready(&self) -> bool {
        self.0.is_open()
    }

    /// Waits until the operation was not chosen: for ever if it is chosen.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here.
    pub fn wait(&self) {
        perform(self.wait_operation());
    }

    /// [`Nack::wait`], as an operation.
    pub fn wait_operation(&self) -> LatchOperation<'_> {
        self.0.wait_operation("a nack")
    }
}

impl fmt::Debug for Nack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nack")
            .field("is_ready", &self.is_ready())
            .finish()
    }
}

/// Makes a nack ready, unless it is told otherwise.
#[derive(Debug)]
pub(super) struct NotChosen(Option<Arc<Latch>>);

impl NotChosen {
    /// It was chosen: the nack is never ready.
    pub(super) fn chosen(mut self) {
        self.0 = None;
    }
}

impl Drop for NotChosen {
    fn drop(&mut self) {
        if let Some(latch) = &self.0 {
            latch.open();
        }
    }
}

pin_project! {
    /// An operation that is made with a nack; see [`with_nack`].
    #[derive(Debug)]
    pub struct WithNack<F, O> {
        make: Option<F>,
        #[pin]
        operation: Option<O>,
        // Makes the nack ready when this is dropped.
        nack: Option<NotChosen>,
    }
}

// SAFETY: its nodes are those of the operation in it, which keeps the promises (I-2, I-12).
unsafe impl<F: FnOnce(Nack) -> O, O: Operation> Operation for WithNack<F, O> {
    type Output = O::Output;

    pass_on!();

    fn prepare(&mut self, how: How) {
        if let Some(make) = self.make.take() {
            let (nack, not_chosen) = Nack::new();
            // Before the function runs: if it unwinds, the nack is ready.
            self.nack = Some(not_chosen);
            self.operation = Some(make(nack));
        }
        if let Some(operation) = &mut self.operation {
            operation.prepare(how);
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> O::Output {
        let this = self.project();
        if let Some(not_chosen) = this.nack.take() {
            not_chosen.chosen();
        }
        let operation = this.operation.as_pin_mut().expect(PREPARED);
        // SAFETY: the caller's promise (I-12).
        unsafe { operation.finish(arm) }
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> O::Output {
        let this = self.project();
        drop(this.nack.take());
        let operation = this.operation.as_pin_mut().expect(PREPARED);
        operation.refuse(deadlock)
    }

    fn lose(self: Pin<&mut Self>) {
        let this = self.project();
        drop(this.nack.take());
        if let Some(operation) = this.operation.as_pin_mut() {
            operation.lose();
        }
    }
}

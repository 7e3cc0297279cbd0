//! The fibers of a scope: spawning, failing, joining, waiting for all.

use alloc::vec::Vec;
use core::{fmt, mem, panic::Location, time::Duration};

use fiber_core::{
    cancel::cancel_reason,
    context::Placement,
    fiber::{ExitReason, Fiber, JoinHandle, PanicPayload, Reason},
    operation::{Operation, perform, perform_or_interrupt, perform_until, try_perform},
    park::{current, shield},
    stop::{Caught, catch},
    timeout::Elapsed,
};

use super::{
    OnCancel, OnFailure, Parts,
    panics::{Origin, ScopePanic},
    run::Closed,
};
use crate::{error::SpawnError, spawn::Builder};

const FAILED: Reason = Reason::new("another fiber of its scope, or the body, has panicked");
const LEFT: Reason = Reason::new("the body of its scope was left");

/// What a scope knows of its fibers.
pub(super) struct Children {
    running: Vec<Fiber>,
    /// At how many to look for those that have ended, so that the list stays as long as twice the
    /// number of those that run.
    prune_at: usize,
    /// Why, once the scope was cancelled.
    cancelled: Option<Reason>,
    /// Panics of which nobody was told yet.
    panics: Vec<ScopePanic>,
}

impl Children {
    pub(super) const fn new() -> Self {
        Self {
            running: Vec::new(),
            prune_at: 32,
            cancelled: None,
            panics: Vec::new(),
        }
    }

    pub(super) fn add_panic(&mut self, origin: Origin, payload: PanicPayload) {
        self.panics.push(ScopePanic { origin, payload });
    }

    pub(super) fn take_panics(&mut self) -> Vec<ScopePanic> {
        mem::take(&mut self.panics)
    }

    fn add(&mut self, child: Fiber) {
        if self.running.len() >= self.prune_at {
            self.running.retain(|child| !child.is_finished());
            self.prune_at = (self.running.len() * 2).max(32);
        }
        self.running.push(child);
    }

    fn forget(&mut self, child: &Fiber) {
        if let Some(index) = self.running.iter().rposition(|other| other == child) {
            self.running.swap_remove(index);
        }
    }

    fn panic_of(&self, child: &Fiber) -> Option<usize> {
        let is_its = |panic: &ScopePanic| panic.fiber() == Some(child);
        self.panics.iter().position(is_its)
    }
}

impl<'scope> Parts<'scope> {
    #[track_caller]
    pub(super) fn spawn<F, T>(
        &'scope self,
        builder: Builder,
        body: F,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY: the closure and its value may move between threads (I-11).
        unsafe { self.launch(builder, body, Placement::Anywhere, Location::caller()) }
    }

    #[track_caller]
    pub(super) fn spawn_local<F, T>(
        &'scope self,
        builder: Builder,
        body: F,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        // SAFETY: `Here` keeps the closure and its value on this thread (I-11).
        unsafe { self.launch(builder, body, Placement::Here, Location::caller()) }
    }

    /// # Safety
    /// What is not `Send` is placed [`Placement::Here`].
    unsafe fn launch<F, T>(
        &'scope self,
        builder: Builder,
        body: F,
        placement: Placement,
        at: &'static Location<'static>,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let body = move || match catch(None, body) {
            Ok(value) => Some(value),
            Err(Caught::Panicked(payload)) => {
                self.child_panicked(payload);
                None
            }
            Err(other) => other.throw_on(),
        };
        let cancelled = self.children.lock().cancelled.clone();
        let handle = if let Some(reason) = cancelled {
            // SAFETY: it is dropped here and now (I-3, I-11).
            unsafe { builder.never_started(body, reason, at) }?
        } else {
            // SAFETY: the caller has seen to the thread, and the scope's frame is not left before
            // the fiber has ended: `close` runs whether the body returns or unwinds (I-3).
            let handle = unsafe { builder.borrowing().launch(body, placement, at) }?;
            let mut children = self.children.lock();
            children.add(handle.fiber().clone());
            let cancelled = children.cancelled.clone();
            drop(children);
            if let Some(reason) = cancelled {
                // Between the look above and now.
                handle.cancel_with(reason);
            }
            handle
        };
        Ok(ScopedJoinHandle {
            fiber: handle.fiber().clone(),
            handle: Some(handle),
            scope: self,
        })
    }

    /// On the child that has panicked.
    fn child_panicked(&self, payload: PanicPayload) {
        let child = current().expect("children are fibers");
        let mut children = self.children.lock();
        // Whoever drops the handle detaches first, and looks for the panic then: one of the two
        // sees the other.
        let nobody_joins = child.is_detached();
        children.add_panic(Origin::Child(child), payload);
        drop(children);
        if nobody_joins {
            self.fail();
        }
    }

    /// The panic of `child`, for whoever joins it.
    fn tell_panic(&self, child: &Fiber) -> PanicPayload {
        let mut children = self.children.lock();
        let index = children.panic_of(child);
        let index = index.expect("the scope keeps a panic for whoever joins");
        children.panics.remove(index).payload
    }

    /// Something has panicked of which nobody else is told.
    pub(super) fn fail(&self) {
        if let OnFailure::CancelAll = self.settings.on_failure {
            self.cancel_children(FAILED);
            self.stop.stop();
        }
    }

    pub(super) fn cancel(&self, reason: Reason) {
        self.cancel_children(reason);
        if let OnCancel::BodyUnwinds = self.settings.on_cancel {
            self.stop.stop();
        }
    }

    /// The caller is asked to unwind, and so are they: for its reason, if it has one.
    pub(super) fn pass_on(&self) {
        self.cancel_children(cancel_reason().unwrap_or(LEFT));
    }

    /// The first reason stays.
    fn cancel_children(&self, reason: Reason) {
        let mut children = self.children.lock();
        children.cancelled.get_or_insert_with(|| reason.clone());
        // Woken outside of the lock.
        let running = children.running.clone();
        drop(children);
        for child in running {
            child.cancel_with(reason.clone());
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.children.lock().cancelled.is_some()
    }

    /// Waits until there are no children. An interrupt of the caller's is passed on to them, once;
    /// from then on it waits masked.
    pub(super) fn wait(&self, mut closed: Closed) -> Closed {
        loop {
            let child = self.children.lock().running.last().cloned();
            let Some(child) = child else { return closed };
            let end = || perform_or_interrupt(child.exit_operation(), None);
            if closed == Closed::Calmly && end().is_err() {
                closed = Closed::Interrupted;
                self.pass_on();
            }
            if closed == Closed::Interrupted {
                shield(end).expect("nothing but the child's end ends it");
            }
            self.children.lock().forget(&child);
        }
    }
}

/// Waits for a scoped fiber's result. Dropping it leaves the waiting to the scope, and makes a
/// panic of the fiber's a failure of the scope.
pub struct ScopedJoinHandle<'scope, T> {
    /// The fiber's own value is `None` when it has panicked. Dropped first.
    handle: Option<JoinHandle<Option<T>>>,
    fiber: Fiber,
    scope: &'scope Parts<'scope>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the fiber's result, see [`JoinHandle::join`].
    ///
    /// # Errors
    /// As [`JoinHandle::join`].
    #[track_caller]
    pub fn join(mut self) -> Result<T, ExitReason> {
        perform(self.join_operation())
    }

    /// [`ScopedJoinHandle::join`] for `span` at the most.
    ///
    /// # Errors
    /// [`Elapsed`] when it has not ended in time: the handle is as good as before. Otherwise as
    /// [`JoinHandle::join`].
    #[track_caller]
    pub fn join_timeout(&mut self, span: Duration) -> Result<Result<T, ExitReason>, Elapsed> {
        perform_until(self.join_operation(), Some(span)).map_err(|_| Elapsed::new())
    }

    /// The fiber's result, if it has ended. Never suspends.
    pub fn try_join(&mut self) -> Option<Result<T, ExitReason>> {
        try_perform(self.join_operation()).ok()
    }

    /// The operation that waits for the fiber's result, see [`JoinHandle::join_operation`].
    #[track_caller]
    #[must_use = "an operation does nothing until it is performed"]
    pub fn join_operation(&mut self) -> impl Operation<Output = Result<T, ExitReason>> {
        let (fiber, scope) = (&self.fiber, self.scope);
        let handle = self
            .handle
            .as_mut()
            .expect("it is there until it is dropped");
        let told = |result| match result {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(ExitReason::Panicked(scope.tell_panic(fiber))),
            Err(reason) => Err(reason),
        };
        handle.join_operation().wrap(told)
    }

    /// Asks the fiber to unwind. Siblings go on.
    pub fn cancel(&self) {
        self.fiber.cancel();
    }

    /// Asks the fiber to unwind, and says why, see [`Fiber::cancel_with`].
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.fiber.cancel_with(reason);
    }

    /// Whether the fiber has ended.
    pub fn is_finished(&self) -> bool {
        self.fiber.is_finished()
    }

    /// The fiber itself.
    pub fn fiber(&self) -> &Fiber {
        &self.fiber
    }
}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        drop(self.handle.take());
        let has_panicked = self.scope.children.lock().panic_of(&self.fiber).is_some();
        if has_panicked {
            self.scope.fail();
        }
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("fiber", &self.fiber)
            .finish_non_exhaustive()
    }
}

//! Structured concurrency: fibers that borrow from the one that spawns them, and never outlive the
//! call.
//!
//! ```text
//! body runs ──▶ children have ended ──▶ handlers, last one first ──▶ value, or unwinding goes on
//!   │ caught when it unwinds, and then (not mid-unwind) the children are cancelled
//! ```
//!
//! Read in this order: `run` (the above), `children` (spawning, joining, waiting), `defer`
//! (handlers), `panics` (what is thrown when something went wrong), `join` (`join!`, `race!`),
//! `root` (handlers of a whole fiber).

mod children;
mod defer;
mod join;
mod panics;
mod root;
mod run;

use core::{fmt, marker::PhantomData, mem::ManuallyDrop, time::Duration};

use fiber_core::{fiber::Reason, spin::SpinLock, stop::Stop};

use self::{children::Children, defer::Defers};
pub use self::{
    children::ScopedJoinHandle,
    defer::DeferHandle,
    join::{__give_up, __keep},
    panics::{MultiPanic, ScopePanic},
    root::defer,
    run::{ScopeBuilder, ScopeCancelled, scope, try_scope},
};
use crate::{error::SpawnError, spawn::Builder};

const CANCELLED: Reason = Reason::new("its scope was cancelled");

/// Where fibers can be spawned that borrow; see [`scope`].
///
/// It can be shared with the children, which may spawn siblings, and cannot be used after its end:
///
/// ```compile_fail
/// let mut escaped = None;
/// fiber_sched::scope(|s| escaped = Some(s));
/// ```
///
/// Nor can a handle:
///
/// ```compile_fail
/// let escaped = fiber_sched::scope(|s| s.spawn(|| 1));
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    parts: Parts<'scope>,
    _env: PhantomData<&'env mut &'env ()>,
}

/// A scope without what it may borrow from.
struct Parts<'scope> {
    stop: Stop,
    settings: Settings,
    children: SpinLock<Children>,
    /// Emptied by the scope's end; by itself it drops nothing, so that what it holds may borrow
    /// from the scope.
    defers: ManuallyDrop<SpinLock<Defers<'scope>>>,
    _scope: PhantomData<&'scope mut &'scope ()>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    on_failure: OnFailure,
    on_cancel: OnCancel,
    cleanup_grace: Duration,
}

/// What a failed child means for its siblings and for the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    CancelAll,
    GoOn,
}

/// What [`Scope::cancel`] means for the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnCancel {
    BodyGoesOn,
    BodyUnwinds,
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a fiber that may borrow what outlives the scope. In a scope that was cancelled it is
    /// not started: its closure is dropped here, and joining it gives `Cancelled`.
    ///
    /// # Panics
    /// Outside of a runtime, and at a limit of the process.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, body: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        expect(Builder::new().spawn_scoped(self, body))
    }

    /// [`Scope::spawn`] on the calling worker: neither the closure nor its value leaves the thread.
    ///
    /// # Panics
    /// Outside of a runtime, and at a limit of the process.
    #[track_caller]
    pub fn spawn_local<F, T>(&'scope self, body: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        expect(Builder::new().spawn_local_scoped(self, body))
    }

    /// Has `handler` run when the scope ends, in whatever way: after the children have ended, on
    /// the fiber of the scope, the last handler first.
    ///
    /// It is masked, so it may do input and output in a fiber that was cancelled; and it is unwound
    /// when it takes longer than [`ScopeBuilder::cleanup_grace`], which is counted in
    /// [`WorkerStats::handlers_overdue`](crate::WorkerStats::handlers_overdue). When it panics the
    /// others run nevertheless, and the scope panics in the end.
    ///
    /// ```
    /// # use std::sync::Mutex;
    /// # let env = fiber_core::script::ScriptEnv::new();
    /// # fiber_sched::Runtime::builder(env).run(|| {
    /// let said = Mutex::new(vec![]);
    /// fiber_sched::scope(|s| {
    ///     s.defer(|| said.lock().unwrap().push("last"));
    ///     s.defer(|| said.lock().unwrap().push("second"));
    ///     said.lock().unwrap().push("first");
    /// });
    /// assert_eq!(said.into_inner().unwrap(), ["first", "second", "last"]);
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn defer<F>(&'scope self, handler: F) -> DeferHandle<'scope>
    where
        F: FnOnce() + Send + 'scope,
    {
        self.parts.defer(handler)
    }

    /// Cancels every fiber of the scope that has not ended; fibers that are spawned from now on are
    /// not started. The body goes on, and owes its value, unless the scope was made by
    /// [`try_scope`], where it unwinds at its next suspension point. Never waits, and is not a
    /// cancellation point.
    pub fn cancel(&self) {
        self.cancel_with(CANCELLED);
    }

    /// [`Scope::cancel`] that says why: the fibers are told, and whoever joins them.
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.parts.cancel(reason.into());
    }

    /// Whether the scope was cancelled: by [`Scope::cancel`], by the failure of one of its fibers,
    /// or because its body was unwound.
    pub fn is_cancelled(&self) -> bool {
        self.parts.is_cancelled()
    }
}

impl Builder {
    /// Starts a fiber of `scope`, see [`Scope::spawn`], with a name, a stack or a priority.
    /// [`Builder::worker`] and [`Builder::dedicated`] are not asked.
    ///
    /// # Errors
    /// Outside of a runtime, and at a limit of the process.
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        body: F,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        scope.parts.spawn(self, body)
    }

    /// Starts a fiber of `scope` on the calling worker, see [`Scope::spawn_local`].
    ///
    /// # Errors
    /// Outside of a runtime, and at a limit of the process.
    #[track_caller]
    pub fn spawn_local_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        body: F,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        scope.parts.spawn_local(self, body)
    }
}

#[track_caller]
fn expect<T>(spawned: Result<T, SpawnError>) -> T {
    match spawned {
        Ok(spawned) => spawned,
        Err(error) => panic!("{error}"),
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

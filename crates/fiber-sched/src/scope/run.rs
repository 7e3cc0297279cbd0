//! A scope from its beginning to its end.

use core::{marker::PhantomData, mem, mem::ManuallyDrop, time::Duration};

use fiber_core::{
    park::{assert_may_suspend, checkpoint},
    spin::SpinLock,
    stop::{Caught, Stop, catch},
};

use super::{OnCancel, OnFailure, Parts, Scope, Settings, children::Children, defer::Defers};

/// Runs `body`, in which fibers can be spawned that borrow locals; returns when all have ended.
///
/// As `std::thread::scope`, but that failures spread: when a fiber of the scope panics and its
/// handle was dropped unjoined, the other fibers and the body are cancelled. When `body` unwinds,
/// the fibers are cancelled and waited for before it goes on unwinding. A fiber that is joined has
/// told its panic to whoever joined it, and the scope goes on.
///
/// # Suspends
/// Until every child has ended, and in handlers, see [`Scope::defer`].
///
/// # Cancellation
/// The call itself is no cancellation point. A cancel that comes while it waits for its children,
/// after the body has returned, cancels them, and unwinds the caller when they have ended and the
/// handlers have run. A scope that need not wait returns its value.
///
/// # Panics
/// With a [`MultiPanic`](super::MultiPanic) when children or handlers have panicked of whose panic
/// nobody was told; with what `body` has panicked with if only that did. Outside of a fiber, and
/// inside of `no_suspend`.
pub fn scope<'env, F, T>(body: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    ScopeBuilder::new().run(body)
}

/// [`scope`] of which [`Scope::cancel`] unwinds the body, too.
///
/// ```
/// # use core::time::Duration;
/// # use fiber_sched::{sleep, try_scope};
/// # let env = fiber_core::script::ScriptEnv::new();
/// # fiber_sched::Runtime::builder(env).run(|| {
/// let served = try_scope(|s| {
///     s.spawn(|| {
///         sleep(Duration::from_secs(1)); // or wait for a signal
///         s.cancel();
///     });
///     loop {
///         sleep(Duration::from_millis(10)); // or accept connections
///     }
/// });
/// assert!(served.is_err());
/// # }).unwrap();
/// ```
///
/// # Errors
/// When the body was unwound because the scope was cancelled. A body that returns has returned.
///
/// # Panics
/// As [`scope`].
pub fn try_scope<'env, F, T>(body: F) -> Result<T, ScopeCancelled>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    ScopeBuilder::new().try_run(body)
}

/// The scope was cancelled before its body had returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scope was cancelled before its body had returned")]
#[non_exhaustive]
pub struct ScopeCancelled;

/// How a scope treats failures and handlers.
#[derive(Clone, Debug)]
#[must_use = "a scope begins when `run` is called"]
pub struct ScopeBuilder {
    on_failure: OnFailure,
    cleanup_grace: Duration,
}

impl ScopeBuilder {
    /// The first failure cancels the others; 5 seconds for a handler.
    pub const fn new() -> Self {
        Self {
            on_failure: OnFailure::CancelAll,
            cleanup_grace: Duration::from_secs(5),
        }
    }

    /// A fiber or a body that panics does not cancel the others: the scope panics when all have
    /// ended.
    pub const fn keep_going(mut self) -> Self {
        self.on_failure = OnFailure::GoOn;
        self
    }

    /// How long each handler may take, see [`Scope::defer`].
    pub const fn cleanup_grace(mut self, grace: Duration) -> Self {
        self.cleanup_grace = grace;
        self
    }

    /// As [`scope`].
    ///
    /// # Panics
    /// As [`scope`].
    pub fn run<'env, F, T>(self, body: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        match self.enter(OnCancel::BodyGoesOn, body) {
            Ok(value) => value,
            Err(_) => unreachable!("only failures stop this body, and those panic"),
        }
    }

    /// As [`try_scope`].
    ///
    /// # Errors
    /// As [`try_scope`].
    ///
    /// # Panics
    /// As [`scope`].
    pub fn try_run<'env, F, T>(self, body: F) -> Result<T, ScopeCancelled>
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        self.enter(OnCancel::BodyUnwinds, body)
    }

    fn enter<'env, F, T>(self, on_cancel: OnCancel, body: F) -> Result<T, ScopeCancelled>
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        assert_may_suspend("scope");
        let scope = Scope {
            parts: Parts {
                stop: Stop::new(),
                settings: Settings {
                    on_failure: self.on_failure,
                    on_cancel,
                    cleanup_grace: self.cleanup_grace,
                },
                children: SpinLock::new(Children::new()),
                defers: ManuallyDrop::new(SpinLock::new(Defers::new())),
                _scope: PhantomData,
            },
            _env: PhantomData,
        };
        let children_borrow = ChildrenBorrow;
        // The scope lies in this frame, which waits for its children whatever the body does.
        let ended = catch(Some(&scope.parts.stop), || body(&scope));
        let closed = scope.parts.close(&ended);
        mem::forget(children_borrow);
        match scope.parts.throw_panics(ended) {
            Ok(value) => {
                if let Closed::Interrupted = closed {
                    checkpoint();
                }
                Ok(value)
            }
            Err(Caught::Stopped) => Err(ScopeCancelled),
            Err(other) => other.throw_on(),
        }
    }
}

impl Default for ScopeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Children may borrow from the caller's frames, which must not be left before they have ended:
/// whatever else would unwind through the scope ends the program (I-3).
struct ChildrenBorrow;

impl Drop for ChildrenBorrow {
    fn drop(&mut self) {
        // Dropped by unwinding only, where a second panic aborts.
        panic!("a scope was left before its fibers had ended");
    }
}

/// How the wait for the children has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// They ended by themselves.
    Calmly,
    /// The caller was asked to unwind meanwhile, which was passed on to them.
    Interrupted,
}

impl Parts<'_> {
    /// Waits for all children and runs all handlers; nothing unwinds out of it.
    fn close<T>(&self, ended: &Result<T, Caught>) -> Closed {
        match ended {
            Ok(_) => {}
            Err(Caught::Panicked(_)) => self.fail(),
            Err(_) => self.pass_on(),
        }
        let mut closed = Closed::Calmly;
        loop {
            closed = self.wait(closed);
            // Nobody but a handler can add to either any more.
            if !self.run_last_defer() {
                return closed;
            }
        }
    }
}

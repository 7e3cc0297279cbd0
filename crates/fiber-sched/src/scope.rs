//! Fibers that borrow from the one that spawns them, and never outlive the call.

use alloc::vec::Vec;
use core::{fmt, marker::PhantomData, mem, panic::Location};

use fiber_core::{
    Context,
    context::Placement,
    fiber::{ExitReason, Fiber, JoinHandle},
    operation::perform_or_interrupt,
    park::{assert_may_suspend, mask},
    spin::SpinLock,
};

use crate::spawn::{Builder, SpawnError};

/// Runs `body`, in which fibers can be spawned that borrow locals; returns when all have ended.
///
/// As `std::thread::scope`. When `body` unwinds, the children are cancelled and waited for before
/// it goes on unwinding.
///
/// # Suspends
/// Until every child has ended.
///
/// # Cancellation
/// A cancel that comes while it waits for the children cancels them; it is delivered at the
/// caller's next suspension point.
///
/// # Panics
/// When a child has panicked whose handle was not joined; outside of a fiber; and inside of
/// `no_suspend`.
pub fn scope<'env, F, T>(body: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    assert_may_suspend("scope");
    let env = Context::with(|context| context.map(Context::shared_env));
    let env = env.expect("it is on a fiber, which has a context");
    let scope = Scope {
        children: SpinLock::new(Children {
            running: Vec::new(),
            prune_at: 32,
            panicked: false,
        }),
        _scope: PhantomData,
        _env: PhantomData,
    };
    let children_borrow = ChildrenBorrow;
    let (mut body, mut value) = (Some(body), None);
    let caught = env.catch(&mut || {
        let body = body.take().expect("the body is called once");
        // The scope lies in this frame, which waits for its children whatever the body does.
        value = Some(body(&scope));
    });
    if caught.is_err() {
        scope.cancel();
    }
    scope.wait();
    mem::forget(children_borrow);
    match caught {
        Err(payload) => env.throw(payload),
        Ok(()) => {
            assert!(!scope.children.lock().panicked, "a scoped fiber panicked");
            value.expect("the body returned")
        }
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

/// Where fibers can be spawned that borrow; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    children: SpinLock<Children>,
    _scope: PhantomData<&'scope mut &'scope ()>,
    _env: PhantomData<&'env mut &'env ()>,
}

struct Children {
    running: Vec<Fiber>,
    prune_at: usize,
    panicked: bool,
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a fiber that may borrow what outlives the scope.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, body: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Builder::new().spawn_scoped(self, body) {
            Ok(handle) => handle,
            Err(error) => panic!("{error}"),
        }
    }

    /// Cancels every fiber of the scope that has not ended.
    pub fn cancel(&self) {
        // Woken outside of the lock.
        let running = self.children.lock().running.clone();
        for child in running {
            child.cancel();
        }
    }

    /// Waits for all, masked: a cancel of the caller's is passed on to the children.
    fn wait(&self) {
        loop {
            let child = self.children.lock().running.pop();
            let Some(child) = child else { return };
            if perform_or_interrupt(child.exit_operation(), None).is_err() {
                child.cancel();
                self.cancel();
                mask(|| {
                    // Masked and without a deadline it ends with the child's end only.
                    let _ = perform_or_interrupt(child.exit_operation(), None);
                });
            }
            self.children.lock().panicked |= child.has_unseen_panic();
        }
    }
}

impl Builder {
    /// Starts a fiber of `scope`, see [`Scope::spawn`], with a name, a stack or a priority.
    /// [`Builder::worker`] and [`Builder::dedicated`] are not asked.
    ///
    /// # Errors
    /// Outside of a runtime.
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
        // SAFETY: the closure may move between threads, and the scope's frame is not left before
        // the fiber has ended: `wait` runs whether the body returns or unwinds (I-3).
        let handle = unsafe { self.launch(body, Placement::Anywhere, Location::caller()) }?;
        scope.children.lock().add(handle.fiber().clone());
        Ok(ScopedJoinHandle {
            handle,
            _scope: PhantomData,
        })
    }
}

impl Children {
    fn add(&mut self, child: Fiber) {
        if self.running.len() >= self.prune_at {
            let panicked = &mut self.panicked;
            self.running.retain(|child| {
                if !child.is_finished() {
                    return true;
                }
                // Its handle may still be joined; only without one it is clear already.
                let unseen = child.has_unseen_panic();
                *panicked |= unseen && child.is_detached();
                unseen && !child.is_detached()
            });
            self.prune_at = (self.running.len() * 2).max(32);
        }
        self.running.push(child);
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Waits for a scoped fiber's result. Dropping it leaves the waiting to the scope.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    _scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the fiber's result, see [`JoinHandle::join`].
    ///
    /// # Errors
    /// As [`JoinHandle::join`].
    pub fn join(self) -> Result<T, ExitReason> {
        self.handle.join()
    }

    /// Asks the fiber to unwind.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// Whether the fiber has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// The fiber itself.
    pub fn fiber(&self) -> &Fiber {
        self.handle.fiber()
    }
}

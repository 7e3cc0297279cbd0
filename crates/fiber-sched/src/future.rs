//! Fibers as futures: what asynchronous code awaits, plain blocking code does.

use alloc::sync::{Arc, Weak};
use core::{
    fmt,
    future::Future,
    mem,
    panic::Location,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use fiber_core::{
    cancel::catch_exit,
    fiber::{ExitReason, ExitWatcher, Fiber, JoinHandle},
    park::current,
    spin::SpinLock,
};

use crate::{error::SpawnError, runtime::Runtime, spawn::Builder};

/// Starts a fiber of the calling runtime, and gives its result as a future.
///
/// # Errors
/// Outside of a runtime; [`Runtime::into_future`] serves from any thread.
#[track_caller]
pub fn into_future<F, T>(body: F) -> Result<FiberFuture<T>, SpawnError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let runtime = Runtime::current().ok_or(SpawnError::NoRuntime)?;
    start(&runtime, body, Location::caller())
}

impl Runtime {
    /// Starts a fiber of this runtime from any thread, and gives its result as a future, which any
    /// executor may poll. The fiber starts now, whether the future is polled or not.
    ///
    /// # Errors
    /// When the run is over, or its fibers are being cancelled: [`SpawnError::Ended`].
    ///
    /// ```
    /// # fn main() -> Result<(), fiber_sched::RunError> {
    /// # let env = fiber_core::script::ScriptEnv::new();
    /// use fiber_sched::{Runtime, block_on};
    ///
    /// Runtime::builder(env).run(|| {
    ///     let runtime = Runtime::current().expect("this is a fiber");
    ///     let answer = async move { runtime.into_future(|| 6 * 7).unwrap().await };
    ///     assert_eq!(block_on(answer).unwrap(), 42);
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn into_future<F, T>(&self, body: F) -> Result<FiberFuture<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        start(self, body, Location::caller())
    }
}

fn start<F, T>(
    runtime: &Runtime,
    body: F,
    spawned_at: &'static Location<'static>,
) -> Result<FiberFuture<T>, SpawnError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let state = Arc::new(State(SpinLock::new(Progress::Runs(None))));
    let promise = Arc::clone(&state);
    let watcher = Arc::new(Watch(Arc::downgrade(&state)));
    let body = move || {
        let result = catch_exit(body);
        let fiber = current().expect("it runs on a fiber");
        promise.end(Progress::Ended(fiber, result));
    };
    let builder = Builder::new().watched_by(watcher);
    let handle = builder.spawn_at(runtime, body, spawned_at)?;
    Ok(FiberFuture { handle, state })
}

/// A fiber's result, to be awaited. Dropping it cancels the fiber, unless it has ended.
///
/// It gives what [`JoinHandle::join`] gives: a panic inside arrives with its payload. One that is
/// never asked for is logged. After that it must not be polled again, as it is with most futures.
#[must_use = "dropping the future cancels the fiber"]
pub struct FiberFuture<T> {
    handle: JoinHandle<()>,
    state: Arc<State<T>>,
}

impl<T> FiberFuture<T> {
    /// The fiber.
    pub fn fiber(&self) -> &Fiber {
        self.handle.fiber()
    }
}

impl<T> Future for FiberFuture<T> {
    type Output = Result<T, ExitReason>;

    /// # Panics
    /// When it has given its value before.
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Cloned before, dropped after: a waker is the user's code.
        let mut waker = Some(task.waker().clone());
        let taken = {
            let mut progress = this.state.0.lock();
            match &mut *progress {
                Progress::Runs(known) => {
                    mem::swap(known, &mut waker);
                    return Poll::Pending;
                }
                progress => mem::replace(progress, Progress::Taken),
            }
        };
        match taken {
            Progress::Ended(_, result) => Poll::Ready(result),
            Progress::Gone => match this.handle.try_join() {
                Some(Err(reason)) => Poll::Ready(Err(reason)),
                _ => unreachable!("it has ended, without a result"),
            },
            _ => panic!("a fiber's future was polled after it had given the result"),
        }
    }
}

impl<T> Drop for FiberFuture<T> {
    fn drop(&mut self) {
        if !self.handle.is_finished() {
            self.handle.cancel_with("its future was dropped");
        }
    }
}

impl<T> fmt::Debug for FiberFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FiberFuture").field(self.fiber()).finish()
    }
}

/// What a future and its fiber share.
struct State<T>(SpinLock<Progress<T>>);

enum Progress<T> {
    /// It has not ended; whom to tell.
    Runs(Option<Waker>),
    Ended(Fiber, Result<T, ExitReason>),
    /// It has ended without a result: it never ran, or was abandoned.
    Gone,
    Taken,
}

impl<T> State<T> {
    fn end(&self, with: Progress<T>) {
        let before = mem::replace(&mut *self.0.lock(), with);
        if let Progress::Runs(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for State<T> {
    fn drop(&mut self) {
        if let Progress::Ended(fiber, Err(ExitReason::Panicked(panic))) = self.0.get_mut() {
            panic.report(fiber);
        }
    }
}

/// Tells the future of an end without a result. The fiber's block holds this, and the result may
/// hold the fiber.
struct Watch<T>(Weak<State<T>>);

impl<T: Send> ExitWatcher for Watch<T> {
    fn ended(&self) {
        let Some(state) = self.0.upgrade() else {
            return;
        };
        let waits = matches!(&*state.0.lock(), Progress::Runs(_));
        if waits {
            state.end(Progress::Gone);
        }
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

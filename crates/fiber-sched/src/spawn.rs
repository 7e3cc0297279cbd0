//! Starting fibers.

use alloc::boxed::Box;
use core::panic::Location;

use fiber_core::{
    Context,
    context::Placement,
    env::StackClass,
    fiber::{Attributes, JoinHandle, Spawn},
};

/// There is no runtime to spawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no runtime on this thread: spawn fibers from inside of `Runtime::run`")]
#[non_exhaustive]
pub struct NoRuntime;

/// Starts a fiber that runs `body`, some time soon, on any worker of this runtime. Once it has
/// started it stays on its worker's thread.
///
/// The caller goes on; fibers that one fiber spawns start in that order.
///
/// # Panics
/// Outside of a runtime; [`Builder::spawn`] gives an error instead.
#[track_caller]
pub fn spawn<F, T>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match Builder::new().spawn(body) {
        Ok(handle) => handle,
        Err(error) => panic!("{error}"),
    }
}

/// [`spawn`] on the calling worker: neither the closure nor its value leaves the thread.
///
/// # Panics
/// Outside of a runtime; [`Builder::spawn_local`] gives an error instead.
#[track_caller]
pub fn spawn_local<F, T>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    match Builder::new().spawn_local(body) {
        Ok(handle) => handle,
        Err(error) => panic!("{error}"),
    }
}

/// A fiber's configuration.
#[derive(Clone, Debug, Default)]
#[must_use = "a fiber starts when `spawn` is called"]
pub struct Builder {
    name: Option<Box<str>>,
    stack: Option<StackClass>,
}

impl Builder {
    /// No name, the runtime's default stack.
    pub const fn new() -> Self {
        Self {
            name: None,
            stack: None,
        }
    }

    /// A name for reports.
    pub fn name(self, name: impl Into<Box<str>>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// How large a stack the fiber gets.
    pub fn stack(self, stack: StackClass) -> Self {
        Self {
            stack: Some(stack),
            ..self
        }
    }

    /// Starts the fiber, see [`spawn`].
    ///
    /// # Errors
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn<F, T>(self, body: F) -> Result<JoinHandle<T>, NoRuntime>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: the closure and its value may move between threads and borrow nothing (I-11).
        unsafe { self.launch(body, Placement::Anywhere, Location::caller()) }
    }

    /// Starts the fiber on the calling worker, see [`spawn_local`].
    ///
    /// # Errors
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn_local<F, T>(self, body: F) -> Result<JoinHandle<T>, NoRuntime>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        // SAFETY: it borrows nothing, and `Here` keeps it on this thread (I-11).
        unsafe { self.launch(body, Placement::Here, Location::caller()) }
    }

    /// # Safety
    /// As [`Spawn::fiber`]; with [`Placement::Here`] the fiber stays on the calling thread.
    pub(crate) unsafe fn launch<F, T>(
        self,
        body: F,
        placement: Placement,
        spawned_at: &'static Location<'static>,
    ) -> Result<JoinHandle<T>, NoRuntime>
    where
        F: FnOnce() -> T,
    {
        Context::with(|context| {
            let context = context.ok_or(NoRuntime)?;
            let mut attributes = Attributes::new(spawned_at);
            attributes.name = self.name;
            attributes.stack = self.stack.unwrap_or_else(|| context.default_stack());
            // SAFETY: by the caller's promise (I-11).
            let (fiber, handle) = unsafe { Spawn::fiber(body, attributes) };
            context.launch(fiber, placement);
            Ok(handle)
        })
    }
}

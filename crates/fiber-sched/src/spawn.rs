//! Starting fibers.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::panic::Location;

use fiber_core::{
    Context,
    context::Placement,
    env::{StackClass, WorkerId},
    fiber::{Attributes, ExitWatcher, JoinHandle, Priority, Reason, Runnable, Spawn},
    operation::Operation,
    process::Membership,
};

use crate::{dedicated::Claim, error::SpawnError, runtime::Runtime, shared::Shared};

/// Starts a fiber that runs `body`, some time soon, on any worker of this runtime: on the calling
/// worker, unless another one is free first. Once it has started it stays on its worker's thread.
///
/// The caller goes on; fibers that one fiber spawns start in that order.
///
/// # Panics
/// Outside of a runtime and at a limit of the process: [`Builder::spawn`] gives errors.
#[track_caller]
pub fn spawn<F, T>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: the closure and its value may move between threads and borrow nothing (I-11).
    expect(unsafe { launch_plain(body, Placement::Anywhere, Location::caller()) })
}

/// [`spawn`] on the calling worker: neither the closure nor its value leaves the thread.
///
/// # Panics
/// Outside of a runtime and at a limit of the process: [`Builder::spawn_local`] gives errors.
#[track_caller]
pub fn spawn_local<F, T>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    // SAFETY: it borrows nothing, and `Here` keeps it on this thread (I-11).
    expect(unsafe { launch_plain(body, Placement::Here, Location::caller()) })
}

/// [`spawn`] on the less loaded of two workers drawn at random, rather than at home: for fibers
/// that live long, such as connections, since a fiber that has started stays where it is.
///
/// # Panics
/// Outside of a runtime and at a limit of the process: [`Builder::spawn_any`] gives errors.
#[track_caller]
pub fn spawn_any<F, T>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    expect(Builder::new().spawn_any(body))
}

/// Starts a fiber that waits for `operation` first, and then runs `body` with what that gave. While
/// it waits it has no stack, only its block: a few hundred bytes and what the two occupy. So
/// waiting this way is cheap where a great many fibers wait long: for a time, for the end of
/// another fiber, for a connection to have something to say.
///
/// The operation's guards run here and now. It is tried and published soon, on whichever worker
/// has the fiber then, which is its own from then on. A fiber that is cancelled while it waits ends
/// without running; what was committed at that very moment is dropped.
/// One whose wait would close a circle, such as for the end of a fiber that joins it, starts at
/// once, with what its operation gives then: an error that tells of the circle.
///
/// ```
/// # fn main() -> Result<(), fiber_sched::RunError> {
/// # let env = fiber_core::script::ScriptEnv::new();
/// use core::time::Duration;
///
/// use fiber_core::operation::{Operation, timeout};
/// use fiber_sched::{Runtime, spawn_when};
///
/// let late = Runtime::builder(env).run(|| {
///     let second = timeout(Duration::from_secs(1)).wrap(|()| "later");
///     spawn_when(second, |when| when).join().unwrap()
/// })?;
/// assert_eq!(late, "later");
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside of a runtime and at a limit of the process: [`Builder::spawn_when`] gives errors.
#[track_caller]
pub fn spawn_when<O, F, T>(operation: O, body: F) -> JoinHandle<T>
where
    O: Operation + Send + 'static,
    F: FnOnce(O::Output) -> T + Send + 'static,
    T: Send + 'static,
{
    expect(Builder::new().spawn_when(operation, body))
}

/// Starts `count` fibers that run `body(0)`, `body(1)`, …, the same number at each worker. Cheaper
/// than as many calls of [`spawn`]: each worker is told once.
///
/// # Panics
/// Outside of a runtime and at a limit of the process: [`Builder::spawn_many`] gives errors.
#[track_caller]
pub fn spawn_many<F, T>(count: usize, body: F) -> Vec<JoinHandle<T>>
where
    F: Fn(usize) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    expect(Builder::new().spawn_many(count, body))
}

/// What [`Builder::launch`] does with a new builder, without making one: it would be copied from
/// hand to hand, as it must be dropped wherever something unwinds.
///
/// # Safety
/// As [`Spawn::fiber`]; with [`Placement::Here`] the fiber stays on the calling thread.
#[inline]
unsafe fn launch_plain<F, T>(
    body: F,
    placement: Placement,
    spawned_at: &'static Location<'static>,
) -> Result<JoinHandle<T>, SpawnError>
where
    F: FnOnce() -> T,
{
    Context::with(|context| {
        let context = context.ok_or(SpawnError::NoRuntime)?;
        let process = context.admit()?;
        let mut attributes = Attributes::new(spawned_at);
        attributes.stack = context.default_stack();
        attributes.process = process;
        // SAFETY: by the caller's promise (I-11).
        let (fiber, handle) = unsafe { Spawn::fiber(body, attributes) };
        context.launch(fiber, placement);
        Ok(handle)
    })
}

#[track_caller]
fn expect<T>(spawned: Result<T, SpawnError>) -> T {
    match spawned {
        Ok(spawned) => spawned,
        Err(error) => panic!("{error}"),
    }
}

/// A fiber's configuration.
#[derive(Debug, Default)]
#[must_use = "a fiber starts when `spawn` is called"]
pub struct Builder {
    name: Option<Box<str>>,
    stack: Option<StackClass>,
    priority: Priority,
    home: Home,
    watcher: Option<Arc<dyn ExitWatcher>>,
    whose: Whose,
    borrows: bool,
}

impl Clone for Builder {
    /// The same configuration, for another fiber.
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            stack: self.stack,
            priority: self.priority,
            home: self.home,
            watcher: self.watcher.clone(),
            // A place in a process is for one fiber; nobody clones a builder that has one.
            whose: Whose::Spawner,
            borrows: self.borrows,
        }
    }
}

/// Whose a fiber is to be.
#[derive(Debug, Default)]
enum Whose {
    /// That of the fiber that spawns it.
    #[default]
    Spawner,
    /// The runtime's first process.
    Runtime,
    /// One that has admitted it.
    Process(Option<Membership>),
}

/// Where a fiber is to live.
#[derive(Clone, Copy, Debug, Default)]
enum Home {
    #[default]
    Anywhere,
    Worker(WorkerId),
    Dedicated,
}

impl Builder {
    /// No name, the runtime's default stack, the normal priority, any worker.
    pub const fn new() -> Self {
        Self {
            name: None,
            stack: None,
            priority: Priority::Normal,
            home: Home::Anywhere,
            watcher: None,
            whose: Whose::Spawner,
            borrows: false,
        }
    }

    /// For a fiber that a process has admitted.
    pub(crate) fn of_process(stack: Option<StackClass>, member: Membership) -> Self {
        Self {
            stack,
            whose: Whose::Process(Some(member)),
            ..Self::new()
        }
    }

    /// For a fiber of the runtime's first process, whoever spawns it, that sees to what is left
    /// when the run is over.
    pub(crate) fn of_runtime(self) -> Self {
        Self {
            whose: Whose::Runtime,
            ..self
        }
    }

    /// For a fiber that may borrow from the frame of the one that spawns it.
    pub(crate) fn borrowing(self) -> Self {
        Self {
            borrows: true,
            ..self
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

    /// How urgent the fiber is, among those of its worker. A lower priority is never shut out: in
    /// every 8th round of its worker that passes it over one fiber of it runs, in turns the oldest
    /// ready one and the oldest that has not started.
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// The fiber lives on this worker, whoever is free. Dedicated workers come behind the others.
    /// Goes with [`Builder::spawn`] only: the other calls choose for themselves.
    pub fn worker(self, worker: WorkerId) -> Self {
        Self {
            home: Home::Worker(worker),
            ..self
        }
    }

    /// The fiber gets a dedicated worker, see
    /// [`Builder::dedicated`](crate::Builder::dedicated) of the runtime, which is free again when
    /// the fiber has ended, in whatever way; and when it was abandoned, as soon as it rests. Goes
    /// with [`Builder::spawn`] only.
    pub fn dedicated(self) -> Self {
        Self {
            home: Home::Dedicated,
            ..self
        }
    }

    /// Starts the fiber, see [`spawn`].
    ///
    /// # Errors
    /// Outside of a runtime, at a limit of the process, and when there is no such worker.
    #[track_caller]
    pub fn spawn<F, T>(self, body: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if let Home::Anywhere = self.home {
            // SAFETY: the closure and its value may move between threads and borrow nothing (I-11).
            return unsafe { self.launch(body, Placement::Anywhere, Location::caller()) };
        }
        let runtime = Runtime::current().ok_or(SpawnError::NoRuntime)?;
        self.spawn_at(&runtime, body, Location::caller())
    }

    /// Starts the fiber on the calling worker, see [`spawn_local`].
    ///
    /// # Errors
    /// Outside of a runtime, at a limit of the process, and when the builder names a worker.
    #[track_caller]
    pub fn spawn_local<F, T>(self, body: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.chooses_nothing("spawn_local")?;
        // SAFETY: it borrows nothing, and `Here` keeps it on this thread (I-11).
        unsafe { self.launch(body, Placement::Here, Location::caller()) }
    }

    /// Starts the fiber on the less loaded of two workers, see [`spawn_any`].
    ///
    /// # Errors
    /// Outside of a runtime, at a limit of the process, and when the builder names a worker.
    #[track_caller]
    pub fn spawn_any<F, T>(self, body: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.chooses_nothing("spawn_any")?;
        // SAFETY: the closure and its value may move between threads and borrow nothing (I-11).
        unsafe { self.launch(body, Placement::Spread, Location::caller()) }
    }

    /// Starts a fiber that waits for `operation` first, see [`spawn_when`].
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    #[track_caller]
    pub fn spawn_when<O, F, T>(self, operation: O, body: F) -> Result<JoinHandle<T>, SpawnError>
    where
        O: Operation + Send + 'static,
        F: FnOnce(O::Output) -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: operation, closure and value may move between threads and borrow nothing (I-11).
        unsafe { self.launch_when(operation, body, Location::caller()) }
    }

    /// Starts many fibers, see [`spawn_many`].
    ///
    /// # Errors
    /// Outside of a runtime, at a limit of the process, and when the builder names a worker.
    #[track_caller]
    pub fn spawn_many<F, T>(self, count: usize, body: F) -> Result<Vec<JoinHandle<T>>, SpawnError>
    where
        F: Fn(usize) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.chooses_nothing("spawn_many")?;
        let spawned_at = Location::caller();
        let body = Arc::new(body);
        Context::with(|context| {
            let context = context.ok_or(SpawnError::NoRuntime)?;
            let members = (0..count).map(|_| context.admit());
            let members = members.collect::<Result<Vec<_>, _>>()?;
            let mut handles = Vec::with_capacity(count);
            context.launch_many(members.into_iter().enumerate().map(|(index, member)| {
                let body = Arc::clone(&body);
                let mut attributes = self.clone().attributes(context.default_stack(), spawned_at);
                attributes.process = member;
                // SAFETY: the closure and its value may move between threads and borrow nothing
                // (I-11).
                let (fiber, handle) = unsafe { Spawn::fiber(move || body(index), attributes) };
                handles.push(handle);
                fiber
            }));
            Ok(handles)
        })
    }

    /// For calls that choose the fiber's place by themselves.
    pub(crate) fn chooses_nothing(&self, call: &'static str) -> Result<(), SpawnError> {
        match self.home {
            Home::Anywhere => Ok(()),
            Home::Worker(_) | Home::Dedicated => Err(SpawnError::TwoPlaces { call }),
        }
    }

    /// [`Builder::spawn`] on `runtime`, from any thread.
    pub(crate) fn spawn_at<F, T>(
        mut self,
        runtime: &Runtime,
        body: F,
        spawned_at: &'static Location<'static>,
    ) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let shared = runtime.shared();
        let placement = self.placement(shared)?;
        let inside = Context::with(|context| context.is_some_and(|context| runtime.is(context)));
        if inside {
            // SAFETY: the closure and its value may move between threads and borrow nothing (I-11).
            return unsafe { self.launch(body, placement, spawned_at) };
        }
        let attributes = self.attributes(shared.limits.stack, spawned_at);
        // SAFETY: as above (I-11).
        let (fiber, handle) = unsafe { Spawn::fiber(body, attributes) };
        let launched = shared.launch_outside(fiber, |shared, fiber| match placement {
            Placement::On(worker) => shared.push_pinned(worker, fiber),
            _ => shared.push_from_outside(fiber),
        });
        match launched {
            Ok(()) => Ok(handle),
            Err(unstarted) => {
                drop(unstarted);
                Err(SpawnError::Ended)
            }
        }
    }

    fn placement(&mut self, shared: &Shared) -> Result<Placement, SpawnError> {
        match self.home {
            Home::Anywhere => Ok(Placement::Anywhere),
            Home::Worker(worker) if worker.index() < shared.lanes.len() => {
                Ok(Placement::On(worker))
            }
            Home::Worker(worker) => Err(SpawnError::NoSuchWorker {
                worker,
                workers: shared.lanes.len(),
            }),
            Home::Dedicated => {
                let (worker, claim) = Claim::of_one(shared, self.watcher.take())?;
                self.watcher = Some(Arc::new(claim));
                Ok(Placement::On(worker))
            }
        }
    }

    /// Has `watcher` told when the fiber has ended.
    pub(crate) fn watched_by(self, watcher: Arc<dyn ExitWatcher>) -> Self {
        Self {
            watcher: Some(watcher),
            ..self
        }
    }

    #[inline(always)]
    fn attributes(self, stack: StackClass, spawned_at: &'static Location<'static>) -> Attributes {
        let mut attributes = Attributes::new(spawned_at);
        attributes.name = self.name;
        attributes.stack = self.stack.unwrap_or(stack);
        attributes.priority = self.priority;
        attributes.watcher = self.watcher;
        attributes.borrows = self.borrows;
        attributes.outlives = matches!(self.whose, Whose::Runtime);
        attributes
    }

    /// Admits the fiber to its process; `None` if that is the runtime's first one.
    #[inline]
    fn admit(&mut self, context: &Context) -> Result<Option<Membership>, SpawnError> {
        Ok(match &mut self.whose {
            Whose::Spawner => context.admit()?,
            Whose::Runtime => None,
            Whose::Process(member) => member.take(),
        })
    }

    /// # Safety
    /// As [`Spawn::fiber`]; with [`Placement::Here`] the fiber stays on the calling thread.
    pub(crate) unsafe fn launch<F, T>(
        self,
        body: F,
        placement: Placement,
        spawned_at: &'static Location<'static>,
    ) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T,
    {
        self.launch_made(placement, spawned_at, |attributes| {
            // SAFETY: by the caller's promise (I-11).
            unsafe { Spawn::fiber(body, attributes) }
        })
    }

    /// # Safety
    /// As [`Spawn::fiber_when`].
    pub(crate) unsafe fn launch_when<O, F, T>(
        mut self,
        operation: O,
        body: F,
        spawned_at: &'static Location<'static>,
    ) -> Result<JoinHandle<T>, SpawnError>
    where
        O: Operation,
        F: FnOnce(O::Output) -> T,
    {
        if let Home::Anywhere = self.home {
            return self.launch_made(Placement::Anywhere, spawned_at, |attributes| {
                // SAFETY: by the caller's promise (I-11).
                unsafe { Spawn::fiber_when(operation, body, attributes) }
            });
        }
        let runtime = Runtime::current().ok_or(SpawnError::NoRuntime)?;
        let placement = self.placement(runtime.shared())?;
        self.launch_made(placement, spawned_at, |attributes| {
            // SAFETY: by the caller's promise (I-11).
            unsafe { Spawn::fiber_when(operation, body, attributes) }
        })
    }

    #[inline]
    fn launch_made<T>(
        mut self,
        placement: Placement,
        spawned_at: &'static Location<'static>,
        make: impl FnOnce(Attributes) -> (Runnable, JoinHandle<T>),
    ) -> Result<JoinHandle<T>, SpawnError> {
        Context::with(|context| {
            let context = context.ok_or(SpawnError::NoRuntime)?;
            let member = self.admit(context)?;
            let mut attributes = self.attributes(context.default_stack(), spawned_at);
            attributes.process = member;
            let (fiber, handle) = make(attributes);
            context.launch(fiber, placement);
            Ok(handle)
        })
    }

    /// A fiber that ends as a cancelled one before it starts. Its closure is dropped here.
    ///
    /// # Safety
    /// What the result borrows, if somebody else has it, outlives the handle.
    pub(crate) unsafe fn never_started<F, T>(
        self,
        body: F,
        reason: Reason,
        spawned_at: &'static Location<'static>,
    ) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T,
    {
        let stack = Context::with(|context| context.map(Context::default_stack));
        let stack = stack.ok_or(SpawnError::NoRuntime)?;
        // SAFETY: the fiber ends on this thread, before this call does, without a value (I-3).
        let (fiber, handle) = unsafe { Spawn::fiber(body, self.attributes(stack, spawned_at)) };
        handle.cancel_with(reason);
        drop(fiber);
        Ok(handle)
    }
}

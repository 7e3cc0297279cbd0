//! A run: its configuration, its beginning and its end.

use alloc::sync::Arc;

use fiber_core::{
    Id, Namespace,
    env::{SharedEnv, StackClass, Unpark, WorkerId, aside},
    fiber::{Attributes, ExitReason, JoinHandle, Runnable, Spawn},
    park::mask,
    registry::{Received, Shard},
    request::RawDescriptor,
    spin::SpinLock,
    stop,
};

use crate::{
    error::{RunError, RunFault},
    hog::HogReport,
    process::{end_all, finish_all},
    report::AllAsleep,
    shared::{Limits, Phase, Shared},
    watchdog::{self, OnHog, Watchdog},
    worker::work,
};

/// What happens to the other fibers when the main one has ended, with a value or a panic.
///
/// [`Builder::run`] returns when every fiber has ended, whichever it is: started or not, spawned
/// by whomever, detached or not, and those that they spawn meanwhile. What differs is whether they
/// are asked to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drain {
    /// They are cancelled: who has not started never runs, who waits unwinds at once, who runs
    /// does at its next suspension point. A fiber that is masked ends when it likes. From outside
    /// nothing can be spawned any more; what they spawn themselves is cancelled, too.
    #[default]
    CancelRest,
    /// They go on until they end by themselves, and may spawn more. One that waits for ever keeps
    /// the run for ever; in a closed world, where that can be known, the rest is then cancelled and
    /// the run fails with [`RunError::AllAsleep`].
    Wait,
}

/// A runtime's configuration.
#[must_use = "a runtime runs when `run` is called"]
pub struct Builder {
    env: SharedEnv,
    workers: Option<u16>,
    dedicated: u16,
    drain: Drain,
    closed_world: bool,
    limits: Limits,
    watchdog: Option<Watchdog>,
    on_hog: Option<OnHog>,
}

impl Builder {
    pub(crate) fn new(env: SharedEnv) -> Self {
        let closed_world = env.caps().closed_world;
        let limits = Limits {
            requests_max: 32_768,
            ids_max: 16 << 20,
            stack: StackClass::default(),
        };
        Self {
            env,
            workers: None,
            dedicated: 0,
            drain: Drain::default(),
            closed_world,
            limits,
            watchdog: Some(Watchdog::default()),
            on_hog: None,
        }
    }

    /// How many workers; as many as the host has CPUs for us by default.
    ///
    /// # Panics
    /// When `workers` is 0.
    pub fn workers(self, workers: u16) -> Self {
        assert!(workers > 0, "a runtime needs at least one worker");
        Self {
            workers: Some(workers),
            ..self
        }
    }

    /// How many workers there are beside those, each for one fiber at a time that asks for it with
    /// [`FiberBuilder::dedicated`](crate::FiberBuilder::dedicated); none by default. They take no
    /// part in sharing work: what blocks the thread of one blocks nobody else.
    pub fn dedicated(self, dedicated: u16) -> Self {
        Self { dedicated, ..self }
    }

    /// What happens to the other fibers when the main one has ended.
    pub fn drain(self, drain: Drain) -> Self {
        Self { drain, ..self }
    }

    /// The stack of fibers that do not say otherwise.
    pub fn stack(self, stack: StackClass) -> Self {
        Self {
            limits: Limits {
                stack,
                ..self.limits
            },
            ..self
        }
    }

    /// How many requests may be in flight on one worker; 32 768 by default. A fiber's request above
    /// that fails with `TooManyRequests`.
    pub fn requests_max(self, requests_max: u32) -> Self {
        Self {
            limits: Limits {
                requests_max,
                ..self.limits
            },
            ..self
        }
    }

    /// How many ids may be live on one worker, fibers included; 16 million by default.
    pub fn ids_max(self, ids_max: usize) -> Self {
        Self {
            limits: Limits {
                ids_max,
                ..self.limits
            },
            ..self
        }
    }

    /// Promises that no plain thread will wake a fiber: when all are parked and nothing is in
    /// flight, [`Builder::run`] ends with [`RunError::AllAsleep`] instead of waiting for ever.
    pub fn closed_world(self) -> Self {
        Self {
            closed_world: true,
            ..self
        }
    }

    /// What the watchdog looks for; `None` switches it off, and with it the slices of ten
    /// milliseconds of those that do not use up their budgets. On by default, with the values of
    /// [`Watchdog::default`], where workers are threads: simulators have none.
    pub fn watchdog(self, watchdog: impl Into<Option<Watchdog>>) -> Self {
        Self {
            watchdog: watchdog.into(),
            ..self
        }
    }

    /// Calls `on_hog` with each report of the watchdog, beside the line that is logged at `warn`
    /// (at most one a second). It is called on the watchdog's thread, which looks at nobody
    /// meanwhile, and calls nobody for what waits: it must not block.
    pub fn on_hog(self, on_hog: impl Fn(&HogReport) + Send + Sync + 'static) -> Self {
        Self {
            on_hog: Some(Arc::new(on_hog)),
            ..self
        }
    }

    /// Runs `main` on a fiber, and gives its value once it and all others have ended.
    ///
    /// Blocks the calling thread, which serves as one of the workers.
    ///
    /// # Errors
    /// When the host fails, when `main` panics or is cancelled, and in a closed world when nothing
    /// can ever run again.
    ///
    /// # Aborts
    /// When `main` itself waits masked, for what never comes: it may borrow, and so the caller must
    /// not go on while it can neither end nor be unwound.
    #[track_caller]
    pub fn run<F, T>(self, main: F) -> Result<T, RunError>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let workers = self
            .workers
            .unwrap_or_else(|| self.env.parallelism())
            .max(1);
        let root = Root::new(&self.env)?;
        let shared = Shared::new(
            Arc::clone(&self.env),
            self.limits,
            Some(root.process),
            self.closed_world,
            (workers, self.dedicated),
        );
        tracing::info!(
            target: "fiber::sched", workers, dedicated = self.dedicated,
            host = %self.env.describe(), "runtime starts"
        );
        let (fiber, handle) = main_fiber(&shared, self.drain, main);
        let first = SpinLock::new(Some(fiber));
        let watched = watchdog::start(&shared, self.watchdog, self.on_hog);
        let all = workers.saturating_add(self.dedicated);
        let body = |id: WorkerId| {
            let main = match id.index() {
                0 => first.lock().take(),
                _ => None,
            };
            let (unstarted, after) = work(&shared, id, main);
            if id.index() == 0 {
                *first.lock() = unstarted;
            }
            after
        };
        // In a destructor the caller is perhaps unwinding; no fiber of this run is.
        let started = aside(&*self.env, || self.env.run(all, &body));
        if let Err(error) = started {
            shared.fail(RunFault::Env(error));
        }
        drop(watched);
        shared.drop_queued();
        finish_all(shared.processes.all());
        root.finish(&self.env);
        tracing::info!(target: "fiber::sched", "runtime ends");
        // If no worker has run it, the main fiber ends as one that never started, here: dropping
        // its closure is the caller's affair, who may catch what comes of it.
        let unstarted = first.lock().take();
        drop(unstarted);
        if handle.fiber().is_started() && !handle.is_finished() && !shared.is_broken() {
            main_never_ends(&shared);
        }
        verdict(&shared, handle)
    }
}

impl core::fmt::Debug for Builder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("drain", &self.drain)
            .field("closed_world", &self.closed_world)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Says that the main fiber has ended, in whatever way.
struct MainEnded {
    shared: Arc<Shared>,
    drain: Drain,
}

impl Drop for MainEnded {
    fn drop(&mut self) {
        self.shared.advance(match self.drain {
            Drain::CancelRest => Phase::Cancelling,
            Drain::Wait => Phase::Waiting,
        });
    }
}

#[track_caller]
fn main_fiber<F, T>(shared: &Arc<Shared>, drain: Drain, main: F) -> (Runnable, JoinHandle<T>)
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let ended = MainEnded {
        shared: Arc::clone(shared),
        drain,
    };
    let mut attributes = Attributes::new(core::panic::Location::caller());
    attributes.name = Some("main".into());
    attributes.stack = shared.limits.stack;
    let body = move || {
        let result = stop::catch(None, main);
        let shared = Arc::clone(&ended.shared);
        if let Drain::CancelRest = ended.drain {
            mask(|| end_all(&shared));
            drop(ended);
            // Those that others have made meanwhile, who are cancelled by now, too.
            while mask(|| end_all(&shared)) {}
        }
        result.unwrap_or_else(|caught| caught.throw_on())
    };
    // SAFETY: `main` is `Send`. It may borrow: `run` returns only when the workers have, and when
    // this fiber has ended or was never started; else it ends the program. Only of a host that is
    // broken it tells instead, as far as the host has given back what was lent to it (I-3).
    unsafe { Spawn::fiber(body, attributes) }
}

/// The main fiber was abandoned: it is never resumed, and never unwound. What it has borrowed from
/// the caller may be in use by others that borrow from it, such as threads of a `thread::scope`; so
/// the caller may not go on (I-3).
#[cold]
fn main_never_ends(shared: &Shared) -> ! {
    struct Abort;

    impl Drop for Abort {
        fn drop(&mut self) {
            // Dropped by unwinding only, where a second panic aborts.
            panic!("the run of a main fiber that was abandoned cannot return");
        }
    }

    let fibers = core::mem::take(&mut *shared.parked.lock());
    let asleep = AllAsleep { fibers };
    let _abort = Abort;
    panic!(
        "the main fiber can neither go on nor be unwound, since it waits masked or where nothing \
         can be unwound: give such waits a limit of time. {asleep}"
    );
}

fn verdict<T>(shared: &Shared, handle: JoinHandle<T>) -> Result<T, RunError> {
    match shared.take_fault() {
        Some(RunFault::AllAsleep) => {
            let fibers = core::mem::take(&mut *shared.parked.lock());
            Err(RunError::AllAsleep(AllAsleep { fibers }))
        }
        Some(RunFault::Env(error)) => Err(error.into()),
        Some(RunFault::Host(fault)) if !handle.is_finished() => Err(fault.into()),
        Some(RunFault::Host(fault)) => match handle.join() {
            // It had not begun, and never will: that is not what it died of.
            Err(ExitReason::Cancelled(_)) => Err(fault.into()),
            ended => Ok(ended?),
        },
        None => Ok(handle.join()?),
    }
}

/// The process that a runtime's fibers belong to.
struct Root {
    shard: Shard,
    process: Id,
}

/// The root's shard is looked after by `run` itself.
struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

impl Root {
    fn new(env: &SharedEnv) -> Result<Self, RunError> {
        let mut shard = Shard::new(1, Arc::new(Nobody));
        let process = shard.open(env.id_space(), Namespace::PROCESS, RawDescriptor(0), None)?;
        Ok(Self { shard, process })
    }

    fn finish(mut self, env: &SharedEnv) {
        // Nobody else closes a process yet, and nobody can be inside of it any more.
        let _ = env.id_space().close(self.process);
        self.shard.receive(env.id_space(), |received| {
            debug_assert!(matches!(received, Received::Freed { .. }));
        });
        if self.shard.live() == 0 {
            self.shard.finish(env.id_space());
        } else {
            // A plain thread looks at the id right now: it keeps its slot for good.
            core::mem::forget(self.shard);
        }
    }
}

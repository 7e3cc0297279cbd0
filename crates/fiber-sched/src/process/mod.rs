//! Lightweight processes: owners of fibers and ids that cannot leak when they end.
//!
//! A process has a main function, and ends when that has, when it is cancelled, or killed. Whatever
//! it is: its fibers unwind, its children end, and every id that it was given is closed, in that
//! order (I-5). Then whoever waits for its end is told.
//!
//! Read in this order: `builder` (making one), `life` (what it is), `end` (how it ended), `death`
//! (how that is brought about), `sweep` (how workers take part) and `stats`. Then who is told of
//! it: `monitor`, `link`, `name` and `call`; and `supervisor`, on top of all that.

mod builder;
mod call;
mod death;
mod end;
mod life;
mod link;
mod monitor;
mod name;
mod shutdown;
mod stats;
pub mod supervisor;
mod sweep;

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};
use core::{fmt, ptr};

use fiber_core::{
    Id, Stale,
    cancel::cancelled_operation,
    context::Context,
    fiber::{JoinHandle, Reason},
    operation::{Operation, perform},
    park::{checkpoint, mask},
    process::{Owner, Record, Stage},
    registry::IdSpace,
};

pub use self::{
    builder::{Builder as ProcessBuilder, ProcessHandle},
    call::{CallError, Reply},
    end::{End, Exit, ExitReport},
    life::OnStale,
    link::{Exits, NoProcess},
    monitor::Monitor,
    name::{NameError, register, unregister, whereis},
    stats::ProcessStats,
};
pub(crate) use self::{
    death::{end_all, finish_all},
    life::{Children, Life},
    name::Names,
    sweep::Sweeps,
};
use crate::{error::SpawnError, runtime::Runtime, spawn::Builder as FiberBuilder};

/// Why a process is cancelled that is not needed any more: it is the one reason by which a
/// cancelled process ends as it is meant to, see [`End::is_normal`].
pub const SHUTDOWN: Reason = Reason::new("shutdown");

/// A lightweight process. A value of this type is a handle: cloning it costs a reference count.
///
/// ```
/// # fn main() -> Result<(), fiber_sched::RunError> {
/// # let env = fiber_core::script::ScriptEnv::new();
/// use fiber_sched::{Process, Runtime, sleep, spawn};
///
/// let answer = Runtime::builder(env).run(|| {
///     let handle = Process::builder().name("worker").spawn(|| {
///         // Ends with its process.
///         drop(spawn(|| sleep(std::time::Duration::MAX)));
///         6 * 7
///     })?;
///     Ok::<_, fiber_sched::SpawnError>(handle.join().expect("it does not panic"))
/// })?;
/// assert_eq!(answer.unwrap(), 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Process(Arc<Record>);

impl Process {
    /// A process, to be configured.
    pub const fn builder() -> ProcessBuilder {
        ProcessBuilder::new()
    }

    /// The calling fiber's process; `None` if that is the runtime's first one, and outside of
    /// fibers.
    pub fn current() -> Option<Self> {
        let record = Context::with(|context| context.and_then(Context::process));
        record.map(Self::from_record)
    }

    /// The process of this id.
    ///
    /// # Errors
    /// When there is none, or none any more.
    pub fn of_id(id: Id) -> Result<Self, Stale> {
        let found = Context::with(|context| {
            let space = match context {
                Some(context) => context.id_space(),
                None => IdSpace::of_process(),
            };
            space.enter(id, None).map(|entered| entered.process())
        })?;
        let found = found.map(Self::from_record);
        found.ok_or_else(|| Stale::wrong_kind(id))
    }

    pub(crate) fn from_record(record: Arc<Record>) -> Self {
        Self(record)
    }

    pub(crate) fn into_record(self) -> Arc<Record> {
        self.0
    }

    /// What the core knows of it.
    pub fn record(&self) -> &Arc<Record> {
        &self.0
    }

    /// One of its fibers has used an id that is refused.
    pub(crate) fn has_used(&self, stale: &Stale) {
        if self.life().on_stale == OnStale::Kill {
            self.kill(format!("it has used an id that is no good: {stale}"));
        }
    }

    pub(crate) fn life(&self) -> &Life {
        Life::of(&self.0)
    }

    /// Its id, which is stale once it has ended.
    pub fn id(&self) -> Id {
        self.0.id().expect("named when it was made")
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// The process that has made it; `None` if that is the runtime's first one.
    pub fn parent(&self) -> Option<&Self> {
        self.life().parent.as_ref()
    }

    /// The processes that it has made and that have not ended, oldest first.
    pub fn children(&self) -> Vec<Self> {
        self.life().children.all()
    }

    pub(crate) fn siblings(&self) -> &Children {
        let life = self.life();
        match &life.parent {
            Some(parent) => &parent.life().children,
            None => &life.shared.processes,
        }
    }

    /// Whether it was asked to end, or its main function has ended.
    pub fn is_ending(&self) -> bool {
        self.0.stage() > Stage::Running
    }

    /// Whether it has ended, with all that it had.
    pub fn has_ended(&self) -> bool {
        self.life().ended.is_open()
    }

    /// Asks it to end: its fibers are cancelled, and so are its children, with this reason. Never
    /// waits; legal at any time, from any thread, also on oneself. The first reason is heard. What
    /// has not ended after its grace is killed.
    pub fn cancel(&self, reason: impl Into<Reason>) {
        self.begin_to_end(Stage::Cancelled, &reason.into());
    }

    /// Makes it end, and its children: as [`Process::cancel`], but masks do not help, and what its
    /// fibers hold is poisoned. What has not ended after its grace, and after five seconds at the
    /// most, is abandoned: it never runs again, and what it has is leaked.
    pub fn kill(&self, reason: impl Into<Reason>) {
        self.begin_to_end(Stage::Killed, &reason.into());
    }

    /// The operation that waits until it has ended, with all that it had, and says how.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn end_operation(&self) -> impl Operation<Output = Arc<Exit>> + '_ {
        let life = self.life();
        life.ended
            .wait_operation("the end of a process")
            .wrap(|()| self.exit())
    }

    /// Starts a fiber of this process, as [`spawn`](crate::spawn()) does one of the caller's.
    ///
    /// # Errors
    /// On a thread that is no worker of its runtime; at its limit; when it has ended.
    #[track_caller]
    pub fn spawn<F, T>(&self, body: F) -> Result<JoinHandle<T>, SpawnError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let here = Runtime::current().ok_or(SpawnError::NoRuntime)?;
        if !Arc::ptr_eq(here.shared_arc(), &self.life().shared) {
            return Err(SpawnError::NoRuntime);
        }
        let member = self.0.admit()?;
        let spawned = FiberBuilder::of_process(None, member).spawn(body);
        if self.is_ending() {
            // Its main function perhaps found itself alone.
            self.attend(None);
        }
        spawned
    }
}

/// Says that the calling fiber's process has failed, and has it end: it is cancelled, and whoever
/// is told of its end is told [`End::Failed`]. Returns: the caller unwinds at its next suspension
/// point. Without effect in the runtime's first process, and in one that is ending already.
pub fn fail(why: impl Into<Arc<str>>) {
    if let Some(process) = Process::current() {
        if process.is_ending() {
            return;
        }
        let why = why.into();
        let reason = Reason::from(Arc::clone(&why));
        let mut end = process.life().end.lock();
        end.get_or_insert_with(|| Box::new(End::Failed(why)));
        drop(end);
        process.cancel(reason);
    }
}

/// [`fail`], for a main function that has nothing more to do: unwinds, by whatever ends it. Returns
/// where nothing unwinds, and what is left then is to return.
pub(crate) fn fail_now(why: Arc<str>) {
    fail(why);
    mask(|| perform(cancelled_operation()));
    checkpoint();
}

impl Owner for Process {
    fn record(&self) -> Option<&Arc<Record>> {
        Some(&self.0)
    }
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl Eq for Process {}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "'{name}' ({})", self.id()),
            None => fmt::Display::fmt(&self.id(), f),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

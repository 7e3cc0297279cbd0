//! All fibers of a runtime at one moment, for whoever asks why nothing moves.

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::{fmt, panic::Location, time::Duration};

use fiber_core::{
    Id,
    context::Neighbour,
    env::{Env, Frame, Trace, WorkerId},
    operation::{Holder, Latch, perform_until},
    spin::SpinLock,
    stack::Owner,
};

use crate::{
    ask::{Answer, Ask, Question, RawFiber},
    primitive::AtomicUsize,
    runtime::Runtime,
    shared::Shared,
};

/// What a dump shows.
#[derive(Clone, Copy, Debug)]
pub struct DumpOptions {
    fibers_max: usize,
    frames_max: usize,
    grace: Duration,
}

impl Default for DumpOptions {
    fn default() -> Self {
        Self {
            fibers_max: 10_000,
            frames_max: 48,
            grace: Duration::from_millis(500),
        }
    }
}

impl DumpOptions {
    /// How many fibers are shown; 10 000 by default. The others are counted.
    #[must_use]
    pub fn fibers_max(self, fibers_max: usize) -> Self {
        Self { fibers_max, ..self }
    }

    /// How many frames of each fiber are shown; 48 by default. Without any a dump costs little: a
    /// backtrace takes the fiber's worker some ten microseconds.
    #[must_use]
    pub fn frames_max(self, frames_max: usize) -> Self {
        Self { frames_max, ..self }
    }

    /// How long workers have to answer; half a second by default. One that has not by then is shown
    /// with the fiber that keeps it, where the host can tell.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

/// All fibers of a runtime. Each worker has told of its own, at a moment of its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The workers, in order.
    pub workers: Vec<WorkerDump>,
}

/// One worker and its fibers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerDump {
    /// Which one.
    pub worker: WorkerId,
    /// How it was found.
    pub state: WorkerState,
    /// Its fibers: those that have started there, and those that wait there for their first run.
    pub fibers: Vec<FiberDump>,
    /// How many there are besides.
    pub left_out: usize,
}

/// How a dump has found a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It has told of its fibers.
    Answered,
    /// A fiber kept it from answering in time. What is known is that fiber, where the host can see
    /// it, and some of the others.
    Busy,
    /// It has not begun, or has ended.
    Closed,
}

/// One fiber.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FiberDump {
    /// Its id.
    pub id: Option<Id>,
    /// Its name.
    pub name: Option<String>,
    /// Its process; `None` if that is the runtime's first one, or the fiber has not started.
    pub process: Option<Id>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it does.
    pub state: FiberState,
    /// What it waits for, or has waited for last.
    pub waiting_for: &'static str,
    /// Who has what it is parked for, as far as that is known.
    pub held_by: Vec<Holder>,
    /// How many handles there are by which its wait could be ended, where they are counted, as in
    /// [`ParkedFiber::peers`](crate::ParkedFiber::peers).
    pub peers: Option<usize>,
    /// Whether nobody is left who could end its wait, as in
    /// [`ParkedFiber::is_orphaned`](crate::ParkedFiber::is_orphaned). It has leaked, with all that
    /// it holds.
    pub is_orphaned: bool,
    /// Where it is, innermost first.
    pub frames: Vec<Frame>,
}

/// What a fiber does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FiberState {
    /// It runs.
    Running,
    /// It could run and waits for its worker.
    Ready,
    /// It waits for something.
    Parked,
    /// It has not started.
    Unstarted,
}

impl Runtime {
    /// All fibers of this runtime, with the default [`DumpOptions`]. From any thread, the runtime's
    /// own fibers included.
    ///
    /// # Suspends
    /// Until every worker has answered, or its time is over, and until a helper of the host has
    /// read the names of functions; without names if none is free within as much time again.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here.
    pub fn dump(&self) -> Dump {
        self.dump_with(&DumpOptions::default())
    }

    /// [`Runtime::dump`] with other options.
    ///
    /// # Suspends
    /// As [`Runtime::dump`].
    pub fn dump_with(&self, options: &DumpOptions) -> Dump {
        let shared = self.shared();
        let question = Arc::new(Question {
            left: AtomicUsize::new(options.fibers_max),
            frames_max: options.frames_max,
        });
        let asks: Vec<Arc<Ask>> = shared.lanes.iter().map(|_| Ask::new(&question)).collect();
        for (lane, ask) in shared.lanes.iter().zip(&asks) {
            lane.ask(ask);
        }
        let deadline = shared.env.now() + options.grace;
        let answers: Vec<Option<Answer>> = asks
            .iter()
            .map(|ask| {
                let left = deadline.saturating_since(shared.env.now());
                let _ = perform_until(ask.done.wait_operation("a dump"), Some(left));
                ask.take_answer()
            })
            .collect();
        if shared.env.trace().is_none() {
            return resolve(shared, answers, None);
        }
        Reading::new(answers).finish(self.shared_arc(), options.grace)
    }
}

/// Answers whose functions get names: these are read from files, on more stack than a fiber may
/// have, so that a helper does it. If none is free in time there are no names.
struct Reading {
    unread: SpinLock<Option<Vec<Option<Answer>>>>,
    read: SpinLock<Option<Dump>>,
    done: Latch,
}

impl Reading {
    fn new(answers: Vec<Option<Answer>>) -> Arc<Self> {
        Arc::new(Self {
            unread: SpinLock::new(Some(answers)),
            read: SpinLock::new(None),
            done: Latch::new(),
        })
    }

    fn finish(self: Arc<Self>, shared: &Arc<Shared>, grace: Duration) -> Dump {
        let (reading, of) = (Arc::clone(&self), Arc::clone(shared));
        // A pool that has no room is one that has no helper free in time.
        let _ = shared.env.offload(Box::new(move || reading.read(&of)));
        loop {
            let _ = perform_until(self.done.wait_operation("names for a dump"), Some(grace));
            let is_done = self.done.is_open();
            if let Some(dump) = self.read.lock().take() {
                return dump;
            }
            let unread = self.unread.lock().take();
            if let Some(answers) = unread {
                return resolve(shared, answers, None);
            }
            if is_done {
                // The helper has panicked, and taken the answers with it.
                return resolve(shared, Vec::new(), None);
            }
            // A helper has begun, and comes to an end.
        }
    }

    fn read(&self, shared: &Shared) {
        let unread = self.unread.lock().take();
        let Some(answers) = unread else { return };
        let _done = Opens(&self.done);
        let dump = resolve(shared, answers, shared.env.trace());
        *self.read.lock() = Some(dump);
    }
}

/// Opens the latch in whatever way its helper ends.
struct Opens<'reading>(&'reading Latch);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

fn resolve(shared: &Shared, answers: Vec<Option<Answer>>, trace: Option<&dyn Trace>) -> Dump {
    let mut names = Names {
        trace,
        known: BTreeMap::new(),
    };
    let workers = (0..).map(WorkerId).zip(answers);
    let workers = workers
        .map(|(worker, answer)| match answer {
            Some(answer) => WorkerDump {
                worker,
                state: if answer.closed {
                    WorkerState::Closed
                } else {
                    WorkerState::Answered
                },
                fibers: answer
                    .fibers
                    .into_iter()
                    .map(|fiber| names.fiber(fiber))
                    .collect(),
                left_out: answer.left_out,
            },
            None => busy(shared, worker, &mut names),
        })
        .collect();
    if let Some(trace) = names.trace {
        trace.forget();
    }
    Dump { workers }
}

/// A worker that has not answered: it is looked at from outside.
fn busy(shared: &Shared, worker: WorkerId, names: &mut Names<'_>) -> WorkerDump {
    let lane = shared.lane(worker);
    let mut dump = WorkerDump {
        worker,
        state: WorkerState::Busy,
        fibers: Vec::new(),
        left_out: lane.started_and_live(),
    };
    let env: &dyn Env = &*shared.env;
    let sample = env
        .watch()
        .zip(lane.seen())
        .and_then(|(watch, seen)| watch.sample(seen.thread));
    // Between two fibers it has nobody to tell of: then its fibers are counted and no more.
    let Some(sample) = sample.filter(|sample| sample.glance.fiber.is_some()) else {
        return dump;
    };
    if let Some(owner) = &sample.glance.fiber {
        let frames = names.frames(&sample.addresses);
        dump.fibers
            .push(seen(owner, FiberState::Running, "nothing", frames));
    }
    let neighbours = sample.glance.neighbours.into_iter().flatten();
    for Neighbour {
        fiber, waiting_for, ..
    } in neighbours
    {
        dump.fibers
            .push(seen(&fiber, FiberState::Parked, waiting_for, Vec::new()));
    }
    let all = sample.glance.neighbours_total + usize::from(sample.glance.fiber.is_some());
    dump.left_out = all.saturating_sub(dump.fibers.len());
    dump
}

fn seen(
    owner: &Owner,
    state: FiberState,
    waiting_for: &'static str,
    frames: Vec<Frame>,
) -> FiberDump {
    FiberDump {
        id: owner.fiber,
        name: match owner.name() {
            "" => None,
            name => Some(name.into()),
        },
        process: owner.process,
        spawned_at: owner.spawned_at,
        state,
        waiting_for,
        held_by: Vec::new(),
        peers: None,
        is_orphaned: false,
        frames,
    }
}

/// Names of functions, each address looked up once.
struct Names<'env> {
    trace: Option<&'env dyn Trace>,
    known: BTreeMap<usize, Vec<Frame>>,
}

impl Names<'_> {
    fn fiber(&mut self, fiber: RawFiber) -> FiberDump {
        let frames = self.frames(&fiber.addresses);
        FiberDump {
            id: fiber.id,
            name: fiber.name,
            process: fiber.process,
            spawned_at: fiber.spawned_at,
            state: fiber.state,
            waiting_for: fiber.waiting_for,
            held_by: fiber.outlook.held_by,
            peers: fiber.outlook.peers,
            is_orphaned: fiber.outlook.is_orphaned,
            frames: without_switch(frames),
        }
    }

    fn frames(&mut self, addresses: &[usize]) -> Vec<Frame> {
        let Some(trace) = self.trace else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        for &address in addresses {
            let known = self.known.entry(address);
            frames.extend_from_slice(known.or_insert_with(|| trace.frames_at(address)));
        }
        frames
    }
}

/// Leaves out how the fiber was switched out, and below it how it was started: the same for all.
fn without_switch(mut frames: Vec<Frame>) -> Vec<Frame> {
    let is = |frame: &Frame, part: &str| frame.function.contains(part);
    if let Some(switch) = frames.iter().rposition(|frame| is(frame, "switch_out")) {
        frames.drain(..=switch);
    }
    let start = |frame: &Frame| is(frame, "fiber_core::fiber::block::") && is(frame, "::run");
    if let Some(start) = frames.iter().position(start) {
        frames.truncate(start);
    }
    frames
}

/// What fibers of one group have in common; the flag says that they are orphaned.
type Group<'dump> = (
    FiberState,
    bool,
    &'dump str,
    &'dump Location<'static>,
    &'dump [Frame],
);

impl fmt::Display for Dump {
    /// For people: fibers that do the same thing at the same place are shown once, with how many
    /// they are, the largest crowd first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: usize = self.workers.iter().map(|worker| worker.fibers.len()).sum();
        let left_out: usize = self.workers.iter().map(|worker| worker.left_out).sum();
        write!(
            f,
            "{} fibers on {} workers",
            shown + left_out,
            self.workers.len()
        )?;
        if left_out > 0 {
            write!(f, ", of which {left_out} are not shown")?;
        }
        for worker in &self.workers {
            worker.write_state(f)?;
        }
        let mut groups: BTreeMap<Group<'_>, Vec<(&FiberDump, WorkerId)>> = BTreeMap::new();
        for worker in &self.workers {
            for fiber in &worker.fibers {
                let group = (
                    fiber.state,
                    fiber.is_orphaned,
                    fiber.waiting_for,
                    fiber.spawned_at,
                    &*fiber.frames,
                );
                groups
                    .entry(group)
                    .or_default()
                    .push((fiber, worker.worker));
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|((state, ..), members)| {
            (*state != FiberState::Running, usize::MAX - members.len())
        });
        for (group, members) in groups {
            write_group(f, group, &members)?;
        }
        Ok(())
    }
}

impl WorkerDump {
    fn write_state(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (worker, fibers) = (self.worker.0, self.fibers.len() + self.left_out);
        match self.state {
            WorkerState::Answered => write!(f, "\nworker {worker}: {fibers} fibers"),
            WorkerState::Busy => write!(
                f,
                "\nworker {worker}: has not answered, a fiber keeps it; {fibers} fibers"
            ),
            WorkerState::Closed => write!(f, "\nworker {worker}: not running"),
        }
    }
}

fn write_group(
    f: &mut fmt::Formatter<'_>,
    (state, is_orphaned, waiting_for, spawned_at, frames): Group<'_>,
    members: &[(&FiberDump, WorkerId)],
) -> fmt::Result {
    const NAMED: usize = 8;
    write!(f, "\n\n{} ", members.len())?;
    match state {
        FiberState::Running => f.write_str("running")?,
        FiberState::Ready => write!(f, "ready, after waiting for {waiting_for}")?,
        FiberState::Parked => write!(f, "waiting for {waiting_for}")?,
        FiberState::Unstarted => f.write_str("not started")?,
    }
    if is_orphaned {
        f.write_str(", which nobody is left to end")?;
    }
    write!(f, ", spawned at {spawned_at}\n ")?;
    for (fiber, worker) in members.iter().take(NAMED) {
        match (&fiber.name, fiber.id) {
            (Some(name), Some(id)) => write!(f, " '{name}' ({id})")?,
            (Some(name), None) => write!(f, " '{name}'")?,
            (None, Some(id)) => write!(f, " {id}")?,
            (None, None) => f.write_str(" (no id)")?,
        }
        write!(f, "@{}", worker.0)?;
    }
    if members.len() > NAMED {
        write!(f, " and {} more", members.len() - NAMED)?;
    }
    for frame in frames {
        write!(f, "\n    {frame}")?;
    }
    Ok(())
}

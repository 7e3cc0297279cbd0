//! Looking after fibers that do not let others run.
//!
//! A thread of the host's looks at each worker every ten milliseconds. One that has resumed nobody
//! since the last look, and has used processor time, has a fiber that should let others run: its
//! budget is ended, so that its next charged call does. If there is none for long the fiber is a
//! hog, and is reported with where it is. A worker that sleeps in the kernel while a fiber is
//! running is reported, too: nobody else runs there meanwhile.
//!
//! It also calls a sleeping worker for fibers that were left to a worker to start next, and that it
//! has not started.
//!
//! The workers do nothing for it but count their turns and resumes. When all of them have slept
//! from one look to the next the watchdog sleeps as well. Not sooner: workers that sleep for parts
//! of a millisecond, as a server's do, would have to wake it after each look.

use alloc::{sync::Arc, vec::Vec};
use core::{mem, time::Duration};

use fiber_core::{
    env::{Instant, Sample, Tick, Watch, Watched, Watching, WorkerId},
    spin::SpinLock,
};

use crate::{
    episode::{Episode, Finding, Look},
    hog::{HogKind, HogReport},
    lane::{Lane, Seen},
    primitive::Ordering,
    shared::Shared,
};

/// How often workers are looked at.
const PERIOD: Duration = Duration::from_millis(10);
/// At most one line is logged in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// What the watchdog of a runtime looks for. Hosts whose workers are threads have one.
///
/// ```
/// use core::time::Duration;
/// use fiber_sched::Watchdog;
///
/// let patient = Watchdog::default().hog_after(Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    pub(crate) slice: Duration,
    pub(crate) hog_after: Duration,
    pub(crate) stuck_after: Duration,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self {
            slice: PERIOD,
            hog_after: Duration::from_millis(100),
            stuck_after: Duration::from_secs(1),
        }
    }
}

impl Watchdog {
    /// How much processor time a fiber uses without letting others run before it is reported;
    /// 100 ms by default, ten times what a fiber with a checkpoint in its loop gets in one go.
    #[must_use]
    pub fn hog_after(self, hog_after: Duration) -> Self {
        Self { hog_after, ..self }
    }

    /// How long a fiber keeps its worker's thread asleep in the kernel before it is reported; one
    /// second by default.
    #[must_use]
    pub fn stuck_after(self, stuck_after: Duration) -> Self {
        Self {
            stuck_after,
            ..self
        }
    }
}

/// What is called with each report.
pub(crate) type OnHog = Arc<dyn Fn(&HogReport) + Send + Sync>;

/// Begins to watch a runtime's workers; it ends when the guard is dropped. Without a watching
/// thread the runtime goes on, unwatched.
pub(crate) fn start(
    shared: &Arc<Shared>,
    config: Option<Watchdog>,
    on_hog: Option<OnHog>,
) -> Option<Guard> {
    let watch = shared.env.watch()?;
    let lookout = Arc::new(Lookout {
        shared: Arc::clone(shared),
        config: config?,
        on_hog,
        state: SpinLock::new(State {
            workers: shared.lanes.iter().map(|_| Looks::default()).collect(),
            log: Log::default(),
        }),
    });
    match watch.start(PERIOD, lookout) {
        Ok(watching) => {
            *shared.watching.lock() = Some(Arc::from(watching));
            shared.watched.store(true, Ordering::Relaxed);
            Some(Guard(Arc::clone(shared)))
        }
        Err(error) => {
            tracing::warn!(target: "fiber::sched", %error, "the workers are not watched");
            None
        }
    }
}

/// Ends the watching when it is dropped.
pub(crate) struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        // The workers are gone: it was the last reference but that of a call that is ending.
        let watching = self.0.watching.lock().take();
        drop(watching);
    }
}

impl Shared {
    /// The calling worker does not sleep any more: the watchdog may have to look at it.
    #[inline]
    pub(crate) fn end_rest(&self) {
        if self.rest.ended() {
            self.wake_watchdog();
        }
    }

    #[cold]
    fn wake_watchdog(&self) {
        let watching: Option<Arc<dyn Watching>> = self.watching.lock().clone();
        if let Some(watching) = watching {
            watching.wake();
        }
    }
}

/// One runtime's watchdog.
struct Lookout {
    shared: Arc<Shared>,
    config: Watchdog,
    on_hog: Option<OnHog>,
    state: SpinLock<State>,
}

/// What it remembers.
#[derive(Default)]
struct State {
    workers: Vec<Looks>,
    log: Log,
}

/// What it remembers of one worker.
#[derive(Default)]
struct Looks {
    episode: Episode,
    /// Processor time up to which it was counted to processes; `None` before the first look.
    sampled: Option<Duration>,
    /// How far it was at the last look.
    progress: u64,
}

impl Looks {
    /// Processor time that is to be counted to whoever runs at this look.
    ///
    /// What was used before a look at which nobody ran waits for the next one: in the long run
    /// each gets as much as it was met.
    fn sample(&mut self, cpu: Duration) -> Duration {
        let before = self.sampled.replace(cpu);
        before.map_or(Duration::ZERO, |before| cpu.saturating_sub(before))
    }
}

/// What it has logged.
#[derive(Default)]
struct Log {
    last: Option<Instant>,
    left_out: u32,
}

impl Log {
    /// Whether a report is to be logged: somebody reads it, and the last one is long ago.
    fn is_due(&self, now: Instant) -> bool {
        tracing::enabled!(target: "fiber::sched", tracing::Level::WARN)
            && self
                .last
                .is_none_or(|last| now.saturating_since(last) >= LOG_EVERY)
    }
}

/// The state during a tick, which calls out. It goes back even if that panics.
struct Taken<'lookout> {
    lookout: &'lookout Lookout,
    state: State,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.lookout.state.lock() = mem::take(&mut self.state);
    }
}

impl Watched for Lookout {
    fn tick(&self) -> Tick {
        let Some(watch) = self.shared.env.watch() else {
            return Tick::Rest;
        };
        // Its worker would have started it, but runs a fiber that does not wait. Before any look,
        // which may take long: who is told of a hog is the program.
        if self.shared.has_stealable() {
            self.shared.wake_one_idle();
        }
        let mut taken = Taken {
            lookout: self,
            state: mem::take(&mut *self.state.lock()),
        };
        let State { workers, log } = &mut taken.state;
        let mut moved = false;
        for ((worker, lane), looks) in (0..).zip(&self.shared.lanes).zip(workers) {
            let (before, progress) = (looks.progress, lane.progress());
            self.look_at(watch, WorkerId(worker), lane, looks, log);
            looks.progress = progress;
            moved |= before != progress;
        }
        drop(taken);
        let lanes = &self.shared.lanes;
        let nobody = || lanes.iter().all(|lane| lane.needs_no_watch());
        if !moved && self.shared.rest.enter(nobody) {
            Tick::Rest
        } else {
            Tick::Again
        }
    }
}

impl Lookout {
    fn look_at(
        &self,
        watch: &dyn Watch,
        worker: WorkerId,
        lane: &Lane,
        looks: &mut Looks,
        log: &mut Log,
    ) {
        let Some(seen) = lane.seen() else {
            *looks = Looks::default();
            return;
        };
        let Some(cpu) = watch.cpu(seen.thread) else {
            return;
        };
        let look = Look {
            progress: lane.progress(),
            sleeping: lane.is_sleeping(),
            cpu,
            now: self.shared.env.now(),
        };
        if !look.sleeping {
            seen.budget.sample(looks.sample(cpu));
        }
        let found = looks
            .episode
            .look(&look, &self.config, || watch.is_asleep(seen.thread));
        let kind = match found {
            Finding::Moves | Finding::Stays => return,
            Finding::EndSlice => return seen.budget.end(),
            Finding::Hog(cpu) => {
                seen.budget.end();
                HogKind::Busy { cpu }
            }
            Finding::Stuck(time) => HogKind::Asleep { time },
        };
        let due = log.is_due(look.now);
        if !due && self.on_hog.is_none() {
            // Nobody listens: reading the program's symbols would be for nothing.
            log.left_out += 1;
            return;
        }
        let sample = watch.sample(seen.thread);
        if is_out_of_date(lane, &seen, &look, sample.as_ref()) {
            return;
        }
        let trace = self.shared.env.trace();
        let report = HogReport::new(kind, worker, sample, trace, lane.started_and_live());
        if due {
            let unlogged = mem::take(&mut log.left_out);
            log.last = Some(look.now);
            tracing::warn!(target: "fiber::sched", unlogged, "{report}");
        } else {
            log.left_out += 1;
        }
        if let Some(on_hog) = &self.on_hog {
            on_hog(&report);
        }
    }
}

/// Whether the worker went on while it was looked at closely, or had no fiber to begin with.
fn is_out_of_date(lane: &Lane, seen: &Seen, look: &Look, sample: Option<&Sample>) -> bool {
    let idle = sample.is_some_and(|sample| sample.glance.fiber.is_none());
    let moved = lane.progress() != look.progress;
    let gone = lane.seen().is_none_or(|now| now.thread != seen.thread);
    idle || moved || gone
}

impl Lane {
    /// A number that rises whenever the worker resumes a fiber or takes a turn.
    fn progress(&self) -> u64 {
        self.counters.resumes.get() + self.counters.turns.get()
    }

    pub(crate) fn started_and_live(&self) -> usize {
        let counters = &self.counters;
        let live = counters.started.get().saturating_sub(self.ended());
        usize::try_from(live).unwrap_or(usize::MAX)
    }

    fn needs_no_watch(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst) || self.seen().is_none()
    }
}

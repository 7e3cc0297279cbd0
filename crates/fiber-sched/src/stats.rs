//! A runtime in numbers.

use alloc::vec::Vec;
use core::{fmt, time::Duration};

use fiber_core::{
    context::StackUse,
    env::{StackClass, StackStats, WorkerId},
};

use crate::{lane::Lane, primitive::Ordering, shared::Shared};

/// What a runtime has done so far. Read while it runs, so that the numbers of one worker may
/// differ by what happens meanwhile.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Fibers that were launched and have not ended.
    pub live: u64,
    /// The workers that share their work, then the dedicated ones.
    pub workers: Vec<WorkerStats>,
    /// The host's stacks, those of other runtimes on the same host included.
    pub stacks: StackStats,
    /// How deep fibers have used their stacks, by where they were spawned; samples, the deepest
    /// first. A class that is much larger than that can be made smaller.
    pub stack_use: Vec<StackUse>,
}

/// What one worker has done so far.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Which worker.
    pub worker: WorkerId,
    /// Whether it is a dedicated one.
    pub dedicated: bool,
    /// How often it went round: timers, fibers, host.
    pub turns: u64,
    /// How often it ran a fiber. It moves if and only if the worker makes progress.
    pub resumes: u64,
    /// Fibers launched by fibers of this worker.
    pub launched: u64,
    /// Fibers that had their first run here, and so live here.
    pub started: u64,
    /// Fibers that have ended here.
    pub ended: u64,
    /// How often a fiber waited for something.
    pub parks: u64,
    /// How often a fiber let others run, by itself or because its budget was used up.
    pub yields: u64,
    /// Unstarted fibers that it took from other workers.
    pub stolen: u64,
    /// How often it had nothing to do and waited in the host.
    pub sleeps: u64,
    /// How often another thread rang it up.
    pub wakes_sent: u64,
    /// How often another thread had something for it and did not need to ring, as it was awake.
    pub wakes_elided: u64,
    /// Requests handed to the host.
    pub requests: u64,
    /// System calls by which its turns have handed requests over and waited.
    pub enters: u64,
    /// The most requests that were handed over in one turn.
    pub batch_max: u64,
    /// Moments that its fibers waited for when its last turn began.
    pub timers: u64,
    /// Handlers of scopes that were unwound because they took too long.
    pub handlers_overdue: u64,
    /// Fibers that wait for their turn, started or not; those of the round that runs count, the
    /// one that asks included.
    pub queued: u64,
    /// The most started fibers that ever waited for their turn at once.
    pub queued_max: u64,
    /// Time spent on fibers and on the host's work, up to its last account.
    pub busy: Duration,
    /// Time spent asleep.
    pub asleep: Duration,
}

impl WorkerStats {
    /// The part of its time in which the worker was busy; 0 before it has any.
    pub fn utilisation(&self) -> f64 {
        let all = self.busy.as_secs_f64() + self.asleep.as_secs_f64();
        if all > 0.0 {
            self.busy.as_secs_f64() / all
        } else {
            0.0
        }
    }

    /// Requests for each turn, in the mean; 0 before the first one.
    pub fn batch_mean(&self) -> f64 {
        if self.turns == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a mean to be read")]
        let mean = self.requests as f64 / self.turns as f64;
        mean
    }

    fn of(worker: usize, lane: &Lane) -> Self {
        let counters = &lane.counters;
        let (resumes, yields) = (counters.resumes.get(), counters.yields.get());
        let ended = lane.ended();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            worker: WorkerId(u16::try_from(worker).unwrap_or(u16::MAX)),
            dedicated: lane.dedicated,
            turns: counters.turns.get(),
            resumes,
            launched: counters.launched.get(),
            started: counters.started.get(),
            ended,
            parks: resumes.saturating_sub(yields).saturating_sub(ended),
            yields,
            stolen: counters.stolen.get(),
            sleeps: counters.sleeps.get(),
            wakes_sent: number(lane.wakes.sent.load(Ordering::Relaxed)),
            wakes_elided: number(lane.wakes.elided.load(Ordering::Relaxed)),
            requests: counters.requests.get(),
            enters: counters.enters.get(),
            batch_max: counters.batch_max.get(),
            timers: counters.timers.get(),
            handlers_overdue: counters.handlers_overdue.get(),
            queued: number(lane.queued()),
            queued_max: counters.ready_max.get(),
            busy: Duration::from_nanos(counters.busy_ns.get()),
            asleep: Duration::from_nanos(counters.asleep_ns.get()),
        }
    }
}

impl Stats {
    pub(crate) fn of(shared: &Shared) -> Self {
        let lanes = shared.lanes.iter().enumerate();
        Self {
            live: shared.live(),
            workers: lanes
                .map(|(index, lane)| WorkerStats::of(index, lane))
                .collect(),
            stacks: shared.env.stack_stats(),
            stack_use: merged_stack_use(shared),
        }
    }

    /// How unevenly the sharing workers were busy: the busiest one's time by the least busy one's.
    /// 1 is even; `None` while one of them has not been busy at all, and for a runtime with so
    /// little to do that nobody has been for a tenth of a second.
    pub fn imbalance(&self) -> Option<f64> {
        let busy = self.workers.iter().filter(|worker| !worker.dedicated);
        let busy: Vec<_> = busy.map(|worker| worker.busy.as_secs_f64()).collect();
        let least = busy.iter().copied().reduce(f64::min)?;
        let most = busy.iter().copied().reduce(f64::max)?;
        (least > 0.0 && most >= 0.1).then(|| most / least)
    }
}

fn kibibytes(bytes: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a size to be read")]
    let kibibytes = bytes as f64 / 1024.0;
    kibibytes
}

/// All workers' samples, one entry for each place and class.
fn merged_stack_use(shared: &Shared) -> Vec<StackUse> {
    let mut merged: Vec<StackUse> = Vec::new();
    for lane in &shared.lanes {
        let part = lane.stack_use.lock().clone();
        for site in part {
            let same = |known: &&mut StackUse| {
                (known.spawned_at, known.class) == (site.spawned_at, site.class)
            };
            match merged.iter_mut().find(same) {
                None => merged.push(site),
                Some(known) => {
                    known.samples += site.samples;
                    known.deepest_bytes = known.deepest_bytes.max(site.deepest_bytes);
                }
            }
        }
    }
    merged.sort_by_key(|site| core::cmp::Reverse(site.deepest_bytes));
    merged
}

impl fmt::Display for Stats {
    /// One line for the runtime, one for each worker, and one for each measured place of spawns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fibers live", self.live)?;
        if let Some(imbalance) = self.imbalance() {
            write!(f, ", imbalance {imbalance:.2}")?;
        }
        for worker in &self.workers {
            write!(f, "\n{worker}")?;
        }
        write!(
            f,
            "\nstacks: {} with workers and their fibers",
            self.stacks.in_use()
        )?;
        for class in StackClass::ALL {
            let stats = self.stacks.of(class);
            if stats.mapped_bytes > 0 {
                let (kib, mapped) = (class.bytes() >> 10, stats.mapped_bytes >> 20);
                write!(
                    f,
                    "; {kib} KiB: {} lent, {} warm, {} cold, {mapped} MiB mapped, {} trims",
                    stats.in_use, stats.warm, stats.cold, stats.trims
                )?;
            }
        }
        for site in &self.stack_use {
            let kib = site.class.bytes() >> 10;
            write!(f, "\nspawned at ")?;
            match site.spawned_at {
                Some(place) => write!(f, "{place}")?,
                None => f.write_str("other places")?,
            }
            write!(
                f,
                ": {:.1} of {kib} KiB of stack used at the deepest ({} measured)",
                kibibytes(site.deepest_bytes),
                site.samples
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for WorkerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.dedicated { " (dedicated)" } else { "" };
        write!(
            f,
            "worker {}{kind}: {:.0} % busy, {} turns, {} resumes, {} parks, {} yields, \
             {} started, {} ended, {} stolen, {} queued (at most {}), \
             wakes {} sent and {} elided, {} requests (at most {} a turn), {} handlers overdue",
            self.worker.0,
            self.utilisation() * 100.0,
            self.turns,
            self.resumes,
            self.parks,
            self.yields,
            self.started,
            self.ended,
            self.stolen,
            self.queued,
            self.queued_max,
            self.wakes_sent,
            self.wakes_elided,
            self.requests,
            self.batch_max,
            self.handlers_overdue,
        )
    }
}

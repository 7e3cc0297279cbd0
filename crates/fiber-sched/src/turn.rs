//! A worker's loop.
//!
//! ```text
//! turn:  clock once ─▶ due timers ─▶ rounds ─▶ host turn (submits; waits if nothing is runnable)
//! round: those whose turn it is run once, see `rounds`; then the inbox is read
//! ```
//!
//! Rounds end when nothing is runnable, [`RESUMES`] fibers were resumed, or one of them has used
//! its budget up.

use alloc::{sync::Arc, vec::Vec};
use core::{array, cell::Cell, hint, iter, mem, ptr::NonNull};

use fiber_core::{
    context::{Context, Resumed},
    env::{HostFault, Instant, Site, Wait, WorkerId},
    fiber::{Priority, Reason, Runnable},
    timer,
};

use crate::{
    counters::Counters,
    error::RunFault,
    lane::Lane,
    linger::{LOOKS, LOOKS_BESIDE_REQUESTS, Linger, SOON},
    local::Local,
    report::ParkedFiber,
    rounds::Rounds,
    shared::{Phase, Shared},
};

/// How many fibers are resumed before the host gets its turn.
const RESUMES: usize = 128;
/// How many timers expire at once.
const DUE_AT_ONCE: usize = 16;
/// After how many turns without a wait a worker's time is accounted for, or so many fibers, each of
/// which may have run for long.
const ACCOUNT_TURNS: u64 = 64;
const ACCOUNT_RESUMES: u64 = 1024;

/// Why what is left is cancelled.
pub(crate) const RUN_OVER: Reason = Reason::new("the run is over: its main fiber has ended");

const STEAL: Site = Site::new("sched.steal");

/// The loop's view of its worker, and what it remembers.
pub(crate) struct Turn<'worker> {
    context: &'worker Context,
    local: &'worker Local,
    lane: &'worker Lane,
    counters: &'worker Counters,
    id: WorkerId,
    /// Whether this worker has reported who is asleep here, before they are cancelled.
    reported: bool,
    /// Whether the fibers here were cancelled after the main one had ended.
    cancelled: bool,
    /// Whether this worker is counted as quiet.
    quiet: bool,
    /// Whether this worker has told that all fibers are asleep.
    told_asleep: bool,
    /// Whether it has risen, and what it was called for may be left to others.
    risen: bool,
    rounds: Rounds,
    /// Whether of a band's new fibers only those were started that go before others.
    only_branches: [Cell<bool>; 3],
    linger: Linger,
    /// Until when it is known whether the worker was busy.
    accounted: Instant,
    /// How many fibers it had resumed then.
    accounted_resumes: u64,
    /// How many measured stacks others know of.
    stack_samples: u64,
}

impl<'worker> Turn<'worker> {
    pub(crate) fn new(context: &'worker Context, local: &'worker Local, id: WorkerId) -> Self {
        Self {
            context,
            local,
            lane: &local.lane,
            counters: &local.lane.counters,
            id,
            reported: false,
            cancelled: false,
            quiet: false,
            told_asleep: false,
            risen: false,
            rounds: Rounds::default(),
            only_branches: array::from_fn(|_| Cell::new(false)),
            linger: Linger::default(),
            accounted: context.now(),
            accounted_resumes: 0,
            stack_samples: 0,
        }
    }

    /// Runs fibers until the run has stopped.
    pub(crate) fn work(&mut self) {
        while self.shared().phase() != Phase::Stopped {
            self.heed_phase();
            self.tell_asleep();
            if self.lane.asks.is_waiting() {
                self.lane.answer(self.context);
            }
            if self.lane.sweeps.is_waiting() {
                self.lane.do_sweeps(self.context);
            }
            if self.lane.has_lost() {
                self.lane.look_for_lost(self.context);
            }
            self.fire_timers();
            self.pass_call_on();
            self.run_rounds();
            self.shared().stop_if_over();
            let wait = if self.has_work() {
                Wait::No
            } else {
                self.idle()
            };
            if let Err(fault) = self.turn(wait) {
                tracing::error!(
                    target: "fiber::sched", worker = self.id.0, error = %fault, "broken"
                );
                self.shared().fail(RunFault::Host(fault));
                self.shared().advance(Phase::Stopped);
            }
            self.awake();
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.local.shared
    }

    /// The host's turn, and what is counted about it.
    fn turn(&mut self, wait: Wait) -> Result<(), HostFault> {
        let counters = self.counters;
        let turns = counters.turns.get();
        counters.turns.set(turns + 1);
        counters.yields.set(self.context.yields());
        let mut wheel = self.local.wheel.borrow_mut();
        wheel.tend();
        counters.timers.set(wheel.len() as u64);
        drop(wheel);
        let waits = wait != Wait::No;
        let resumes = counters.resumes.get();
        let is_due = turns.is_multiple_of(ACCOUNT_TURNS)
            || resumes.wrapping_sub(self.accounted_resumes) >= ACCOUNT_RESUMES;
        if !waits && !is_due {
            return self.host_turn(wait);
        }
        self.accounted_resumes = resumes;
        self.publish_stack_use();
        let before = self.context.now();
        let busy = before.saturating_since(self.accounted);
        let turned = self.host_turn(wait);
        self.accounted = if waits { self.context.now() } else { before };
        let asleep = self.accounted.saturating_since(before);
        if waits {
            counters.sleeps.add(1);
            let called = !self.lane.inbox.is_empty();
            self.linger.slept(asleep, called);
        }
        counters.spent(busy, asleep, self.accounted);
        turned
    }

    fn host_turn(&self, wait: Wait) -> Result<(), HostFault> {
        let host = self.context.turn(wait)?.host;
        let counters = self.counters;
        counters.requests.add(u64::from(host.submitted));
        counters.batch_max.raise(u64::from(host.submitted));
        counters.enters.add(u64::from(host.enters));
        Ok(())
    }

    fn publish_stack_use(&mut self) {
        let samples = self.context.stack_samples();
        if samples != self.stack_samples {
            self.stack_samples = samples;
            let stack_use = self.context.stack_use();
            *self.lane.stack_use.lock() = stack_use;
        }
    }

    /// The main fiber has ended, or nothing can wake anybody: what started here is cancelled, once.
    fn heed_phase(&mut self) {
        if self.shared().phase() != Phase::Cancelling || self.cancelled {
            return;
        }
        if self.shared().is_asleep() && !self.report_asleep() {
            return;
        }
        self.cancelled = true;
        self.context.cancel_all(&RUN_OVER);
        self.shared().heeded();
    }

    /// Reports who is asleep here. True once every worker has: until then nobody is cancelled, so
    /// that each report finds who holds what as it was.
    fn report_asleep(&mut self) -> bool {
        if !self.reported {
            self.reported = true;
            self.context.report(|fiber| {
                let fiber = ParkedFiber::new(fiber, self.context.id_space());
                self.shared().parked.lock().push(fiber);
            });
            self.shared().reported();
        }
        self.shared().all_have_reported()
    }

    /// Every fiber of the runtime is parked. In an open world a plain thread may still wake one.
    /// The report lets nothing suspend while it is told (I-8).
    fn tell_asleep(&mut self) {
        if self.told_asleep || !self.shared().tells_asleep() {
            return;
        }
        self.told_asleep = true;
        self.context.report(|fiber| {
            if fiber.is_parked {
                let fiber = ParkedFiber::new(fiber, self.context.id_space());
                tracing::warn!(target: "fiber::sched", %fiber, "all fibers are asleep");
            }
        });
    }

    fn fire_timers(&self) {
        if self.local.wheel.borrow().len() == 0 {
            return;
        }
        let now = self.context.now();
        loop {
            let mut wheel = self.local.wheel.borrow_mut();
            let (mut due, mut count) = ([NonNull::dangling(); DUE_AT_ONCE], 0);
            while count < DUE_AT_ONCE
                && let Some(node) = wheel.pop_due(now)
            {
                due[count] = node;
                count += 1;
            }
            drop(wheel);
            // SAFETY: they were in the wheel until just now, so each is in place (I-12).
            unsafe { timer::expire(&due[..count]) };
            if count < DUE_AT_ONCE {
                return;
            }
        }
    }

    fn run_rounds(&self) {
        let mut resumed = 0;
        while resumed < RESUMES {
            self.read_inbox();
            let round = self.run_round(RESUMES - resumed);
            if round == 0 || self.context.take_overdue() {
                return;
            }
            resumed += round;
        }
    }

    fn read_inbox(&self) {
        if !self.lane.inbox.is_empty() {
            self.context.ready_all(&mut self.lane.inbox.take());
        }
        if self.lane.has_cancels() {
            for descriptor in self.lane.take_cancels() {
                self.context.cancel_requests_on(descriptor);
            }
        }
    }

    /// Runs those whose turn it is, once, and at most `max` of them.
    #[inline(always)]
    fn run_round(&self, max: usize) -> usize {
        if let Some(len) = self.context.plain_ready()
            && self.lane.unstarted_len() == 0
        {
            // As most rounds are: there is nothing to plan.
            self.count_queued(len);
            self.rounds.nobody_passed();
            return self.run_ready(Priority::Normal, len.min(max));
        }
        let ready = self.context.ready_lens();
        let unstarted = self.lane.unstarted_lens();
        let len = ready.iter().sum::<usize>();
        let branches = self.context.branch_lens();
        self.count_queued(len + branches.iter().sum::<usize>());
        let unstarted_len = unstarted.iter().sum::<usize>();
        if unstarted_len > 0 && len + unstarted_len > 1 {
            // One of them may have been put here without a call, see `Local::place`.
            self.shared().wake_one_idle();
        }
        let new = array::from_fn(|band| branches[band] + unstarted[band]);
        let quotas = self.rounds.plan(ready, new, max);
        let mut run = 0;
        for (priority, quota) in Priority::ALL.into_iter().zip(quotas) {
            let mut behind = quota.unstarted;
            if behind > 0 {
                // The most urgent that wait: what is left of the round is for their branches.
                let room = if run == 0 { max - quota.ready } else { behind };
                let only = &self.only_branches[priority.index()];
                // Branches may go on for ever: every other time somebody behind them starts, too.
                let kept = usize::from(only.get() && unstarted[priority.index()] > 0);
                let first = self.run_branches(priority, room - kept);
                behind = behind.saturating_sub(first).max(kept);
                only.set(behind == 0);
                run += first;
            }
            run += self.run_band(priority, quota.ready);
            run += self.run_unstarted(priority, behind);
        }
        run
    }

    #[inline]
    fn count_queued(&self, queued: usize) {
        self.counters.ready.set(queued as u64);
        self.counters.ready_max.raise(queued as u64);
    }

    /// Starts all new fibers that go before the ready ones and are there now, and before each of
    /// them those that the one before it has spawned; at most `max` in all.
    fn run_branches(&self, priority: Priority, max: usize) -> usize {
        let waiting = || self.context.branch_lens()[priority.index()];
        let (mut run, mut there) = (0, waiting());
        while there > 0 && run < max {
            // SAFETY: it is resumed just below, here (I-11).
            let fiber = unsafe { self.context.take_branch(priority) };
            there = there.min(waiting());
            self.resume(fiber.expect("new fibers of its own are taken by their worker alone"));
            run += 1;
        }
        run
    }

    #[inline(never)]
    fn run_band(&self, priority: Priority, count: usize) -> usize {
        self.run_ready(priority, count)
    }

    // Into the loop: see `Context::resume_started`.
    #[inline(always)]
    fn run_ready(&self, priority: Priority, count: usize) -> usize {
        for _ in 0..count {
            // SAFETY: it is resumed just below, here (I-11).
            let fiber = unsafe { self.context.take_ready(priority) };
            self.resume(fiber.expect("ready fibers are taken by their worker alone"));
        }
        count
    }

    fn run_unstarted(&self, priority: Priority, max: usize) -> usize {
        for count in 0..max {
            let Some(fiber) = self.lane.pop_unstarted(priority) else {
                return count;
            };
            self.resume(fiber);
        }
        max
    }

    // With all that it calls up to the switch, see `Context::resume_started`.
    #[inline(always)]
    fn resume(&self, fiber: Runnable) {
        let fiber = match fiber.fiber().is_started() {
            true => fiber,
            false => match self.begin(fiber) {
                Some(fiber) => fiber,
                None => return,
            },
        };
        self.counters.resumes.add(1);
        if self.context.resume_started(fiber) == Resumed::Finished {
            self.counters.ended.release(1);
        }
    }

    /// Has a new one start, or take another step of its wait for that: gives it back if it is to be
    /// resumed.
    fn begin(&self, fiber: Runnable) -> Option<Runnable> {
        let counters = self.counters;
        if fiber.is_new() {
            counters.started.add(1);
        }
        if self.shared().phase() >= Phase::Cancelling && !fiber.fiber().outlives_main() {
            fiber.fiber().cancel_with(RUN_OVER);
        }
        match self.context.begin(fiber) {
            Ok(fiber) => Some(fiber),
            Err(resumed) => {
                counters.resumes.add(1);
                if resumed == Resumed::Finished {
                    counters.ended.release(1);
                }
                None
            }
        }
    }

    /// After a fault fibers may be left that have not started: they end as cancelled ones, each on
    /// a stack of its own. Those that had started are left where they are.
    pub(crate) fn end_unstarted(&self) {
        // What an ending one launches is ended, too; what it wakes is not resumed any more.
        loop {
            let ready = Priority::ALL.into_iter().flat_map(|priority| {
                (0..self.context.ready_lens()[priority.index()]).filter_map(move |_| {
                    // SAFETY: it goes back, or is resumed, here (I-11).
                    unsafe { self.context.take_ready(priority) }
                })
            });
            let (started, mut unstarted): (Vec<_>, Vec<_>) =
                ready.partition(|fiber| fiber.fiber().is_started());
            for fiber in started {
                self.context.ready(fiber);
            }
            for priority in Priority::ALL {
                unstarted.extend(iter::from_fn(|| self.lane.pop_unstarted(priority)));
                unstarted.extend(iter::from_fn(|| {
                    // SAFETY: it is resumed here (I-11).
                    unsafe { self.context.take_branch(priority) }
                }));
            }
            if unstarted.is_empty() {
                return;
            }
            for fiber in unstarted {
                self.resume(fiber);
            }
        }
    }

    fn has_work(&self) -> bool {
        self.context.has_ready()
            || !self.lane.inbox.is_empty()
            || self.lane.unstarted_len() > 0
            || self.lane.has_cancels()
            || self.lane.asks.is_waiting()
            || self.lane.sweeps.is_waiting()
            || self.lane.has_lost()
            || self.shared().phase() == Phase::Stopped
    }

    /// Nothing to run here: steals, or says how long the host may wait.
    fn idle(&mut self) -> Wait {
        if self.steal() || self.linger() {
            return Wait::No;
        }
        let (shared, lane) = (&self.local.shared, self.lane);
        lane.set_sleeping(true);
        if !lane.dedicated {
            shared.idle.about_to_sleep(self.id);
        }
        // Whoever pushed before it could see us sleep is seen by us now.
        shared.stop_if_over();
        if self.has_work() || (!lane.dedicated && shared.has_stealable()) {
            return Wait::No;
        }
        let deadline = self.local.wheel.borrow().next_deadline();
        // What is to happen never does not keep anybody awake.
        let deadline = deadline.filter(|deadline| *deadline < Instant::NEVER);
        match deadline {
            Some(deadline) => Wait::Until(deadline),
            None if self.context.inflight() > 0 => Wait::Forever,
            // Ids to free, descriptors to close: nobody is woken by that, and then all is quiet.
            None if self.context.has_staged() => Wait::No,
            None => self.fall_quiet(),
        }
    }

    /// Looks a little longer for what others send, where that pays; true if something has come.
    fn linger(&mut self) -> bool {
        // What was staged is for the host at once.
        if !self.linger.pays() || self.context.has_staged() || self.is_due_soon() {
            return false;
        }
        let looks = match self.context.inflight() {
            0 => LOOKS,
            _ => LOOKS_BESIDE_REQUESTS,
        };
        let found = (0..looks).any(|_| {
            hint::spin_loop();
            self.has_work()
        });
        self.linger.lingered(found);
        found
    }

    /// Whether a moment comes that somebody waits for while one lingers.
    fn is_due_soon(&self) -> bool {
        let deadline = self.local.wheel.borrow().next_deadline();
        deadline.is_some_and(|deadline| deadline <= self.context.now() + SOON)
    }

    /// Nothing here can happen by itself any more; if that is so everywhere, it is over.
    fn fall_quiet(&mut self) -> Wait {
        self.quiet = true;
        let shared = self.shared();
        let phase = shared.phase();
        if !shared.quiet.enter(|| shared.nothing_pending(phase)) {
            return Wait::Forever;
        }
        if !shared.closed_world {
            // Everybody is to tell of its own fibers, once; then all are quiet again.
            return if shared.begin_to_tell_asleep() {
                Wait::No
            } else {
                Wait::Forever
            };
        }
        if phase >= Phase::Cancelling && !shared.given_up.is_open() {
            // The main fiber perhaps waits for processes that never end.
            shared.given_up.open();
        } else if phase >= Phase::Cancelling {
            // They were cancelled and cannot be: masked, or without unwinding. They are abandoned.
            shared.advance(Phase::Stopped);
        } else {
            shared.fail(RunFault::AllAsleep);
            shared.advance(Phase::Cancelling);
        }
        Wait::No
    }

    /// Takes a share of the fibers that wait to be started at another worker.
    fn steal(&self) -> bool {
        let sharing = self.shared().sharing();
        if self.lane.dedicated || sharing.len() == 1 {
            return false;
        }
        let first = self.id.index() + 1 + self.context.choose(STEAL, sharing.len() - 1);
        for offset in 0..sharing.len() {
            let index = (first + offset) % sharing.len();
            if index == self.id.index() || !sharing[index].is_stealable() {
                continue;
            }
            let mut stolen = sharing[index].steal();
            let Some(first) = stolen.pop() else { continue };
            self.counters.stolen.add(1 + stolen.len() as u64);
            // One is for the thief itself: two of them could else take it from each other for
            // ever, and nobody would run it.
            self.context.ready(first);
            let more = !stolen.is_empty();
            if more {
                self.lane.push_all_unstarted(&mut stolen);
            }
            // Whoever is called sees to it that the next one is, for as long as there is work.
            if more || self.shared().has_stealable() {
                self.shared().wake_one_idle();
            }
            return true;
        }
        false
    }

    /// Called after each turn, before anything is taken out of a queue.
    fn awake(&mut self) {
        if mem::take(&mut self.quiet) {
            self.shared().quiet.leave();
        }
        let lane = self.lane;
        if !lane.is_sleeping() {
            return;
        }
        lane.set_sleeping(false);
        self.shared().end_rest();
        if !lane.dedicated {
            self.shared().idle.awake(self.id);
            self.risen = true;
        }
    }

    /// Called after it has risen and knows its own work, before it runs any: if it was called for
    /// what it leaves to others, having something of its own, the next one is called.
    fn pass_call_on(&mut self) {
        if !mem::take(&mut self.risen) {
            return;
        }
        let lane = self.lane;
        let unstarted = lane.unstarted_len();
        let busy = self.context.has_ready() || !lane.inbox.is_empty();
        let leaves_own = unstarted > usize::from(!busy);
        let leaves_others =
            || (busy || unstarted > 0) && self.shared().has_stealable_besides(&self.local.lane);
        if leaves_own || leaves_others() {
            self.shared().wake_one_idle();
        }
    }
}

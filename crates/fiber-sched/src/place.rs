//! Where a new fiber goes.
//!
//! A fiber that has started stays where it is, so balance is a matter of admission: at home while
//! that is not overloaded, else on the less loaded of two workers drawn at random, which is within
//! a small factor of the best choice (Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", 2001). Sleepers are called to help themselves.

use fiber_core::{
    dice::Dice,
    env::{Chooser, Instant, Site, WorkerId},
    fiber::{FiberQueue, Position, Runnable},
};

use crate::shared::Shared;

/// Home is not looked at more closely while fewer wait there.
const OVERLOAD_MIN: usize = 64;

pub(crate) const SPREAD: Site = Site::new("sched.spread");

impl Shared {
    /// Whether so much waits at `home` that it is better to send new fibers away.
    pub(crate) fn is_overloaded(&self, home: WorkerId) -> bool {
        let queued = self.lane(home).queued();
        if queued < OVERLOAD_MIN {
            return false;
        }
        let sharing = self.sharing();
        let all: usize = sharing.iter().map(|lane| lane.queued()).sum();
        // More than twice the mean of the others.
        queued * (sharing.len() - 1) > 2 * all.saturating_sub(queued)
    }

    /// Draws two sharing workers, and takes the less loaded one.
    pub(crate) fn pick(&self, mut below: impl FnMut(usize) -> usize, now: Instant) -> WorkerId {
        let workers = self.sharing().len();
        let id = |index: usize| WorkerId(u16::try_from(index).expect("workers are u16"));
        if workers == 1 {
            return id(0);
        }
        let first = below(workers);
        let mut second = below(workers - 1);
        second += usize::from(second >= first);
        if self.load(second, now) < self.load(first, now) {
            id(second)
        } else {
            id(first)
        }
    }

    /// A worker's load: who waits for their turn counts, and how busy it was; then how many live
    /// there.
    fn load(&self, worker: usize, now: Instant) -> (u64, u64) {
        let lane = &self.lanes[worker];
        let counters = &lane.counters;
        let queued = u64::try_from(lane.queued()).unwrap_or(u64::MAX);
        // How busy it was tells most about fibers that live long. Who waits at this moment counts,
        // too, as a hundredth of the worker's time: or a crowd would all go to the same one.
        let now_and_of_late = counters.load_permille(lane.is_sleeping(), now) + queued * 10;
        let living = counters.started.get().saturating_sub(lane.ended());
        (now_and_of_late, living)
    }

    /// Queues a fiber at `worker`, for whoever is free first.
    pub(crate) fn push_shared(&self, worker: WorkerId, fiber: Runnable) {
        let lane = self.lane(worker);
        lane.push_unstarted(fiber, Position::Last);
        if lane.is_sleeping() {
            lane.notify();
        } else {
            self.wake_one_idle();
        }
    }

    /// Queues many fibers, the same number at each sharing worker.
    pub(crate) fn push_spread(&self, mut fibers: FiberQueue) {
        let sharing = self.sharing();
        for (index, lane) in sharing.iter().enumerate() {
            let share = fibers.len().div_ceil(sharing.len() - index);
            let mut part = FiberQueue::new();
            while part.len() < share
                && let Some(fiber) = fibers.pop()
            {
                part.push(fiber);
            }
            if !part.is_empty() {
                lane.push_all_unstarted(&mut part);
                lane.notify();
            }
        }
    }

    /// [`Shared::push_shared`] from a thread that is no worker of this runtime.
    pub(crate) fn push_from_outside(&self, fiber: Runnable) {
        // The address of a new block is as good as a random number here.
        let seed = core::ptr::from_ref(fiber.fiber()).addr() as u64;
        let launched = self.live();
        let dice =
            Dice::seeded(seed.rotate_left(17) ^ launched.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll(2);
        let chooser = self.env.chooser();
        let draw = |n| chooser.map_or_else(|| dice.roll(n), |chooser| choose(chooser, n));
        let worker = self.pick(draw, self.env.now());
        self.push_shared(worker, fiber);
    }
}

fn choose(chooser: &dyn Chooser, n: usize) -> usize {
    chooser.choose(SPREAD, u32::try_from(n).expect("workers are u16")) as usize
}

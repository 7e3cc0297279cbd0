//! Queues of fibers by urgency.

use super::{
    handle::Fiber,
    queue::{FiberQueue, Position},
    runnable::Runnable,
};

/// How urgent a fiber is. It says who is resumed first among the fibers of one worker, and who is
/// started first; it never interrupts a fiber that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// Before all others: short work that others wait for.
    High,
    /// As most.
    #[default]
    Normal,
    /// When there is nothing else to do, and now and then even so.
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The position in [`Priority::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One first-in, first-out queue for each [`Priority`].
#[derive(Debug, Default)]
pub struct Bands {
    queues: [FiberQueue; 3],
}

impl Bands {
    /// Empty queues.
    pub const fn new() -> Self {
        Self {
            queues: [FiberQueue::new(), FiberQueue::new(), FiberQueue::new()],
        }
    }

    /// How many wait, by priority.
    #[inline]
    pub fn lens(&self) -> [usize; 3] {
        [
            self.queues[0].len(),
            self.queues[1].len(),
            self.queues[2].len(),
        ]
    }

    /// How many wait in all.
    #[inline]
    pub fn len(&self) -> usize {
        self.lens().into_iter().sum()
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of this priority wait.
    #[inline]
    pub fn len_of(&self, priority: Priority) -> usize {
        self.queues[priority.index()].len()
    }

    /// Whether nobody of another priority waits.
    #[inline]
    pub fn has_only(&self, priority: Priority) -> bool {
        let others = Priority::ALL.into_iter().filter(|&other| other != priority);
        others.fold(0, |len, other| len | self.len_of(other)) == 0
    }

    /// Appends a fiber to the queue of its priority.
    #[inline]
    pub fn push(&mut self, fiber: Runnable) {
        let priority = fiber.fiber().priority();
        self.queues[priority.index()].push(fiber);
    }

    /// Queues a fiber with those of its priority, in this position among them.
    pub fn push_past(&mut self, fiber: Runnable, position: Position) {
        let priority = fiber.fiber().priority();
        self.queues[priority.index()].push_past(fiber, position);
    }

    /// Appends all of `fibers`, each to the queue of its priority.
    pub fn push_all(&mut self, fibers: &mut FiberQueue) {
        while let Some(fiber) = fibers.pop() {
            self.push(fiber);
        }
    }

    /// Visits all who wait, the most urgent first.
    pub fn each(&self, mut visit: impl FnMut(&Fiber)) {
        for queue in &self.queues {
            queue.each(&mut visit);
        }
    }

    /// Takes the first one of this priority: the one that waits longest, unless others were let
    /// past it.
    #[inline]
    pub fn pop(&mut self, priority: Priority) -> Option<Runnable> {
        self.queues[priority.index()].pop()
    }

    /// Takes the one of this priority at `index`, counted from the oldest.
    pub fn remove(&mut self, priority: Priority, index: usize) -> Option<Runnable> {
        self.queues[priority.index()].remove(index)
    }

    /// Takes the first half of the most urgent that wait, one at the least and `max` at the most.
    pub fn split(&mut self, max: usize) -> FiberQueue {
        let mut taken = FiberQueue::new();
        let Some(queue) = self.queues.iter_mut().find(|queue| !queue.is_empty()) else {
            return taken;
        };
        let count = queue.len().div_ceil(2).min(max);
        while taken.len() < count
            && let Some(fiber) = queue.pop()
        {
            taken.push(fiber);
        }
        taken
    }
}

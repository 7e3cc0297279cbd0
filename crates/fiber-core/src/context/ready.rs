//! Which fibers of a worker wait for their turn, and in which order.
//!
//! ```text
//! woken, yielded, spawned later ─▶ ready: in the order in which they came
//! spawned in a fiber's first run ▶ branches: before what was there, in their order
//! ```

use super::Context;
use crate::{
    env::Site,
    fiber::{FiberQueue, Header, Position, Priority, Runnable},
};

/// Of so many fibers that spawn others in their first run, one has these stand behind all those
/// that others have spawned so.
const BRANCHES_IN_A_ROW: u32 = 1024;

impl Context {
    /// Queues a fiber of this worker that was woken, or is new here.
    #[inline]
    pub fn ready(&self, fiber: Runnable) {
        self.ready.borrow_mut().push(fiber);
    }

    /// Queues fibers of this worker, in order.
    pub fn ready_all(&self, fibers: &mut FiberQueue) {
        self.ready.borrow_mut().push_all(fibers);
    }

    /// Where the fiber that is spawned just now stands among those that wait to be started.
    ///
    /// What a fiber spawns in its first run, before it is switched out, goes before the others, in
    /// its order: so a tree of fibers is worked off branch by branch, and as many of them hold
    /// stacks at once as it is deep, not as many as it is wide. Of 1024 such fibers one has what it
    /// spawns stand behind what others have spawned so, so that chains of them keep nobody out for
    /// ever, however many there are. A simulator chooses among all who wait.
    pub fn position_of_new(&self) -> Position {
        let position = self.position.get();
        if position != Position::First {
            return position;
        }
        let branched = self.branched.get().wrapping_add(1);
        self.branched.set(branched);
        let (this, others) = if self.has_chooser {
            (Position::Last, Position::Last)
        } else if branched.is_multiple_of(BRANCHES_IN_A_ROW) {
            (Position::Behind, Position::Behind)
        } else {
            (Position::First, Position::Next)
        };
        self.position.set(others);
        this
    }

    /// Queues a new fiber of this worker, which nobody else may start.
    pub fn ready_new(&self, fiber: Runnable) {
        match self.position_of_new() {
            Position::Last => self.ready(fiber),
            position => self.branches.borrow_mut().push_past(fiber, position),
        }
    }

    pub(crate) fn requeue(&self, fiber: &Header) {
        self.ready(fiber.runnable());
    }

    /// How many fibers are ready, new ones among them.
    #[inline]
    pub fn ready_len(&self) -> usize {
        self.ready.borrow().len() + self.branches.borrow().len()
    }

    /// How many fibers are ready, by priority, but for those of [`Context::branch_lens`].
    #[inline]
    pub fn ready_lens(&self) -> [usize; 3] {
        self.ready.borrow().lens()
    }

    /// How many fibers are ready, if all of them are of the normal priority and no new ones go
    /// before them.
    #[inline]
    pub fn plain_ready(&self) -> Option<usize> {
        if !self.branches.borrow().is_empty() {
            return None;
        }
        let ready = self.ready.borrow();
        let is_plain = ready.has_only(Priority::Normal);
        is_plain.then(|| ready.len_of(Priority::Normal))
    }

    /// How many new fibers go before the ready ones, by priority.
    #[inline]
    pub fn branch_lens(&self) -> [usize; 3] {
        self.branches.borrow().lens()
    }

    /// Whether a fiber is ready.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.ready_len() != 0
    }

    /// Takes the next ready fiber of this priority: the oldest, or a simulator's choice.
    ///
    /// # Safety
    /// What it gives stays on this thread, and goes to [`Context::resume`] or
    /// [`Context::ready`] of this worker (I-11).
    #[inline]
    pub unsafe fn take_ready(&self, priority: Priority) -> Option<Runnable> {
        const NEXT: Site = Site::new("sched.next");
        if !self.has_chooser {
            return self.ready.borrow_mut().pop(priority);
        }
        let index = self.choose(NEXT, self.ready_lens()[priority.index()]);
        self.ready.borrow_mut().remove(priority, index)
    }

    /// Takes the next new fiber of this priority that goes before the ready ones.
    ///
    /// # Safety
    /// As [`Context::take_ready`].
    pub unsafe fn take_branch(&self, priority: Priority) -> Option<Runnable> {
        self.branches.borrow_mut().pop(priority)
    }
}

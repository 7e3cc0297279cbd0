//! One of two operations, and so of any number.
//!
//! `first.or(second.or(third))` is flat when it is tried: its three arms come in any order. Nodes
//! are linked arm by arm, each under its own list's lock; what makes one arm win is the performer's
//! one cell, so no two locks are ever held together.

use core::pin::Pin;

use pin_project_lite::pin_project;

use super::{How, Operation, Published, cell::WaitCell, order};
use crate::env::Instant;

pin_project! {
    /// Either of two operations, whichever can commit first; see [`Operation::or`].
    #[derive(Debug)]
    pub struct Or<A, B> {
        #[pin]
        first: A,
        #[pin]
        second: B,
    }
}

/// What came of one of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one of two")]
pub enum Either<A, B> {
    /// The first one was chosen.
    First(A),
    /// The second one was chosen.
    Second(B),
}

impl<T> Either<T, T> {
    /// What came of it, whichever it was.
    pub fn into_inner(self) -> T {
        match self {
            Self::First(value) | Self::Second(value) => value,
        }
    }
}

impl<A, B> Or<A, B> {
    pub(super) const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

// SAFETY: its nodes are those of its two operations, each of which keeps the promises itself; both
// are retracted, and one arm is committed, since both publish for the same cell (I-2, I-12).
unsafe impl<A: Operation, B: Operation> Operation for Or<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn name(&self) -> &'static str {
        super::CHOICE
    }

    fn prepare(&mut self, how: How) {
        self.first.prepare(how);
        self.second.prepare(how);
    }

    fn depth(&self) -> usize {
        self.first.depth().max(self.second.depth())
    }

    #[inline]
    fn arms(&self) -> u16 {
        let arms = self.first.arms().checked_add(self.second.arms());
        arms.expect("a choice has at most 65 535 arms")
    }

    fn due(&self, now: &dyn Fn() -> Instant) -> Option<(Instant, u16)> {
        let split = self.first.arms();
        let second = self.second.due(now).map(|(at, arm)| (at, split + arm));
        match (self.first.due(now), second) {
            (Some(first), Some(second)) => Some(if second.0 < first.0 { second } else { first }),
            (first, second) => first.or(second),
        }
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        order::each(self.arms(), |arm| self.try_arm(arm))
    }

    #[inline]
    fn try_arm(&mut self, arm: u16) -> bool {
        match arm.checked_sub(self.first.arms()) {
            None => self.first.try_arm(arm),
            Some(arm) => self.second.try_arm(arm),
        }
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.project();
        let split = this.first.arms();
        // SAFETY: the caller's promise, and the parts are pinned with the whole (I-12).
        let published = unsafe { this.first.publish(cell, base) };
        if published != Published::Waiting {
            return published;
        }
        // SAFETY: as above (I-12).
        match unsafe { this.second.publish(cell, base + split) } {
            Published::Committed(arm) => Published::Committed(split + arm),
            Published::Waiting => Published::Waiting,
        }
    }

    fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.project();
        let split = this.first.arms();
        let published = this.first.look_again(cell, base);
        if published != Published::Waiting {
            return published;
        }
        match this.second.look_again(cell, base + split) {
            Published::Committed(arm) => Published::Committed(split + arm),
            Published::Waiting => Published::Waiting,
        }
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        let this = self.project();
        let split = this.first.arms();
        this.first.retract(winner.filter(|arm| *arm < split));
        this.second
            .retract(winner.and_then(|arm| arm.checked_sub(split)));
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> Self::Output {
        let this = self.project();
        match arm.checked_sub(this.first.arms()) {
            None => {
                // SAFETY: the caller's promise, for an arm of the first (I-12).
                let winner = unsafe { Winner::new(this.first, arm) };
                this.second.lose();
                Either::First(winner.finish())
            }
            Some(arm) => {
                // SAFETY: the caller's promise, for an arm of the second (I-12).
                let winner = unsafe { Winner::new(this.second, arm) };
                this.first.lose();
                Either::Second(winner.finish())
            }
        }
    }

    fn lose(self: Pin<&mut Self>) {
        let this = self.project();
        this.first.lose();
        this.second.lose();
    }
}

/// An operation that was chosen. If what the losers do about it unwinds, it is finished
/// nevertheless, and what it gives is dropped: a lock that was taken is released again.
pub(super) struct Winner<'a, O: Operation + ?Sized> {
    operation: Option<Pin<&'a mut O>>,
    arm: u16,
}

impl<'a, O: Operation + ?Sized> Winner<'a, O> {
    /// # Safety
    /// As [`Operation::finish`], which is called once, here.
    pub(super) unsafe fn new(operation: Pin<&'a mut O>, arm: u16) -> Self {
        Self {
            operation: Some(operation),
            arm,
        }
    }

    pub(super) fn finish(mut self) -> O::Output {
        let operation = self.operation.take().expect("it is finished once");
        // SAFETY: by the promise to `new`; `take` makes this the only call (I-12).
        unsafe { operation.finish(self.arm) }
    }
}

impl<O: Operation + ?Sized> Drop for Winner<'_, O> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            // SAFETY: as in `finish` (I-12).
            drop(unsafe { operation.finish(self.arm) });
        }
    }
}

//! Operations whose types are forgotten, and choices of any number of them.
//!
//! A choice of choices is one list of arms, however deep it was built: guards are made one after
//! another from a list of what is left to do, not by recursion, so a chain of forty thousand of
//! them needs no more stack than one. What a nack covers is a group of arms; groups lie in groups.

use alloc::{boxed::Box, vec::Vec};
use core::{fmt, mem, pin::Pin};

use super::{
    Deadlock, How, Nack, Operation, Published, Waits, cell::WaitCell, choice::Winner,
    guard::NotChosen, order,
};
use crate::env::Instant;

/// So many boxes may lie inside of each other.
const DEPTH_MAX: usize = 64;

/// An operation of any kind, or a choice of several; see [`Operation::boxed`] and [`choose_dyn`].
///
/// ```
/// use fiber_core::operation::{BoxedOperation, Operation, always, choose_dyn, never};
///
/// let mut arms: Vec<BoxedOperation<'_, u32>> = vec![never().boxed()];
/// arms.push(always(20).wrap(|twenty| twenty + 1).boxed());
/// assert_eq!(choose_dyn(arms).perform(), 21);
/// ```
pub struct BoxedOperation<'a, T> {
    parts: Vec<Part<'a, T>>,
    arms: Vec<Arm<'a, T>>,
    groups: Vec<Group>,
    depth: usize,
}

/// What it was made of, until it is prepared.
enum Part<'a, T> {
    Operation(Pin<Box<dyn Operation<Output = T> + 'a>>),
    Guard(Box<dyn FnOnce(How) -> BoxedOperation<'a, T> + 'a>),
    WithNack(Box<dyn FnOnce(Nack) -> BoxedOperation<'a, T> + 'a>),
    /// The parts of the group that was opened last end here.
    EndOfGroup,
}

/// One operation of it, once it was prepared.
struct Arm<'a, T> {
    operation: Pin<Box<dyn Operation<Output = T> + 'a>>,
    /// Its own first arm, counted in the whole.
    base: u16,
    /// The innermost group that it is in.
    group: Option<usize>,
}

/// What one nack covers.
struct Group {
    not_chosen: Option<NotChosen>,
    outer: Option<usize>,
}

/// A choice of any number of operations, in place of [`choose!`](crate::choose) where the number
/// is known only as the program runs. Of none it is [`never`](super::never()). Allocates.
///
/// A choice has at most 65 535 arms, those of the choices in it included; performing a larger one
/// panics.
pub fn choose_dyn<'a, T>(
    operations: impl IntoIterator<Item = BoxedOperation<'a, T>>,
) -> BoxedOperation<'a, T> {
    let mut all = BoxedOperation::empty();
    for operation in operations {
        assert!(operation.arms.is_empty(), "{TRIED}");
        all.depth = all.depth.max(operation.depth);
        all.parts.extend(operation.parts);
    }
    all
}

const TOO_DEEP: &str = "an operation has at most 64 boxes inside of each other: make one list of \
    what is chosen from, with `choose_dyn`, `guard_dyn` and `with_nack_dyn`";

const TRIED: &str = "an operation that was tried already is no part of another one";

impl<'a, T> BoxedOperation<'a, T> {
    const fn empty() -> Self {
        Self {
            parts: Vec::new(),
            arms: Vec::new(),
            groups: Vec::new(),
            depth: 0,
        }
    }

    fn of_one(part: Part<'a, T>) -> Self {
        let mut this = Self::empty();
        this.parts.push(part);
        this
    }

    pub(super) fn new<O: Operation<Output = T> + 'a>(operation: O) -> Self {
        let depth = operation.depth() + 1;
        assert!(depth <= DEPTH_MAX, "{TOO_DEEP}");
        let mut this = Self::of_one(Part::Operation(Box::pin(operation)));
        this.depth = depth;
        this
    }

    /// Runs the guards, one after another, until operations are all that is left.
    fn prepare_all(&mut self, how: How) {
        let mut todo = mem::take(&mut self.parts);
        todo.reverse();
        let mut group = None;
        while let Some(part) = todo.pop() {
            match part {
                Part::Operation(operation) => self.add(operation, group, how),
                Part::Guard(make) => make(how).unfold_onto(&mut todo),
                Part::WithNack(make) => {
                    let (nack, not_chosen) = Nack::new();
                    self.groups.push(Group {
                        not_chosen: Some(not_chosen),
                        outer: group,
                    });
                    group = Some(self.groups.len() - 1);
                    todo.push(Part::EndOfGroup);
                    make(nack).unfold_onto(&mut todo);
                }
                Part::EndOfGroup => group = group.and_then(|group| self.groups[group].outer),
            }
        }
    }

    fn unfold_onto(self, todo: &mut Vec<Part<'a, T>>) {
        assert!(self.arms.is_empty(), "{TRIED}");
        todo.extend(self.parts.into_iter().rev());
    }

    fn add(
        &mut self,
        mut operation: Pin<Box<dyn Operation<Output = T> + 'a>>,
        group: Option<usize>,
        how: How,
    ) {
        // Guards may make what guards make, in boxes inside of each other.
        let inside = How {
            depth: how.depth + 1,
            ..how
        };
        assert!(inside.depth <= DEPTH_MAX, "{TOO_DEEP}");
        // SAFETY: `prepare` moves nothing that is pinned: nothing was published (I-12).
        unsafe { operation.as_mut().get_unchecked_mut() }.prepare(inside);
        let base = self.arms();
        let arms = base.checked_add(operation.arms());
        assert!(arms.is_some(), "a choice has at most 65 535 arms");
        self.arms.push(Arm {
            operation,
            base,
            group,
        });
    }

    /// The operation to which an arm of the whole belongs.
    fn owner_of(&self, arm: u16) -> usize {
        self.arms.partition_point(|part| part.base <= arm) - 1
    }

    /// The nacks of all groups but those of the chosen arm get ready.
    fn settle_groups(&mut self, chosen: Option<usize>) {
        let mut at = chosen.and_then(|arm| self.arms[arm].group);
        while let Some(group) = at {
            if let Some(not_chosen) = self.groups[group].not_chosen.take() {
                not_chosen.chosen();
            }
            at = self.groups[group].outer;
        }
        self.groups.clear();
    }
}

/// [`guard`](super::guard()) for boxed operations: chains of any length are made without recursion.
pub fn guard_dyn<'a, T>(
    make: impl FnOnce(How) -> BoxedOperation<'a, T> + 'a,
) -> BoxedOperation<'a, T> {
    BoxedOperation::of_one(Part::Guard(Box::new(make)))
}

/// [`with_nack`](super::with_nack) for boxed operations, see [`guard_dyn`].
pub fn with_nack_dyn<'a, T>(
    make: impl FnOnce(Nack) -> BoxedOperation<'a, T> + 'a,
) -> BoxedOperation<'a, T> {
    BoxedOperation::of_one(Part::WithNack(Box::new(make)))
}

// SAFETY: its nodes are those of the operations in it, which keep the promises, each in a box of
// its own that stays where it is; all are retracted (I-2, I-12).
unsafe impl<T> Operation for BoxedOperation<'_, T> {
    type Output = T;

    fn name(&self) -> &'static str {
        match &*self.arms {
            [arm] => arm.operation.name(),
            _ => super::CHOICE,
        }
    }

    fn prepare(&mut self, how: How) {
        if !self.parts.is_empty() {
            self.prepare_all(how);
        }
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn arms(&self) -> u16 {
        let last = self.arms.last();
        last.map_or(0, |arm| arm.base + arm.operation.arms())
    }

    fn due(&self, now: &dyn Fn() -> Instant) -> Option<(Instant, u16)> {
        let due = self.arms.iter().filter_map(|part| {
            let (at, arm) = part.operation.due(now)?;
            Some((at, part.base + arm))
        });
        due.min()
    }

    fn waits(&self) -> Option<Waits<'_>> {
        match &*self.arms {
            [arm] => arm.operation.waits(),
            _ => None,
        }
    }

    fn try_now(&mut self) -> Option<u16> {
        order::each(self.arms(), |arm| self.try_arm(arm))
    }

    fn try_arm(&mut self, arm: u16) -> bool {
        let owner = self.owner_of(arm);
        let part = &mut self.arms[owner];
        // SAFETY: `try_arm` moves nothing that must stay, as implementors promise (I-12).
        let operation = unsafe { part.operation.as_mut().get_unchecked_mut() };
        operation.try_arm(arm - part.base)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        for part in &mut self.get_mut().arms {
            // SAFETY: the caller's promise, and each operation stays in its box (I-12).
            let published = unsafe { part.operation.as_mut().publish(cell, base + part.base) };
            if let Published::Committed(arm) = published {
                return Published::Committed(part.base + arm);
            }
        }
        Published::Waiting
    }

    fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        for part in &mut self.get_mut().arms {
            let published = part.operation.as_mut().look_again(cell, base + part.base);
            if let Published::Committed(arm) = published {
                return Published::Committed(part.base + arm);
            }
        }
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        let this = self.get_mut();
        let owner = winner.map(|arm| this.owner_of(arm));
        for (index, part) in this.arms.iter_mut().enumerate() {
            let own = winner.filter(|_| owner == Some(index));
            part.operation
                .as_mut()
                .retract(own.map(|arm| arm - part.base));
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> T {
        let this = self.get_mut();
        let owner = this.owner_of(arm);
        this.settle_groups(Some(owner));
        let (before, rest) = this.arms.split_at_mut(owner);
        let (chosen, after) = rest.split_first_mut().expect("an arm has its operation");
        // SAFETY: the caller's promise, for the operation that the arm belongs to (I-12).
        let winner = unsafe { Winner::new(chosen.operation.as_mut(), arm - chosen.base) };
        for loser in before.iter_mut().chain(after) {
            loser.operation.as_mut().lose();
        }
        winner.finish()
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> T {
        let this = self.get_mut();
        this.settle_groups(None);
        let [arm] = &mut *this.arms else {
            unreachable!("only one operation waits for certain fibers");
        };
        arm.operation.as_mut().refuse(deadlock)
    }

    fn lose(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.settle_groups(None);
        for arm in &mut this.arms {
            arm.operation.as_mut().lose();
        }
    }
}

impl<T> fmt::Debug for BoxedOperation<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedOperation")
            .field("parts", &self.parts.len())
            .field("arms", &self.arms.len())
            .finish_non_exhaustive()
    }
}

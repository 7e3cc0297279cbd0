//! The timer wheel: a hierarchy of 11 levels of 64 slots, exact to the nanosecond.
//!
//! ```text
//! level 0: slots of 1 ns     │ a node lies at the level of the highest 6-bit group in which its
//! level 1: slots of 64 ns    │ deadline differs from `elapsed`; when time reaches its slot it
//! level 2: slots of 4096 ns  │ moves down, at the latest to level 0, and fires.
//!   …  up to all 64 bits     │ arm and disarm: O(1). Order within one deadline: as armed.
//! ```
//!
//! Nodes lie in the frames of parked fibers (I-12); the wheel holds pointers only. Its bound is
//! the number of waits.

use core::ptr::{self, NonNull};

use alloc::{boxed::Box, vec};
use fiber_core::{env::Instant, timer::TimerNode};

const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 11;
/// Nodes that are due when they are armed wait here for the next advance.
const DUE: u32 = 11 << LEVEL_BITS;
const _: () = assert!(
    DUE as usize == LEVELS * SLOTS,
    "the last place, behind all slots"
);
/// So many nodes of one slot are looked at to find the exact next deadline.
const LOOK: usize = 16;

/// All timers of one worker.
pub(crate) struct Wheel {
    elapsed: u64,
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
    armed: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    first: *const TimerNode,
    last: *const TimerNode,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        let empty = Slot {
            first: ptr::null(),
            last: ptr::null(),
        };
        Self {
            elapsed: now.as_nanos(),
            occupied: [0; LEVELS],
            slots: vec![empty; LEVELS * SLOTS + 1].into_boxed_slice(),
            armed: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.armed
    }

    /// Puts a node in.
    ///
    /// # Safety
    /// The node stays in place until it has expired or was removed (I-12), and is not in a wheel.
    pub(crate) unsafe fn insert(&mut self, node: NonNull<TimerNode>) {
        // SAFETY: in place by the caller's promise (I-12).
        let node = unsafe { node.as_ref() };
        self.armed += 1;
        self.place(node);
    }

    /// Takes a node out that is in.
    pub(crate) fn remove(&mut self, node: &TimerNode) {
        let links = node.links();
        let slot = links.slot.get();
        let (prev, next) = (links.prev.get(), links.next.get());
        match reach(prev) {
            None => self.slots[slot as usize].first = next,
            Some(prev) => prev.links().next.set(next),
        }
        match reach(next) {
            None => self.slots[slot as usize].last = prev,
            Some(next) => next.links().prev.set(prev),
        }
        self.armed -= 1;
        if self.slots[slot as usize].first.is_null() && slot != DUE {
            self.occupied[slot as usize / SLOTS] &= !(1 << (slot as usize % SLOTS));
        }
    }

    /// The moment of the next expiry, or a bit earlier when many timers lie close together.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if !self.slots[DUE as usize].first.is_null() {
            return Some(Instant::from_nanos(self.elapsed));
        }
        let (index, starts) = self.first_slot()?;
        let mut earliest = u64::MAX;
        let mut at = self.slots[index].first;
        for _ in 0..LOOK {
            let Some(node) = reach(at) else {
                return Some(Instant::from_nanos(earliest));
            };
            earliest = earliest.min(node.deadline().as_nanos());
            at = node.links().next.get();
        }
        Some(Instant::from_nanos(starts))
    }

    /// Takes the next node out whose deadline is not after `now`. Call it until it gives `None`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<NonNull<TimerNode>> {
        loop {
            if let Some(node) = reach(self.slots[DUE as usize].first) {
                self.remove(node);
                return Some(NonNull::from_ref(node));
            }
            match self.first_slot() {
                Some((index, starts)) if starts <= now.as_nanos() => {
                    self.elapsed = self.elapsed.max(starts);
                    self.cascade(index);
                }
                _ => {
                    self.elapsed = self.elapsed.max(now.as_nanos());
                    return None;
                }
            }
        }
    }

    /// Places the nodes of a slot anew, now that its time has come.
    fn cascade(&mut self, index: usize) {
        let mut at = self.slots[index].first;
        self.slots[index] = Slot {
            first: ptr::null(),
            last: ptr::null(),
        };
        self.occupied[index / SLOTS] &= !(1 << (index % SLOTS));
        while let Some(node) = reach(at) {
            at = node.links().next.get();
            self.place(node);
        }
    }

    /// The first occupied slot and the time at which it starts.
    fn first_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = LEVEL_BITS * level_number(level);
        let above = shift + LEVEL_BITS;
        let base = if above >= u64::BITS {
            0
        } else {
            self.elapsed >> above << above
        };
        Some((level * SLOTS + slot, base | (slot as u64) << shift))
    }

    fn place(&mut self, node: &TimerNode) {
        let deadline = node.deadline().as_nanos();
        let slot = if deadline <= self.elapsed {
            DUE
        } else {
            let level = (deadline ^ self.elapsed).ilog2() / LEVEL_BITS;
            #[expect(clippy::cast_possible_truncation, reason = "6 bits are meant")]
            let in_level = (deadline >> (level * LEVEL_BITS)) as u32 % (1 << LEVEL_BITS);
            self.occupied[level as usize] |= 1 << in_level;
            (level << LEVEL_BITS) + in_level
        };
        let links = node.links();
        let place = &mut self.slots[slot as usize];
        links.slot.set(slot);
        links.next.set(ptr::null());
        links.prev.set(place.last);
        match reach(place.last) {
            None => place.first = node,
            Some(last) => last.links().next.set(node),
        }
        place.last = node;
    }
}

fn level_number(level: usize) -> u32 {
    u32::try_from(level).expect("there are 11 levels")
}

fn reach<'a>(node: *const TimerNode) -> Option<&'a TimerNode> {
    // SAFETY: the wheel holds nodes that were put in and not taken out, which stay in place for
    // that long by the promise of `insert` (I-12).
    unsafe { node.as_ref() }
}

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, vec, vec::Vec};
    use core::pin::pin;

    use fiber_core::timer::TimerNode;

    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    /// Deadlines in the order in which a wheel gives them, advanced in steps.
    fn fired(start: u64, deadlines: &[u64], steps: &[u64]) -> Vec<Vec<u64>> {
        let nodes: Vec<_> = deadlines
            .iter()
            .map(|&nanos| Box::pin(TimerNode::at(at(nanos))))
            .collect();
        let mut wheel = Wheel::new(at(start));
        for node in &nodes {
            // SAFETY: boxed and pinned until the end of this function (I-12).
            unsafe { wheel.insert(NonNull::from_ref(&**node)) };
        }
        let mut all = Vec::new();
        for &step in steps {
            let mut now = Vec::new();
            while let Some(node) = wheel.pop_due(at(step)) {
                // SAFETY: as above (I-12).
                now.push(unsafe { node.as_ref() }.deadline().as_nanos());
            }
            all.push(now);
        }
        assert_eq!(
            wheel.len(),
            deadlines.len() - all.iter().map(Vec::len).sum::<usize>()
        );
        all
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines_and_never_early() {
        let deadlines = [5, 1 << 40, 70, 4096, 63, 64, 65, u64::MAX - 1, 5];
        let all = fired(0, &deadlines, &[4, 5, 64, 5000, 1 << 41, u64::MAX]);
        assert_eq!(
            all,
            [
                vec![],
                vec![5, 5],
                vec![63, 64],
                vec![65, 70, 4096],
                vec![1 << 40],
                vec![u64::MAX - 1]
            ]
        );
    }

    #[test]
    fn deadlines_in_the_past_fire_at_once() {
        assert_eq!(
            fired(1000, &[1, 999, 1000, 1001], &[1000]),
            [vec![1, 999, 1000]]
        );
    }

    #[test]
    fn random_deadlines_fire_as_a_sorted_list_would() {
        let mut random: u64 = 0x2545_f491_4f6c_dd1d;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for _ in 0..200 {
            let start = next() >> (next() % 60);
            let deadlines: Vec<u64> = (0..50)
                .map(|_| start.saturating_add(next() >> (next() % 64)))
                .collect();
            let mut steps: Vec<u64> = (0..20)
                .map(|_| start.saturating_add(next() >> (next() % 64)))
                .collect();
            steps.sort_unstable();
            let mut left = deadlines.clone();
            left.sort_unstable();
            for (step, fired) in steps.iter().zip(fired(start, &deadlines, &steps)) {
                let due = left
                    .iter()
                    .take_while(|&&deadline| deadline <= *step)
                    .count();
                assert_eq!(fired, left.drain(..due).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_removed_timer_does_not_fire_and_the_next_deadline_is_exact() {
        let (first, second) = (
            pin!(TimerNode::at(at(100))),
            pin!(TimerNode::at(at(1 << 30))),
        );
        let mut wheel = Wheel::new(at(0));
        for node in [first.as_ref(), second.as_ref()] {
            // SAFETY: pinned in this frame (I-12).
            unsafe { wheel.insert(NonNull::from_ref(node.get_ref())) };
        }
        assert_eq!(wheel.next_deadline(), Some(at(100)));
        wheel.remove(&first);
        assert_eq!(wheel.next_deadline(), Some(at(1 << 30)));
        assert!(wheel.pop_due(at(1 << 29)).is_none());
        assert!(wheel.pop_due(at(1 << 30)).is_some());
        assert_eq!((wheel.len(), wheel.next_deadline()), (0, None));
    }
}

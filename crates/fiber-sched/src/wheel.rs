//! The timer wheel: a hierarchy of 11 levels of 64 slots, exact to the nanosecond.
//!
//! ```text
//! level 0: slots of 1 ns     │ a node lies at the level of the highest 6-bit group in which its
//! level 1: slots of 64 ns    │ deadline differs from `elapsed`; when time reaches its slot it
//! level 2: slots of 4096 ns  │ moves down, at the latest to level 0, and fires.
//!   …  up to all 64 bits     │ arm and disarm: O(1). Order within one deadline: as armed.
//! ```
//!
//! Nodes lie in the frames of parked fibers (I-12), each on a page of its own. The wheel keeps what
//! it needs of each, its deadline, in a table beside it: so that who moves many down walks through
//! a few lines, and not through all stacks. The table is as large as most waits at a time were
//! since there was none; it grows and goes between turns, where what is allocated is no fiber's.

use alloc::{boxed::Box, vec};
use core::ptr::NonNull;

use fiber_core::{env::Instant, timer::TimerNode};
use slab::Slab;

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

/// An empty table as large as this, or larger, goes back to the allocator.
const KEPT_MAX: usize = 4096;
/// There is room for so many more timers when a turn begins: eight for each fiber that may run in
/// it. Who arms more has the table grow there and then.
const ROOM: usize = 1024;
/// In the place of an entry's number: there is none.
const NONE: u32 = u32::MAX;

/// All timers of one worker.
pub(crate) struct Wheel {
    elapsed: u64,
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
    entries: Slab<Entry>,
}

/// The list of those in one slot, oldest first.
#[derive(Clone, Copy)]
struct Slot {
    first: u32,
    last: u32,
}

/// What the wheel knows of a node.
struct Entry {
    deadline: u64,
    node: NonNull<TimerNode>,
    prev: u32,
    next: u32,
    slot: u32,
}

const EMPTY: Slot = Slot {
    first: NONE,
    last: NONE,
};

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            elapsed: now.as_nanos(),
            occupied: [0; LEVELS],
            slots: vec![EMPTY; LEVELS * SLOTS + 1].into_boxed_slice(),
            entries: Slab::with_capacity(ROOM),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts a node in.
    ///
    /// # Safety
    /// The node stays in place until it has expired or was removed (I-12), and is not in a wheel.
    pub(crate) unsafe fn insert(&mut self, node: NonNull<TimerNode>) {
        // SAFETY: in place by the caller's promise (I-12).
        let deadline = unsafe { node.as_ref() }.deadline().as_nanos();
        let slot = self.slot_of(deadline);
        let prev = self.slots[slot as usize].last;
        let key = self.entries.insert(Entry {
            deadline,
            node,
            prev,
            next: NONE,
            slot,
        });
        let key = u32::try_from(key).expect("a worker has less than four thousand million waits");
        // SAFETY: as above (I-12).
        unsafe { node.as_ref() }.set_place(key);
        self.append(key, prev, slot);
    }

    /// Takes a node out that is in.
    pub(crate) fn remove(&mut self, node: &TimerNode) {
        let taken = self.take_out(node.place());
        assert!(taken == NonNull::from_ref(node), "it is in this wheel");
    }

    /// Sees to the size of the table, outside of any fiber: what is asked of the allocator there is
    /// no fiber's.
    #[inline]
    pub(crate) fn tend(&mut self) {
        if self.entries.capacity() - self.entries.len() < ROOM
            || (self.entries.is_empty() && self.entries.capacity() >= KEPT_MAX)
        {
            self.resize();
        }
    }

    #[cold]
    fn resize(&mut self) {
        if self.entries.is_empty() {
            self.entries = Slab::with_capacity(ROOM);
        } else {
            self.entries.reserve(ROOM);
        }
    }

    fn take_out(&mut self, key: u32) -> NonNull<TimerNode> {
        let entry = self.entries.remove(key as usize);
        let (prev, next, slot) = (entry.prev, entry.next, entry.slot as usize);
        match self.entries.get_mut(prev as usize) {
            None => self.slots[slot].first = next,
            Some(prev) => prev.next = next,
        }
        match self.entries.get_mut(next as usize) {
            None => self.slots[slot].last = prev,
            Some(next) => next.prev = prev,
        }
        if self.slots[slot].first == NONE && entry.slot != DUE {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
        entry.node
    }

    /// The moment of the next expiry, or a bit earlier when many timers lie close together.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.slots[DUE as usize].first != NONE {
            return Some(Instant::from_nanos(self.elapsed));
        }
        let (index, starts) = self.first_slot()?;
        let mut earliest = u64::MAX;
        let mut at = self.slots[index].first;
        for _ in 0..LOOK {
            let Some(entry) = self.entries.get(at as usize) else {
                return Some(Instant::from_nanos(earliest));
            };
            earliest = earliest.min(entry.deadline);
            at = entry.next;
        }
        Some(Instant::from_nanos(starts))
    }

    /// Takes the next node out whose deadline is not after `now`. Call it until it gives `None`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<NonNull<TimerNode>> {
        loop {
            let first = self.slots[DUE as usize].first;
            if first != NONE {
                return Some(self.take_out(first));
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
        self.slots[index] = EMPTY;
        self.occupied[index / SLOTS] &= !(1 << (index % SLOTS));
        while let Some(&Entry { deadline, next, .. }) = self.entries.get(at as usize) {
            let slot = self.slot_of(deadline);
            let prev = self.slots[slot as usize].last;
            let entry = &mut self.entries[at as usize];
            (entry.slot, entry.prev, entry.next) = (slot, prev, NONE);
            self.append(at, prev, slot);
            at = next;
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

    /// The slot of a deadline, in which there is somebody from now on.
    fn slot_of(&mut self, deadline: u64) -> u32 {
        if deadline <= self.elapsed {
            return DUE;
        }
        let level = (deadline ^ self.elapsed).ilog2() / LEVEL_BITS;
        #[expect(clippy::cast_possible_truncation, reason = "6 bits are meant")]
        let in_level = (deadline >> (level * LEVEL_BITS)) as u32 % (1 << LEVEL_BITS);
        self.occupied[level as usize] |= 1 << in_level;
        (level << LEVEL_BITS) + in_level
    }

    /// Lets the entry `key` follow the last one of `slot`, which it knows by now.
    fn append(&mut self, key: u32, last: u32, slot: u32) {
        match self.entries.get_mut(last as usize) {
            None => self.slots[slot as usize].first = key,
            Some(last) => last.next = key,
        }
        self.slots[slot as usize].last = key;
    }
}

fn level_number(level: usize) -> u32 {
    u32::try_from(level).expect("there are 11 levels")
}

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, vec, vec::Vec};
    use core::{iter, pin::pin};

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

    #[test]
    fn timers_of_one_moment_fire_as_they_were_armed_whichever_entries_they_have() {
        let early: Vec<_> = (0..8).map(|_| Box::pin(TimerNode::at(at(10)))).collect();
        let late: Vec<_> = (0..8)
            .map(|_| Box::pin(TimerNode::at(at(1 << 20))))
            .collect();
        let mut wheel = Wheel::new(at(0));
        let arm = |wheel: &mut Wheel, node: &TimerNode| {
            // SAFETY: boxed and pinned until the end of this test (I-12).
            unsafe { wheel.insert(NonNull::from_ref(node)) };
        };
        // Every other late one gets the entry of an early one that has left.
        for (early, late) in early.iter().zip(&late) {
            arm(&mut wheel, early);
            if early.place() % 2 == 1 {
                wheel.remove(early);
            }
            arm(&mut wheel, late);
        }
        while wheel.pop_due(at(10)).is_some() {}
        // Nearer by now: the rest has moved down, and one leaves from among them.
        assert!(wheel.pop_due(at((1 << 20) - 1)).is_none());
        wheel.remove(&late[3]);
        let fired = iter::from_fn(|| wheel.pop_due(at(1 << 20)));
        let fired: Vec<_> = fired.collect();
        let expected = (0..8).filter(|&number| number != 3);
        let expected: Vec<_> = expected
            .map(|number| NonNull::from_ref(&*late[number]))
            .collect();
        assert_eq!(fired, expected);
    }

    #[test]
    fn fibers_find_room_in_the_table_and_an_empty_one_goes() {
        let nodes: Vec<_> = (0..10_000)
            .map(|nanos| Box::pin(TimerNode::at(at(nanos))))
            .collect();
        let mut wheel = Wheel::new(at(0));
        for nodes in nodes.chunks(ROOM) {
            wheel.tend();
            let room = wheel.entries.capacity();
            for node in nodes {
                // SAFETY: boxed and pinned until the end of this test (I-12).
                unsafe { wheel.insert(NonNull::from_ref(&**node)) };
            }
            assert_eq!(wheel.entries.capacity(), room, "it was made before");
        }
        for node in nodes.iter().rev() {
            wheel.remove(node);
        }
        assert!(wheel.entries.capacity() >= 10_000, "no fiber gives it back");
        wheel.tend();
        assert_eq!((wheel.entries.capacity(), wheel.len()), (ROOM, 0));
    }
}

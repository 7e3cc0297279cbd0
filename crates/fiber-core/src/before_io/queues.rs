//! The requests that wait for readiness: FIFOs for each descriptor and direction, and an index by
//! token.
//!
//! Transfers and pure waits stand in lines of their own. They must not hold each other up: a
//! descriptor can be too full to count as writable and still take some bytes.
//!
//! Slots, lists and index are reused, so the steady state allocates nothing. The index is a hash
//! table whose chains run through the slots; tokens of one port have dense slot numbers, so chains
//! are short.

use alloc::{vec, vec::Vec};

use slab::Slab;

use crate::request::{Interest, RawDescriptor, Request, Token};

const NONE: u32 = u32::MAX;
const BUCKETS_MIN: usize = 64;

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) token: Token,
    pub(super) request: Request,
    /// Bytes moved so far, for an extent of "all".
    pub(super) moved: u64,
    /// The descriptor of a connect that has begun.
    pub(super) under_way: Option<RawDescriptor>,
}

/// Which queue: a descriptor, a direction, and one of two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) descriptor: RawDescriptor,
    pub(super) interest: Interest,
    pub(super) line: Line,
}

/// What stands in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// `Ready`: it takes nothing away from others.
    Waits,
    /// Everything else.
    Transfers,
}

impl Place {
    /// How many a descriptor has.
    pub(super) const EACH: usize = 4;

    /// Every place of a descriptor.
    pub(super) fn all(descriptor: RawDescriptor) -> impl Iterator<Item = Self> {
        let both = [Interest::Readable, Interest::Writable];
        both.into_iter()
            .flat_map(move |interest| Self::of(descriptor, interest))
    }

    /// Those of one direction, in the order in which they are served.
    pub(super) fn of(descriptor: RawDescriptor, interest: Interest) -> [Self; 2] {
        [Line::Waits, Line::Transfers].map(|line| Self {
            descriptor,
            interest,
            line,
        })
    }

    const fn index(self) -> usize {
        let direction = match self.interest {
            Interest::Readable => 0,
            Interest::Writable => 1,
        };
        match self.line {
            Line::Waits => direction,
            Line::Transfers => 2 + direction,
        }
    }
}

#[derive(Debug)]
struct Node {
    waiting: Waiting,
    place: Place,
    next: u32,
    prev: u32,
    /// The next one in the same bucket of the index.
    chain: u32,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
    /// An attempt would have blocked, and no event has come since.
    unready: bool,
}

const EMPTY: Queue = Queue {
    first: NONE,
    last: NONE,
    unready: false,
};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Queues {
    nodes: Slab<Node>,
    by_descriptor: Vec<[Queue; Place::EACH]>,
    buckets: Vec<u32>,
}

impl Queues {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn has(&self, place: Place) -> bool {
        self.queue(place).first != NONE
    }

    pub(super) fn is_unready(&self, place: Place) -> bool {
        self.queue(place).unready
    }

    pub(super) fn set_unready(&mut self, place: Place, unready: bool) {
        if unready || self.queue(place).unready {
            self.queue_mut(place).unready = unready;
        }
    }

    /// Appends to a queue; whether it was empty.
    pub(super) fn push(&mut self, place: Place, waiting: Waiting) -> bool {
        let last = self.queue(place).last;
        let node = self.nodes.insert(Node {
            waiting,
            place,
            next: NONE,
            prev: last,
            chain: NONE,
        });
        let node = u32::try_from(node).expect("a port has fewer than 2^30 requests");
        let queue = self.queue_mut(place);
        queue.last = node;
        if queue.first == NONE {
            queue.first = node;
        }
        if let Some(last) = self.nodes.get_mut(last as usize) {
            last.next = node;
        }
        self.index(node);
        last == NONE
    }

    /// The first of a queue.
    pub(super) fn first_mut(&mut self, place: Place) -> Option<&mut Waiting> {
        let first = self.queue(place).first;
        Some(&mut self.nodes.get_mut(first as usize)?.waiting)
    }

    pub(super) fn pop(&mut self, place: Place) -> Option<Waiting> {
        let first = self.queue(place).first;
        self.remove(first)
    }

    /// Takes out the request with this token.
    pub(super) fn take(&mut self, token: Token) -> Option<(Place, Waiting)> {
        let mut node = *self.buckets.get(self.bucket(token))?;
        loop {
            let found = self.nodes.get(node as usize)?;
            if found.waiting.token == token {
                let place = found.place;
                return Some((place, self.remove(node)?));
            }
            node = found.chain;
        }
    }

    /// Takes out any request.
    pub(super) fn take_any(&mut self) -> Option<(Place, Waiting)> {
        let (node, found) = self.nodes.iter().next()?;
        let place = found.place;
        let node = u32::try_from(node).expect("pushed as a u32");
        Some((place, self.remove(node)?))
    }

    fn remove(&mut self, node: u32) -> Option<Waiting> {
        if !self.nodes.contains(node as usize) {
            return None;
        }
        self.unindex(node);
        let removed = self.nodes.remove(node as usize);
        let (prev, next) = (removed.prev, removed.next);
        match self.nodes.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => self.queue_mut(removed.place).first = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(next) => next.prev = prev,
            None => self.queue_mut(removed.place).last = prev,
        }
        Some(removed.waiting)
    }

    fn queue(&self, place: Place) -> Queue {
        let queues = self.by_descriptor.get(place.descriptor.0 as usize);
        queues.map_or(EMPTY, |queues| queues[place.index()])
    }

    fn queue_mut(&mut self, place: Place) -> &mut Queue {
        let index = place.descriptor.0 as usize;
        if self.by_descriptor.len() <= index {
            self.by_descriptor.resize(index + 1, [EMPTY; Place::EACH]);
        }
        &mut self.by_descriptor[index][place.index()]
    }

    fn bucket(&self, token: Token) -> usize {
        token.slot() as usize & self.buckets.len().wrapping_sub(1)
    }

    fn index(&mut self, node: u32) {
        if self.nodes.len() > self.buckets.len() {
            self.rebuild();
            return;
        }
        let bucket = self.bucket(self.nodes[node as usize].waiting.token);
        self.nodes[node as usize].chain = self.buckets[bucket];
        self.buckets[bucket] = node;
    }

    fn unindex(&mut self, node: u32) {
        let (token, chain) = {
            let node = &self.nodes[node as usize];
            (node.waiting.token, node.chain)
        };
        let bucket = self.bucket(token);
        if self.buckets[bucket] == node {
            self.buckets[bucket] = chain;
            return;
        }
        let mut before = self.buckets[bucket];
        while self.nodes[before as usize].chain != node {
            before = self.nodes[before as usize].chain;
        }
        self.nodes[before as usize].chain = chain;
    }

    /// Doubles the index.
    fn rebuild(&mut self) {
        let buckets = (self.buckets.len() * 2).max(BUCKETS_MIN);
        self.buckets = vec![NONE; buckets];
        for (node, found) in &mut self.nodes {
            let bucket = found.waiting.token.slot() as usize & (buckets - 1);
            let node = u32::try_from(node).expect("pushed as a u32");
            found.chain = core::mem::replace(&mut self.buckets[bucket], node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(descriptor: u32) -> Place {
        Place {
            descriptor: RawDescriptor(descriptor),
            interest: Interest::Readable,
            line: Line::Transfers,
        }
    }

    fn waiting(slot: u32) -> Waiting {
        Waiting {
            token: Token::new(slot, 1),
            request: Request::Nop,
            moved: 0,
            under_way: None,
        }
    }

    fn pop_all(queues: &mut Queues, descriptor: u32) -> Vec<u32> {
        core::iter::from_fn(|| queues.pop(place(descriptor)))
            .map(|waiting| waiting.token.slot())
            .collect()
    }

    #[test]
    fn a_queue_is_first_in_first_out_whoever_is_taken_from_it() {
        for taken in 0..4 {
            let mut queues = Queues::default();
            for slot in 0..4 {
                assert_eq!(queues.push(place(3), waiting(slot)), slot == 0);
            }
            let (from, out) = queues.take(Token::new(taken, 1)).unwrap();
            assert_eq!((from, out.token.slot()), (place(3), taken));
            assert!(queues.take(Token::new(taken, 1)).is_none());
            let left: Vec<_> = (0..4).filter(|&slot| slot != taken).collect();
            assert_eq!(pop_all(&mut queues, 3), left);
            assert!(queues.is_empty() && !queues.has(place(3)));
        }
    }

    #[test]
    fn every_token_is_found_in_a_large_index_with_long_chains() {
        let mut queues = Queues::default();
        for slot in 0..1000 {
            queues.push(place(slot % 7), waiting(slot * 256));
        }
        for slot in (0..1000).rev() {
            let token = Token::new(slot * 256, 1);
            assert_eq!(queues.take(token).unwrap().1.token, token);
        }
        assert!(queues.is_empty());
    }

    #[test]
    fn a_token_of_another_generation_is_not_found() {
        let mut queues = Queues::default();
        assert!(queues.take(Token::new(1, 1)).is_none());
        queues.push(place(0), waiting(1));
        assert!(queues.take(Token::new(1, 2)).is_none());
    }
}

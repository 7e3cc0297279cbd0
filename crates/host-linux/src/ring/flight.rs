//! The requests in flight on one ring, found by token and by descriptor.
//!
//! ```text
//!            take                 pushed
//!  request ───────▶ Waiting ───────────────▶ Submitted ── its completion ──▶ gone
//!                      │  ▲                      │
//!      cancelled: gone │  └── partly done ───────┘   (an extent of "all", not cancelled)
//! ```

extern crate alloc;

use alloc::boxed::Box;
use core::hash::{BuildHasherDefault, Hasher};
use std::{collections::HashMap, os::fd::OwnedFd};

use fiber_core::request::{RawDescriptor, Request, Token};
use slab::Slab;

use crate::address::RawAddress;

const NONE: u32 = u32::MAX;

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not yet in the submission queue.
    Waiting,
    /// The kernel may have seen it, and may touch what it lends.
    Submitted,
}

/// One request in flight.
pub(crate) struct Flight {
    /// What the ring calls it: the token's word, or a number of our own for quiet ones.
    pub(crate) key: u64,
    pub(crate) token: Token,
    /// What is left of it to do.
    pub(crate) request: Request,
    pub(crate) stage: Stage,
    /// Bytes moved by earlier parts.
    pub(crate) moved: u64,
    pub(crate) cancelled: bool,
    /// The socket that it connects.
    pub(crate) socket: Option<OwnedFd>,
    /// Memory of ours that the kernel uses for it.
    pub(crate) scratch: Option<Box<Scratch>>,
    /// Neighbours in the list of its descriptor.
    next: u32,
    prev: u32,
}

/// What a request needs beyond the memory that was lent.
#[derive(Default)]
pub(crate) struct Equipment {
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) scratch: Option<Box<Scratch>>,
}

/// What the kernel reads and writes for one request beyond the memory that was lent.
pub(crate) struct Scratch {
    pub(crate) address: RawAddress,
    pub(crate) message: libc::msghdr,
}

/// All of them. In the steady state nothing here allocates: slots, boxes and tables are reused.
#[derive(Default)]
pub(crate) struct Flights {
    slots: Slab<Flight>,
    by_key: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    /// The first flight of each descriptor; descriptors are small numbers.
    heads: Vec<u32>,
    #[expect(clippy::vec_box, reason = "the kernel holds their addresses")]
    spare: Vec<Box<Scratch>>,
    quiet: u64,
}

impl Flights {
    /// Host tokens from here on name quiet requests.
    const QUIET_BASE: u64 = 1 << 32;

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes a request; its key.
    pub(crate) fn insert(&mut self, token: Token, request: Request, equipment: Equipment) -> u64 {
        let key = if token == Token::QUIET {
            self.quiet = (self.quiet + 1) % Self::QUIET_BASE;
            Token::host(Self::QUIET_BASE + self.quiet).to_bits()
        } else {
            token.to_bits()
        };
        let slot = self.slots.insert(Flight {
            key,
            token,
            request,
            stage: Stage::Waiting,
            moved: 0,
            cancelled: false,
            socket: equipment.socket,
            scratch: equipment.scratch,
            next: NONE,
            prev: NONE,
        });
        let slot = u32::try_from(slot).expect("fewer than 2^30 requests are in flight");
        let twin = self.by_key.insert(key, slot);
        debug_assert_eq!(twin, None, "one request in flight for each token");
        if let Some(descriptor) = request.descriptor() {
            self.link(descriptor, slot);
        }
        key
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut Flight> {
        let slot = *self.by_key.get(&key)?;
        self.slots.get_mut(slot as usize)
    }

    /// Ends a flight.
    pub(crate) fn remove(&mut self, key: u64) -> Option<Flight> {
        let slot = self.by_key.remove(&key)?;
        let mut flight = self.slots.remove(slot as usize);
        if let Some(descriptor) = flight.request.descriptor() {
            self.unlink(descriptor, &flight);
        }
        self.spare.extend(flight.scratch.take());
        Some(flight)
    }

    /// Memory for the kernel's use, empty.
    pub(crate) fn scratch(&mut self) -> Box<Scratch> {
        self.spare.pop().unwrap_or_else(|| {
            Box::new(Scratch {
                address: RawAddress::room(),
                message: crate::sys::socket::message(core::ptr::null(), 0),
            })
        })
    }

    /// The keys of every request on a descriptor, newest first.
    pub(crate) fn on(&self, descriptor: RawDescriptor) -> impl Iterator<Item = u64> + '_ {
        let first = self.heads.get(descriptor.0 as usize).copied();
        let first = self.at(first.unwrap_or(NONE));
        let chain = core::iter::successors(first, |flight| self.at(flight.next));
        chain.map(|flight| flight.key)
    }

    /// The key after this one in the list of its descriptor.
    pub(crate) fn after(&self, key: u64) -> Option<u64> {
        let flight = self.at(*self.by_key.get(&key)?)?;
        Some(self.at(flight.next)?.key)
    }

    /// Every key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.iter().map(|(_, flight)| flight.key)
    }

    fn at(&self, slot: u32) -> Option<&Flight> {
        self.slots.get(slot as usize)
    }

    fn link(&mut self, descriptor: RawDescriptor, slot: u32) {
        let index = descriptor.0 as usize;
        if self.heads.len() <= index {
            self.heads.resize(index + 1, NONE);
        }
        let next = core::mem::replace(&mut self.heads[index], slot);
        if let Some(next) = self.slots.get_mut(next as usize) {
            next.prev = slot;
        }
        self.slots[slot as usize].next = next;
    }

    fn unlink(&mut self, descriptor: RawDescriptor, flight: &Flight) {
        if let Some(next) = self.slots.get_mut(flight.next as usize) {
            next.prev = flight.prev;
        }
        match self.slots.get_mut(flight.prev as usize) {
            Some(prev) => prev.next = flight.next,
            None => self.heads[descriptor.0 as usize] = flight.next,
        }
    }
}

/// Spreads a key over a word: one multiplication, both halves folded.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "each half is meant")]
    fn write_u64(&mut self, key: u64) {
        let product = u128::from(key) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use fiber_core::request::Interest;

    use super::*;

    fn ready(descriptor: u32) -> Request {
        Request::Ready {
            descriptor: RawDescriptor(descriptor),
            interest: Interest::Readable,
        }
    }

    fn on(flights: &Flights, descriptor: u32) -> Vec<u64> {
        flights.on(RawDescriptor(descriptor)).collect()
    }

    #[test]
    fn flights_are_found_by_descriptor_whatever_ends_first() {
        for first in 0..3 {
            let mut flights = Flights::default();
            let keys: Vec<_> = (0..3)
                .map(|slot| flights.insert(Token::new(slot, 1), ready(5), Equipment::default()))
                .collect();
            let other = flights.insert(Token::new(9, 1), ready(2), Equipment::default());
            assert!(flights.remove(keys[first]).is_some());
            let mut left = keys.clone();
            left.remove(first);
            left.reverse();
            assert_eq!(on(&flights, 5), left);
            assert_eq!(on(&flights, 2), [other]);
            assert_eq!(on(&flights, 700), []);
            assert!(flights.remove(keys[first]).is_none());
        }
    }

    #[test]
    fn quiet_requests_have_keys_of_their_own() {
        let mut flights = Flights::default();
        let first = flights.insert(Token::QUIET, ready(1), Equipment::default());
        let second = flights.insert(Token::QUIET, ready(1), Equipment::default());
        assert_ne!(first, second);
        assert_eq!(flights.len(), 2);
        assert!(Token::from_bits(first).is_host());
    }
}

//! The requests of one worker that the host has not answered yet.
//!
//! A token names a slot and its generation, never a pointer: a late word about an old request
//! finds the slot's next generation and is ignored.

use alloc::vec::Vec;
use core::{cell::Cell, ptr::NonNull};

use slab::Slab;

use crate::{
    error::IoError,
    fiber::Header,
    id::{Id, Namespace},
    request::Token,
};

/// What a request came to, after a descriptor that it opened has got its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done(u64),
    Opened(Id),
    Failed(IoError),
}

/// One request's place in the frame of the fiber that made it; the frame stays until the terminal
/// completion is delivered (I-3).
pub(crate) struct IoWait {
    pub(crate) fiber: *const Header,
    pub(crate) answer: Cell<Option<Answer>>,
    /// What a descriptor that it opens is.
    pub(crate) opens: Namespace,
    /// To whom such a descriptor belongs.
    pub(crate) owner: Option<Id>,
}

/// The table of requests in flight.
#[derive(Debug)]
pub(crate) struct Inflight {
    slots: Slab<NonNull<IoWait>>,
    generations: Vec<u32>,
    max: usize,
}

impl Inflight {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            slots: Slab::new(),
            generations: Vec::new(),
            max: max as usize,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Enters a request; `None` at the bound.
    pub(crate) fn insert(&mut self, wait: NonNull<IoWait>) -> Option<Token> {
        if self.slots.len() >= self.max {
            return None;
        }
        let slot = self.slots.insert(wait);
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        let number = u32::try_from(slot).expect("bounded by `max`");
        Some(Token::new(number, self.generations[slot]))
    }

    /// Takes the request out whose terminal completion has come; `None` for a token of old.
    pub(crate) fn remove(&mut self, token: Token) -> Option<NonNull<IoWait>> {
        let slot = token.slot() as usize;
        if token.is_host() || self.generations.get(slot) != Some(&token.generation()) {
            return None;
        }
        let wait = self.slots.try_remove(slot)?;
        self.generations[slot] = token.generation().wrapping_add(1);
        Some(wait)
    }
}

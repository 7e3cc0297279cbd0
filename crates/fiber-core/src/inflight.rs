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
    io::Arm,
    process::Whose,
    request::Token,
};

/// What was done, after a descriptor that was opened has got its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "as a request's outcome")]
pub enum Answer {
    /// It was done; the number is the request's own, mostly bytes moved.
    Done(u64),
    /// It has opened this.
    Opened(Id),
}

/// One request's place in the frame of the fiber that made it; the frame stays until the terminal
/// completion is delivered (I-3).
pub(crate) struct IoWait {
    pub(crate) fiber: *const Header,
    pub(crate) answer: Cell<Option<Result<Answer, IoError>>>,
    /// What a descriptor that it opens is.
    pub(crate) opens: Namespace,
    /// To whom such a descriptor belongs.
    pub(crate) owner: Whose,
}

/// Who is told what a request has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A fiber that does nothing else until then.
    Frame(NonNull<IoWait>),
    /// An arm of an operation, published on this worker (I-12).
    Arm(NonNull<Arm>),
    /// Nobody: the arm was retracted. What it had entered is left then.
    Gone(Id),
}

const _: () = assert!(
    size_of::<Asker>() == 16,
    "a slot for each request in flight"
);

/// The table of requests in flight.
#[derive(Debug)]
pub(crate) struct Inflight {
    slots: Slab<Asker>,
    generations: Vec<u32>,
    max: usize,
    orphans: usize,
}

impl Inflight {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            slots: Slab::new(),
            generations: Vec::new(),
            max: max as usize,
            orphans: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether something goes on that nobody waits for.
    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans > 0
    }

    /// Enters a request; `None` at the bound.
    pub(crate) fn insert(&mut self, asker: Asker) -> Option<Token> {
        if self.slots.len() >= self.max {
            return None;
        }
        let slot = self.slots.insert(asker);
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        let number = u32::try_from(slot).expect("bounded by `max`");
        Some(Token::new(number, self.generations[slot]))
    }

    /// Whoever asked is gone, inside of `id`; the request goes on until its completion.
    pub(crate) fn orphan(&mut self, token: Token, id: Id) {
        debug_assert_eq!(
            self.generations.get(token.slot() as usize),
            Some(&token.generation()),
            "an arm knows of its completion"
        );
        self.slots[token.slot() as usize] = Asker::Gone(id);
        self.orphans += 1;
    }

    /// Takes the request out whose terminal completion has come; `None` for a token of old.
    pub(crate) fn remove(&mut self, token: Token) -> Option<Asker> {
        let slot = token.slot() as usize;
        if token.is_host() || self.generations.get(slot) != Some(&token.generation()) {
            return None;
        }
        let asker = self.slots.try_remove(slot)?;
        self.generations[slot] = token.generation().wrapping_add(1);
        self.orphans -= usize::from(matches!(asker, Asker::Gone(_)));
        Some(asker)
    }
}

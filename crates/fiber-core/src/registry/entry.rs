//! One slot of the table, and the word that decides who may use it.
//!
//! ```text
//! word  63       48 47     46        45       44      0
//!      | generation | live | closing | handed | inflight |
//! ```
//!
//! | bit | set by | cleared by |
//! |---|---|---|
//! | live | the owning shard, on open | the owning shard, on free |
//! | closing | anyone, once | the owning shard, on free |
//! | handed | the closer; the last one out of a closing slot | the owning shard, on receipt |
//! | inflight +1 | anyone, while live and not closing | the one who entered |
//!
//! Whoever sets `handed` links the slot into its shard's list, so it is never in it twice. The
//! shard, on receipt, frees an empty slot, and cancels what goes on in any other.

use core::sync::atomic::AtomicPtr;

use super::shard::ShardInbox;
use crate::{
    error::StaleReason,
    id::{Id, Namespace},
    primitive::{AtomicU32, AtomicU64, Ordering},
    request::RawDescriptor,
};

pub(super) const NO_KEY: u32 = u32::MAX;

const GENERATION_SHIFT: u32 = 48;
const LIVE: u64 = 1 << 47;
const CLOSING: u64 = 1 << 46;
const HANDED: u64 = 1 << 45;
const INFLIGHT: u64 = HANDED - 1;

/// What a word says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    const fn new(generation: u16) -> Self {
        Self((generation as u64) << GENERATION_SHIFT)
    }

    pub(super) const fn generation(self) -> u16 {
        (self.0 >> GENERATION_SHIFT) as u16
    }

    pub(super) const fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }

    pub(super) const fn is_closing(self) -> bool {
        self.0 & CLOSING != 0
    }

    pub(super) const fn inflight(self) -> u64 {
        self.0 & INFLIGHT
    }

    const fn usable_as(self, generation: u16) -> bool {
        self.is_live() && !self.is_closing() && self.generation() == generation
    }
}

/// One slot.
#[repr(align(64))]
pub(super) struct Entry {
    word: AtomicU64,
    owner: AtomicU64,
    /// Workers (by index modulo 64) that ever entered this incarnation.
    workers: AtomicU64,
    raw: AtomicU32,
    namespace: AtomicU32,
    /// Links of the owner's list; touched by the owning shard only.
    pub(super) next: AtomicU32,
    pub(super) prev: AtomicU32,
    /// Link of the shard's list of slots to free; written by the one who hands the slot over.
    pub(super) reap_next: AtomicU32,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(Word::new(0).0),
            owner: AtomicU64::new(0),
            workers: AtomicU64::new(0),
            raw: AtomicU32::new(0),
            namespace: AtomicU32::new(0),
            next: AtomicU32::new(NO_KEY),
            prev: AtomicU32::new(NO_KEY),
            reap_next: AtomicU32::new(NO_KEY),
        }
    }

    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    pub(super) fn raw(&self) -> RawDescriptor {
        RawDescriptor(self.raw.load(Ordering::Relaxed))
    }

    pub(super) fn workers(&self) -> u64 {
        self.workers.load(Ordering::Acquire)
    }

    pub(super) fn owner(&self) -> Option<Id> {
        Id::from_bits(self.owner.load(Ordering::Relaxed))
    }

    /// The id of the current incarnation.
    pub(super) fn id(&self, key: u32) -> Option<Id> {
        Id::new(key, self.namespace(), self.word().generation())
    }

    pub(super) fn namespace(&self) -> Namespace {
        #[expect(clippy::cast_possible_truncation, reason = "stored from 16 bits")]
        let number = self.namespace.load(Ordering::Relaxed) as u16;
        Namespace::from_number(number)
    }

    /// Starts the next incarnation. Only the owning shard calls it, on a dead slot with a
    /// generation left.
    pub(super) fn open(&self, namespace: Namespace, raw: RawDescriptor, owner: Option<Id>) -> u16 {
        let word = self.word();
        debug_assert!(!word.is_live(), "a live slot was opened again");
        let generation = word.generation() + 1;
        self.raw.store(raw.0, Ordering::Relaxed);
        self.namespace
            .store(u32::from(namespace.number()), Ordering::Relaxed);
        self.owner
            .store(owner.map_or(0, Id::to_bits), Ordering::Relaxed);
        self.workers.store(0, Ordering::Relaxed);
        self.word
            .store(Word::new(generation).0 | LIVE, Ordering::Release);
        generation
    }

    /// Ends the current incarnation. Only the owning shard calls it, once closing and empty.
    pub(super) fn free(&self) {
        let word = self.word();
        debug_assert!(word.is_live() && word.inflight() == 0, "freed while in use");
        self.word
            .store(Word::new(word.generation()).0, Ordering::Release);
    }

    /// Counts the caller in, if `id` names the current incarnation.
    pub(super) fn enter(&self, id: Id, worker: Option<u16>) -> Result<(), StaleReason> {
        // Acquire, here and on failure: what `check` reads beside the word, and the bits below, are
        // then those of the incarnation that the word names, not of an older one.
        let mut word = self.word.load(Ordering::Acquire);
        self.check(Word(word), id)?;
        if let Some(worker) = worker {
            let bit = 1 << (worker % 64);
            // Set before the caller counts as inside: whoever finds it inside finds the bit too.
            // A stray bit, when the slot is closed meanwhile, costs one idle message, no more.
            if self.workers.load(Ordering::Relaxed) & bit == 0 {
                self.workers.fetch_or(bit, Ordering::AcqRel);
            }
        }
        loop {
            self.check(Word(word), id)?;
            match self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    /// Counts the caller out; true if it must hand the slot over to its shard.
    #[must_use]
    pub(super) fn exit(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            debug_assert!(Word(word).inflight() > 0, "left more often than entered");
            let last = Word(word).is_closing() && Word(word).inflight() == 1;
            let hand_over = last && word & HANDED == 0;
            let after = (word - 1) | if hand_over { HANDED } else { 0 };
            match self
                .word
                .compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return hand_over,
                Err(seen) => word = seen,
            }
        }
    }

    /// Marks the incarnation as closing: nobody enters any more. The caller hands the slot over.
    pub(super) fn begin_close(&self, id: Id) -> Result<(), StaleReason> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            self.check(Word(word), id)?;
            let after = word | CLOSING | HANDED;
            match self
                .word
                .compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    /// The owning shard has taken the slot out of its list: says how many are still inside. If
    /// there are some, the last of them hands it over again.
    pub(super) fn receive(&self) -> u64 {
        Word(self.word.fetch_and(!HANDED, Ordering::AcqRel)).inflight()
    }

    fn check(&self, word: Word, id: Id) -> Result<(), StaleReason> {
        if word.usable_as(id.generation()) {
            // The namespace is constant for an incarnation, which the generation has just named.
            if self.namespace() == id.namespace() {
                return Ok(());
            }
            return Err(StaleReason::WrongNamespace);
        }
        let issued = id.generation() <= word.generation();
        Err(if issued {
            StaleReason::Closed
        } else {
            StaleReason::Unknown
        })
    }
}

/// A run of slots that belongs to one shard at a time.
pub(super) struct Chunk {
    pub(super) number: u32,
    /// Where handed-over slots go; null while no shard owns the chunk.
    pub(super) inbox: AtomicPtr<ShardInbox>,
    pub(super) entries: [Entry; Self::ENTRIES],
}

impl Chunk {
    pub(super) const BITS: u32 = 8;
    pub(super) const ENTRIES: usize = 1 << Self::BITS;

    pub(super) const fn key(&self, index: u32) -> u32 {
        self.number << Self::BITS | index
    }
}

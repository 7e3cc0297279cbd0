//! One slot of the table, and the word that decides who may use it.
//!
//! ```text
//! word  63       48 47     46        45       44     43      42     41      40      0
//!      | generation | live | closing | handed | died | keeps | lost | moved | inflight |
//! ```
//!
//! | bit | set by | cleared by |
//! |---|---|---|
//! | live | the owning shard, on open | the owning shard, on free |
//! | closing | anyone, once; without live: the owning shard, while it opens | the owning shard |
//! | handed | the closer; the last one out of a closing slot | the owning shard, on receipt |
//! | died | whoever closes it because its owner has died | the owning shard, on the next open |
//! | keeps | the closer of a fiber's slot, if others are inside | the owning shard, on free |
//! | lost | whoever abandons the fiber that it names | never: the slot is retired |
//! | moved | whoever takes out of it what it names, when nobody is inside | as died |
//! | inflight +1 | anyone, while live and not closing | the one who entered |
//!
//! Whoever sets `handed` links the slot into its shard's list, so it is never in it twice. The
//! shard, on receipt, frees an empty slot, and cancels what goes on in any other.
//!
//! The generation rises first when a slot is opened again, and before anything else in it changes:
//! who has read the rest and finds its own generation after that has read its own incarnation.

use core::{mem, sync::atomic::AtomicPtr};

use super::{inbox::ShardInbox, named::Named};
use crate::{
    error::StaleReason,
    id::{Id, Namespace},
    primitive::{AtomicU32, AtomicU64, Ordering, fence},
    process::{NO_KEY, Record},
    request::RawDescriptor,
};

const GENERATION_SHIFT: u32 = 48;
const LIVE: u64 = 1 << 47;
const CLOSING: u64 = 1 << 46;
const HANDED: u64 = 1 << 45;
const DIED: u64 = 1 << 44;
const KEEPS: u64 = 1 << 43;
const LOST: u64 = 1 << 42;
const MOVED: u64 = 1 << 41;
const INFLIGHT: u64 = MOVED - 1;

/// Why a slot is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Somebody who may has asked for it.
    Asked,
    /// The process that owns it has died.
    OwnerDied,
    /// The fiber that it names will never go on.
    Lost,
}

impl Closing {
    const fn bits(self) -> u64 {
        match self {
            Self::Asked => 0,
            Self::OwnerDied => DIED,
            Self::Lost => LOST,
        }
    }
}

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

    /// Whether the slot holds a reference to the fiber that it names.
    pub(super) const fn keeps(self) -> bool {
        self.0 & KEEPS != 0
    }

    /// Whether the fiber that it names, or named last, was abandoned.
    pub(super) const fn is_lost(self) -> bool {
        self.0 & LOST != 0
    }

    /// Whether what else is in the slot belongs to an older incarnation, in part.
    const fn is_opening(self) -> bool {
        !self.is_live() && self.is_closing()
    }

    /// Whether what it named is another slot's now.
    pub(super) const fn is_moved(self) -> bool {
        self.0 & MOVED != 0
    }

    pub(super) const fn is_spent(self, generation_max: u16) -> bool {
        self.is_lost() || self.generation() >= generation_max
    }

    const fn usable_as(self, generation: u16) -> bool {
        // One comparison: it is asked at each use of an id.
        self.0 & (!0 << GENERATION_SHIFT | LIVE | CLOSING) == Self::new(generation).0 | LIVE
    }
}

/// One slot.
#[repr(align(64))]
pub(super) struct Entry {
    word: AtomicU64,
    owner: AtomicU64,
    /// Workers (by index modulo 64) that ever entered this incarnation.
    workers: AtomicU64,
    /// What it names, if that is no descriptor; see `Object`.
    object: AtomicPtr<()>,
    /// The owner's record, for its list; null for the runtime's first process.
    process: AtomicPtr<Record>,
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
            object: AtomicPtr::default(),
            process: AtomicPtr::default(),
            raw: AtomicU32::new(0),
            namespace: AtomicU32::new(0),
            next: AtomicU32::new(NO_KEY),
            prev: AtomicU32::new(NO_KEY),
            reap_next: AtomicU32::new(NO_KEY),
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    pub(super) fn raw(&self) -> RawDescriptor {
        RawDescriptor(self.raw.load(Ordering::Relaxed))
    }

    pub(super) fn workers(&self) -> u64 {
        self.workers.load(Ordering::Acquire)
    }

    /// Read by the owning shard, or by whoever is inside.
    pub(super) fn object(&self) -> *mut () {
        self.object.load(Ordering::Relaxed)
    }

    /// Read by the owning shard.
    pub(super) fn process(&self) -> *mut Record {
        self.process.load(Ordering::Relaxed)
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
    pub(super) fn open(&self, named: &Named, owner: Option<Id>, process: *mut Record) -> u16 {
        let word = self.word();
        debug_assert!(!word.is_live(), "a live slot was opened again");
        let generation = word.generation() + 1;
        let opening = Word::new(generation).0 | CLOSING;
        self.word.store(opening, Ordering::Relaxed);
        fence(Ordering::Release);
        self.raw.store(named.raw.0, Ordering::Relaxed);
        self.namespace
            .store(u32::from(named.namespace.number()), Ordering::Relaxed);
        self.owner
            .store(owner.map_or(0, Id::to_bits), Ordering::Relaxed);
        self.object.store(named.object, Ordering::Relaxed);
        self.process.store(process, Ordering::Relaxed);
        self.workers.store(0, Ordering::Relaxed);
        self.word
            .store(Word::new(generation).0 | LIVE, Ordering::Release);
        generation
    }

    /// Ends the current incarnation. Only the owning shard calls it, once closing and empty.
    pub(super) fn free(&self) {
        let word = self.word();
        debug_assert!(word.is_live() && word.inflight() == 0, "freed while in use");
        let kept = word.0 & (DIED | LOST | MOVED);
        self.word
            .store(Word::new(word.generation()).0 | kept, Ordering::Release);
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
    ///
    /// If others are inside, `keep` is called once, before they can be the last: it has what the
    /// slot names stay alive for them. Gives whether the slot keeps that.
    pub(super) fn begin_close(
        &self,
        id: Id,
        why: Closing,
        mut keep: Option<&mut dyn FnMut()>,
    ) -> Result<bool, StaleReason> {
        let mut word = self.word.load(Ordering::Acquire);
        let mut kept = false;
        loop {
            self.check(Word(word), id)?;
            let mut after = word | CLOSING | HANDED | why.bits();
            if let Some(keep) = &mut keep
                && Word(word).inflight() > 0
            {
                after |= KEEPS;
                if !mem::replace(&mut kept, true) {
                    keep();
                }
            }
            match self
                .word
                .compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(after & KEEPS != 0),
                Err(seen) => word = seen,
            }
        }
    }

    /// Ends the current incarnation if it is that of `id` and nobody is inside or closes it. Only
    /// the owning shard calls it.
    pub(super) fn free_unused(&self, id: Id) -> bool {
        let free = Word::new(id.generation()).0;
        self.word
            .compare_exchange(free | LIVE, free, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Closes the incarnation without ending what it names, which is the caller's then: nobody is
    /// inside, or nothing happens. The caller reads what it names, and hands the slot over.
    pub(super) fn begin_move(&self, id: Id) -> Result<(), NotMoved> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            self.check(Word(word), id).map_err(NotMoved::Stale)?;
            let users = Word(word).inflight();
            if users > 0 {
                return Err(NotMoved::Busy);
            }
            match self.word.compare_exchange_weak(
                word,
                word | CLOSING | HANDED | MOVED,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    /// What the slot says of `id`, although it may be reused at any moment; nothing if `id` does
    /// not name its latest incarnation.
    pub(super) fn peek(&self, id: Id) -> Option<(Word, Option<Id>)> {
        // Acquire, so that what follows is not of an incarnation before this one.
        let first = self.word();
        if first.is_opening() {
            return None;
        }
        let (owner, namespace) = (self.owner(), self.namespace());
        fence(Ordering::Acquire);
        let last = self.word.load(Ordering::Relaxed);
        let mine = [first.generation(), Word(last).generation()] == [id.generation(); 2];
        (mine && namespace == id.namespace()).then_some((Word(last), owner))
    }

    /// Whether somebody waits until the slot, which is closing, is free: what it names is to be
    /// closed by the host, or dropped.
    pub(super) fn is_awaited(&self) -> bool {
        self.namespace().is_counted() || self.word().keeps()
    }

    /// The owning shard has taken the slot out of its list: says how many are still inside. If
    /// there are some, the last of them hands it over again.
    pub(super) fn receive(&self) -> u64 {
        Word(self.word.fetch_and(!HANDED, Ordering::AcqRel)).inflight()
    }

    /// Whether `id` names the current incarnation, and that is not closing.
    #[inline]
    pub(super) fn is_open_as(&self, id: Id) -> bool {
        // The namespace is constant for an incarnation, which the generation has just named.
        self.word().usable_as(id.generation()) && self.namespace() == id.namespace()
    }

    #[inline]
    pub(super) fn check(&self, word: Word, id: Id) -> Result<(), StaleReason> {
        if word.usable_as(id.generation()) && self.namespace() == id.namespace() {
            return Ok(());
        }
        Err(self.refusal(word, id))
    }

    /// Why `id` is refused.
    #[cold]
    fn refusal(&self, word: Word, id: Id) -> StaleReason {
        if word.usable_as(id.generation()) {
            return StaleReason::WrongNamespace;
        }
        let issued = id.generation() <= word.generation();
        let latest = id.generation() == word.generation() && self.namespace() == id.namespace();
        if latest && word.is_moved() {
            StaleReason::Transferred
        } else if latest && word.0 & DIED != 0 {
            StaleReason::OwnerDied
        } else if issued {
            StaleReason::Closed
        } else {
            StaleReason::Unknown
        }
    }
}

/// Why nothing was taken out of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotMoved {
    /// The id is refused.
    Stale(StaleReason),
    /// Somebody is inside.
    Busy,
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

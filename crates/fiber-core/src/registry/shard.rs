//! One worker's part of the table: it opens slots, lists them by owner, and alone frees them.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::{fmt, ptr::NonNull};

use super::{
    entry::{Chunk, Entry, NO_KEY},
    space::IdSpace,
};
use crate::{
    env::Unpark,
    id::{Id, Namespace},
    primitive::{AtomicU32, Ordering},
    request::RawDescriptor,
};

/// Free slots are reused oldest first, and only when so many wait, to keep generations far apart.
const REUSE_DISTANCE: usize = 256;

/// Slots that others have handed over to be freed: a stack linked through the slots themselves,
/// so that handing over neither allocates nor fails.
pub(super) struct ShardInbox {
    head: AtomicU32,
    unparker: Arc<dyn Unpark>,
    /// The process that stands for the runtime of the shard.
    pub(super) runtime: Option<Id>,
}

impl ShardInbox {
    pub(super) fn push(&self, entry: &Entry, key: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Taken beforehand: once the slot is in the list its shard may free it and end.
            let unparker = (head == NO_KEY).then(|| Arc::clone(&self.unparker));
            entry.reap_next.store(head, Ordering::Relaxed);
            match self
                .head
                .compare_exchange_weak(head, key, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    if let Some(unparker) = unparker {
                        unparker.unpark();
                    }
                    return;
                }
                Err(seen) => head = seen,
            }
        }
    }
}

/// One worker's part of the table. It stays on its worker's thread.
pub struct Shard {
    chunks: Vec<NonNull<Chunk>>,
    free: VecDeque<u32>,
    /// First slot of each owner's list.
    owned: BTreeMap<Id, u32>,
    /// A box that chunks point to. Freed by `finish` alone: a shard that is dropped with live ids
    /// leaks it, because those ids may still be closed.
    inbox: NonNull<ShardInbox>,
    /// The one space that the chunks are from.
    space: Option<NonNull<IdSpace>>,
    live: usize,
    live_max: usize,
    retired: usize,
}

/// The shard is at its limit of live ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no id is left: {limit} are in use on this worker, its limit")]
#[non_exhaustive]
pub struct Full {
    /// The limit.
    pub limit: usize,
}

/// A closing slot that its shard has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the worker that owns the shard matches on it"
)]
pub enum Received {
    /// It is free: the id is stale, and the host is to close its number.
    Freed {
        /// The id that is stale from now on.
        id: Id,
        /// The host's number of what it named.
        raw: RawDescriptor,
    },
    /// Others are still inside: their requests are to be cancelled. It comes again when they left.
    Busy {
        /// The host's number of what it names.
        raw: RawDescriptor,
        /// On which workers (bits by index modulo 64) there may be requests.
        workers: u64,
    },
}

impl Shard {
    /// A shard with room for `live_max` ids at once; `unparker` wakes its worker when a slot was
    /// handed over.
    pub fn new(live_max: usize, unparker: Arc<dyn Unpark>) -> Self {
        Self {
            chunks: Vec::new(),
            free: VecDeque::new(),
            owned: BTreeMap::new(),
            inbox: NonNull::from_mut(Box::leak(Box::new(ShardInbox {
                head: AtomicU32::new(NO_KEY),
                unparker,
                runtime: None,
            }))),
            space: None,
            live: 0,
            live_max,
            retired: 0,
        }
    }

    /// The same shard, still empty, as a part of the runtime whose first process is `runtime`.
    ///
    /// # Panics
    /// When it has named something already.
    #[must_use]
    pub fn in_runtime(mut self, runtime: Option<Id>) -> Self {
        assert!(
            self.chunks.is_empty(),
            "a shard does not change its runtime"
        );
        // SAFETY: a leaked box of `new`, which no chunk points to yet (I-4).
        unsafe { self.inbox.as_mut() }.runtime = runtime;
        self
    }

    /// Names something: a new id, owned by `owner`.
    ///
    /// # Errors
    /// At the limit of live ids.
    pub fn open(
        &mut self,
        space: &IdSpace,
        namespace: Namespace,
        raw: RawDescriptor,
        owner: Option<Id>,
    ) -> Result<Id, Full> {
        let full = Full {
            limit: self.live_max,
        };
        if self.live == self.live_max {
            return Err(full);
        }
        let key = self.take_key(space).ok_or(full)?;
        let entry = space
            .entry(key)
            .expect("the shard's own chunks are in the space");
        let generation = entry.open(namespace, raw, owner);
        if let Some(owner) = owner {
            self.link(space, owner, key, entry);
        }
        self.live += 1;
        Ok(Id::new(key, namespace, generation).expect("generations start at 1"))
    }

    /// Whether slots wait to be freed. *Cost*: a load.
    pub fn has_handed_over(&self) -> bool {
        self.inbox().head.load(Ordering::Acquire) != NO_KEY
    }

    /// Whether the next id takes new slots although some wait to be freed: whoever opens many at a
    /// time receives those first, or the table grows beyond what is ever in use at once.
    pub fn should_receive(&self) -> bool {
        self.free.len() <= REUSE_DISTANCE && self.has_handed_over()
    }

    /// Receives the slots that were handed over, last one first, and tells about each.
    pub fn receive(&mut self, space: &IdSpace, mut tell: impl FnMut(Received)) {
        self.assert_home(space);
        let mut key = self.inbox().head.swap(NO_KEY, Ordering::AcqRel);
        while key != NO_KEY {
            let entry = space
                .entry(key)
                .expect("handed over from the shard's own chunks");
            // Read before the slot may be handed over again.
            let next = entry.reap_next.load(Ordering::Relaxed);
            tell(if entry.receive() == 0 {
                self.free_slot(space, key, entry)
            } else {
                Received::Busy {
                    raw: entry.raw(),
                    workers: entry.workers(),
                }
            });
            key = next;
        }
    }

    /// The live ids of `owner`, newest first.
    pub fn owned_by(&self, space: &IdSpace, owner: Id) -> Vec<Id> {
        self.assert_home(space);
        let mut ids = Vec::new();
        let mut key = self.owned.get(&owner).copied().unwrap_or(NO_KEY);
        while key != NO_KEY {
            let entry = space.entry(key).expect("listed slots are the shard's own");
            ids.extend(entry.id(key));
            key = entry.next.load(Ordering::Relaxed);
        }
        ids
    }

    /// How many ids are live.
    pub fn live(&self) -> usize {
        self.live
    }

    /// How many slots have run out of generations.
    pub fn retired(&self) -> usize {
        self.retired
    }

    /// Gives the chunks back, for the next runtime of this world.
    ///
    /// # Panics
    /// When an id is still live: whoever holds it would hand it over to a shard that is gone.
    pub fn finish(self, space: &IdSpace) {
        assert_eq!(self.live, 0, "ids outlive their shard");
        self.assert_home(space);
        for &chunk in &self.chunks {
            space.give_chunk(chunk);
        }
        // SAFETY: a leaked box of `new`. No chunk points to it any more, and whoever was to hand a
        // slot over has done so, because no slot is live (I-4).
        drop(unsafe { Box::from_raw(self.inbox.as_ptr()) });
    }

    fn inbox(&self) -> &ShardInbox {
        // SAFETY: a leaked box, freed only in `finish`, which takes `self` (I-4).
        unsafe { self.inbox.as_ref() }
    }

    /// The slots are found by number: in another space these numbers are somebody else's.
    fn assert_home(&self, space: &IdSpace) {
        let home = self
            .space
            .is_none_or(|home| home == NonNull::from_ref(space));
        assert!(home, "a shard stays with the space of its first id");
    }

    fn take_key(&mut self, space: &IdSpace) -> Option<u32> {
        self.assert_home(space);
        if self.free.len() <= REUSE_DISTANCE
            && let Some(chunk) = self.grow(space)
        {
            self.chunks.push(chunk);
        }
        self.free.pop_front()
    }

    fn grow(&mut self, space: &IdSpace) -> Option<NonNull<Chunk>> {
        let chunk = space.take_chunk(self.inbox.as_ptr())?;
        self.space = Some(NonNull::from_ref(space));
        // SAFETY: chunks live as long as their space, which the caller borrows (I-4).
        let slots = unsafe { chunk.as_ref() };
        for index in 0..1 << Chunk::BITS {
            let spent = slots.entries[index as usize].word().generation() >= space.generation_max();
            if spent {
                self.retired += 1;
            } else {
                self.free.push_back(slots.key(index));
            }
        }
        Some(chunk)
    }

    fn free_slot(&mut self, space: &IdSpace, key: u32, entry: &Entry) -> Received {
        let id = entry.id(key).expect("a live slot has a generation");
        let freed = Received::Freed {
            id,
            raw: entry.raw(),
        };
        if let Some(owner) = entry.owner() {
            self.unlink(space, owner, entry);
        }
        entry.free();
        self.live -= 1;
        if id.generation() >= space.generation_max() {
            self.retired += 1;
        } else {
            self.free.push_back(key);
        }
        freed
    }

    fn link(&mut self, space: &IdSpace, owner: Id, key: u32, entry: &Entry) {
        let old = self.owned.insert(owner, key).unwrap_or(NO_KEY);
        entry.prev.store(NO_KEY, Ordering::Relaxed);
        entry.next.store(old, Ordering::Relaxed);
        if let Some(old) = space.entry(old).filter(|_| old != NO_KEY) {
            old.prev.store(key, Ordering::Relaxed);
        }
    }

    fn unlink(&mut self, space: &IdSpace, owner: Id, entry: &Entry) {
        let (prev, next) = (
            entry.prev.load(Ordering::Relaxed),
            entry.next.load(Ordering::Relaxed),
        );
        if next != NO_KEY {
            let next = space.entry(next).expect("listed slots are the shard's own");
            next.prev.store(prev, Ordering::Relaxed);
        }
        if prev != NO_KEY {
            let prev = space.entry(prev).expect("listed slots are the shard's own");
            prev.next.store(next, Ordering::Relaxed);
        } else if next != NO_KEY {
            self.owned.insert(owner, next);
        } else {
            self.owned.remove(&owner);
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

//! One worker's part of the table: it opens slots, lists them by owner, and alone frees them.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    fmt,
    ptr::{self, NonNull},
};

use super::{
    entry::{Chunk, Entry},
    inbox::ShardInbox,
    named::{Named, Object, object_of, process_of},
    space::IdSpace,
};
use crate::{
    env::Unpark,
    fiber::{Fiber, Header},
    id::{Id, Namespace},
    primitive::Ordering,
    process::{LimitReached, NO_KEY, Record},
    request::RawDescriptor,
};

/// Free slots are reused oldest first, and only when so many wait, to keep generations far apart.
const REUSE_DISTANCE: usize = 256;

/// One worker's part of the table. It stays on its worker's thread.
pub struct Shard {
    chunks: Vec<NonNull<Chunk>>,
    free: VecDeque<Slot>,
    /// Which worker's it is: where a process's record has the first of its slots here. Those of the
    /// runtime's first process, which ends with it, are in no list.
    worker: usize,
    /// A box that chunks point to. Freed by `finish` alone: a shard that is dropped with live ids
    /// leaks it, because those ids may still be closed.
    inbox: NonNull<ShardInbox>,
    /// The one space that the chunks are from.
    space: Option<NonNull<IdSpace>>,
    live: usize,
    live_max: usize,
    retired: usize,
    /// Owners, each for one of their ids that is free: to be told when the host has closed what it
    /// named.
    to_tell: Vec<Arc<Record>>,
}

/// One of the shard's own slots.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u32,
    entry: NonNull<Entry>,
}

impl Slot {
    #[inline]
    fn entry(self, _space: &IdSpace) -> &Entry {
        // SAFETY: chunks live as long as their space, which is that of the shard (I-4).
        unsafe { self.entry.as_ref() }
    }
}

/// Why nothing more can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// The shard is at its limit of live ids.
    #[error("no id is left: {limit} are in use on this worker, its limit")]
    Shard {
        /// The limit.
        limit: usize,
    },
    /// The process is at its own limit.
    #[error(transparent)]
    Process(LimitReached),
}

/// A slot of its shard in which something is going to be named, and the owner of that.
#[derive(Debug)]
#[must_use = "it is filled or given up"]
pub(crate) struct Room<'owner> {
    slot: Slot,
    owner: Option<&'owner Arc<Record>>,
}

/// A closing slot that its shard has received.
#[derive(Debug)]
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
        /// What it named, if that was kept for it: to be dropped, which may be the user's code.
        kept: Kept,
    },
    /// It is free: the id is stale, and what it named has another.
    Moved {
        /// The id that is stale from now on.
        id: Id,
    },
    /// Others are still inside: their requests are to be cancelled. It comes again when they left.
    Busy {
        /// The host's number of what it names.
        raw: RawDescriptor,
        /// On which workers (bits by index modulo 64) there may be requests.
        workers: u64,
    },
}

/// What a slot has kept alive.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the worker that owns the shard drops it"
)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// A fiber that has ended while others looked at it.
    Fiber(Fiber),
    /// A process.
    Process(Arc<Record>),
    /// An object.
    Object(Object),
}

impl Shard {
    /// A shard with room for `live_max` ids at once; `unparker` wakes its worker when a slot was
    /// handed over.
    pub fn new(live_max: usize, unparker: Arc<dyn Unpark>) -> Self {
        Self {
            chunks: Vec::new(),
            free: VecDeque::new(),
            worker: 0,
            inbox: NonNull::from_mut(Box::leak(Box::new(ShardInbox::new(unparker)))),
            space: None,
            live: 0,
            live_max,
            retired: 0,
            to_tell: Vec::new(),
        }
    }

    /// The same shard, still empty, as the part of this worker of the runtime whose first process
    /// is `runtime`.
    ///
    /// # Panics
    /// When it has named something already.
    #[must_use]
    pub fn in_runtime(mut self, runtime: Option<Id>, worker: usize) -> Self {
        assert!(
            self.chunks.is_empty(),
            "a shard does not change its runtime"
        );
        // SAFETY: a leaked box of `new`, which no chunk points to yet (I-4).
        unsafe { self.inbox.as_mut() }.runtime = runtime;
        self.worker = worker;
        self
    }

    /// Names a descriptor of the host: a new id, owned by `owner`, or else by the runtime's first
    /// process.
    ///
    /// # Errors
    /// At the limit of live ids, here or of the process.
    pub fn open(
        &mut self,
        space: &IdSpace,
        namespace: Namespace,
        raw: RawDescriptor,
        owner: Option<&Arc<Record>>,
    ) -> Result<Id, Full> {
        self.name(space, Named::descriptor(namespace, raw), owner)
    }

    /// Names an object: a new id, as [`Shard::open`].
    ///
    /// # Errors
    /// As [`Shard::open`]; the object is dropped.
    pub fn open_object(
        &mut self,
        space: &IdSpace,
        namespace: Namespace,
        object: Object,
        owner: Option<&Arc<Record>>,
    ) -> Result<Id, Full> {
        self.name(space, Named::object(namespace, object), owner)
    }

    #[inline]
    pub(crate) fn name(
        &mut self,
        space: &IdSpace,
        named: Named,
        owner: Option<&Arc<Record>>,
    ) -> Result<Id, Full> {
        match self.reserve(space, named.namespace, owner) {
            Ok(room) => Ok(self.fill(space, room, &named)),
            Err(full) => {
                named.refuse();
                Err(full)
            }
        }
    }

    /// Room to name one thing, to be filled or given up.
    #[inline]
    pub(crate) fn reserve<'owner>(
        &mut self,
        space: &IdSpace,
        namespace: Namespace,
        owner: Option<&'owner Arc<Record>>,
    ) -> Result<Room<'owner>, Full> {
        let slot = match self.live < self.live_max {
            true => self.take_slot(space),
            false => None,
        };
        let limit = self.live_max;
        let slot = slot.ok_or(Full::Shard { limit })?;
        if let Some(owner) = owner.filter(|_| namespace.is_counted())
            && let Err(reached) = owner.take_id(self.worker)
        {
            self.free.push_front(slot);
            return Err(Full::Process(reached));
        }
        self.live += 1;
        Ok(Room { slot, owner })
    }

    /// Nothing is named in there. The caller gives the owner's id back, once it has let go of the
    /// shard: who is told of that may name something.
    pub(crate) fn give_up(&mut self, room: Room<'_>) {
        self.live -= 1;
        self.free.push_front(room.slot);
    }

    #[inline]
    pub(crate) fn fill(&mut self, space: &IdSpace, room: Room<'_>, named: &Named) -> Id {
        let Room { slot, owner } = room;
        let (key, entry) = (slot.key, slot.entry(space));
        let generation = match owner {
            None => entry.open(named, self.inbox().runtime, ptr::null_mut()),
            Some(owner) => {
                let process = Arc::into_raw(Arc::clone(owner)).cast_mut();
                let generation = entry.open(named, owner.id(), process);
                self.link(space, key, entry, owner);
                generation
            }
        };
        Id::new(key, named.namespace, generation).expect("generations start at 1")
    }

    /// Whether slots wait to be freed. *Cost*: two loads.
    pub fn has_handed_over(&self) -> bool {
        !self.inbox().is_empty()
    }

    /// Whether the next id takes new slots although some wait to be freed: whoever opens many at a
    /// time receives those first, or the table grows beyond what is ever in use at once.
    pub fn should_receive(&self) -> bool {
        self.free.len() <= REUSE_DISTANCE && self.has_handed_over()
    }

    /// Receives the slots that were handed over, last one first, and tells about each.
    pub fn receive(&mut self, space: &IdSpace, mut tell: impl FnMut(Received)) {
        self.assert_home(space);
        let inbox = self.inbox();
        let lists = [&inbox.head, &inbox.later].map(|list| list.swap(NO_KEY, Ordering::AcqRel));
        for first in lists {
            self.receive_list(space, first, &mut tell);
        }
    }

    fn receive_list(&mut self, space: &IdSpace, first: u32, tell: &mut impl FnMut(Received)) {
        let mut key = first;
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

    /// Frees the slot of a fiber that has ended, if it is one of this shard's and nobody is inside.
    /// If not it is to be closed, and is received later.
    pub(crate) fn free_fiber(&mut self, space: &IdSpace, id: Id) -> bool {
        let freed = space.entry_of(id, self.inbox);
        let Some(entry) = freed.filter(|entry| entry.free_unused(id)) else {
            return false;
        };
        // A fiber is not counted among the ids of its process. It is there, and has a reference to
        // that of its own, so this is not the last.
        drop(self.unlink(space, entry));
        self.take_back(space, id.key(), entry);
        true
    }

    /// Processes, once for each id of theirs that was freed since: they are to be told when the
    /// host has closed what it named.
    #[inline]
    pub(crate) fn take_owners(&mut self) -> Vec<Arc<Record>> {
        core::mem::take(&mut self.to_tell)
    }

    /// Whether there are such processes.
    pub(crate) fn has_owners(&self) -> bool {
        !self.to_tell.is_empty()
    }

    /// Takes the memory of such a list back.
    pub(crate) fn reuse_owners(&mut self, told: Vec<Arc<Record>>) {
        debug_assert!(told.is_empty(), "an owner was not told");
        if self.to_tell.is_empty() {
            self.to_tell = told;
        }
    }

    /// The live ids of `owner`, newest first.
    pub fn owned_by(&self, space: &IdSpace, owner: &Record) -> Vec<Id> {
        self.assert_home(space);
        let mut ids = Vec::new();
        let mut key = owner.head(self.worker).load(Ordering::Relaxed);
        while key != NO_KEY {
            let entry = space.entry(key).expect("listed slots are the shard's own");
            ids.extend(entry.id(key));
            key = entry.next.load(Ordering::Relaxed);
        }
        ids
    }

    /// All live ids.
    pub fn all(&self) -> Vec<Id> {
        let mut ids = Vec::new();
        for chunk in &self.chunks {
            // SAFETY: chunks live as long as their space, which lives as long as its shards (I-4).
            let chunk = unsafe { chunk.as_ref() };
            let entries = chunk.entries.iter().zip(0..);
            let live = entries.filter(|(entry, _)| entry.word().is_live());
            ids.extend(live.filter_map(|(entry, index)| entry.id(chunk.key(index))));
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

    #[inline]
    fn take_slot(&mut self, space: &IdSpace) -> Option<Slot> {
        self.assert_home(space);
        if self.free.len() <= REUSE_DISTANCE
            && let Some(chunk) = self.grow(space)
        {
            self.chunks.push(chunk);
        }
        self.free.pop_front()
    }

    #[cold]
    fn grow(&mut self, space: &IdSpace) -> Option<NonNull<Chunk>> {
        let chunk = space.take_chunk(self.inbox.as_ptr())?;
        self.space = Some(NonNull::from_ref(space));
        // SAFETY: chunks live as long as their space, which the caller borrows (I-4).
        let slots = unsafe { chunk.as_ref() };
        for index in 0..1 << Chunk::BITS {
            let entry = &slots.entries[index as usize];
            self.keep_if_usable(space, slots.key(index), entry);
        }
        Some(chunk)
    }

    fn free_slot(&mut self, space: &IdSpace, key: u32, entry: &Entry) -> Received {
        let id = entry.id(key).expect("a live slot has a generation");
        let is_moved = entry.word().is_moved();
        let mut kept = match is_moved {
            true => Kept::Nothing,
            false => kept(id, entry),
        };
        let raw = entry.raw();
        let owner = self.unlink(space, entry);
        entry.free();
        match owner {
            Some(owner) if id.namespace().is_counted() => {
                owner.begin_closing();
                self.to_tell.push(owner);
            }
            // Perhaps the last reference: not to be dropped here, for the user's code is behind it.
            Some(owner) if matches!(kept, Kept::Nothing) => kept = Kept::Process(owner),
            // What is kept has one, too.
            _ => {}
        }
        let freed = match is_moved {
            true => Received::Moved { id },
            false => Received::Freed { id, raw, kept },
        };
        self.take_back(space, key, entry);
        freed
    }

    /// The slot is free.
    fn take_back(&mut self, space: &IdSpace, key: u32, entry: &Entry) {
        self.live -= 1;
        self.keep_if_usable(space, key, entry);
    }

    #[inline]
    fn keep_if_usable(&mut self, space: &IdSpace, key: u32, entry: &Entry) {
        if entry.word().is_spent(space.generation_max()) {
            self.retired += 1;
        } else {
            let entry = NonNull::from_ref(entry);
            self.free.push_back(Slot { key, entry });
        }
    }

    fn link(&self, space: &IdSpace, key: u32, entry: &Entry, owner: &Record) {
        let head = owner.head(self.worker);
        let old = head.load(Ordering::Relaxed);
        // See `Record::has_ids_at`.
        head.store(key, Ordering::SeqCst);
        entry.prev.store(NO_KEY, Ordering::Relaxed);
        entry.next.store(old, Ordering::Relaxed);
        if let Some(old) = space.entry(old).filter(|_| old != NO_KEY) {
            old.prev.store(key, Ordering::Relaxed);
        }
    }

    /// Takes the slot out of its owner's list; gives the reference to the owner that it held.
    #[inline]
    fn unlink(&self, space: &IdSpace, entry: &Entry) -> Option<Arc<Record>> {
        let process = NonNull::new(entry.process())?;
        // SAFETY: `fill` has counted it for the slot, which ends here, once (I-4).
        let owner = unsafe { Arc::from_raw(process.as_ptr()) };
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
        } else {
            owner.head(self.worker).store(next, Ordering::SeqCst);
        }
        Some(owner)
    }
}

/// What the slot of `id`, which is about to be free, has kept alive.
fn kept(id: Id, entry: &Entry) -> Kept {
    if let Some(object) = object_of(id.namespace(), entry.object()) {
        // SAFETY: the box that the slot was opened with, and nobody is inside any more (I-4).
        return Kept::Object(*unsafe { Box::from_raw(object.as_ptr()) });
    }
    if let Some(process) = process_of(id.namespace(), entry.object()) {
        // SAFETY: the reference that the slot was opened with, and nobody is inside any more (I-4).
        return Kept::Process(unsafe { Arc::from_raw(process.as_ptr()) });
    }
    if entry.word().keeps()
        && let Some(header) = NonNull::new(entry.object().cast::<Header>())
    {
        // The closer has counted it, see `IdSpace::close_fiber`.
        return Kept::Fiber(Fiber::from_raw(header));
    }
    Kept::Nothing
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

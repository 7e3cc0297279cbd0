//! All ids of one world: where keys come from, and how a key is found.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt, mem,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicPtr},
};

use super::{
    entry::{Chunk, Closing, Entry, NotMoved},
    inbox::ShardInbox,
    named::{Named, Object, object_of, process_of},
};
use crate::{
    error::{IoError, IoErrorKind, Stale, StaleReason},
    fiber::{Fiber, Header, Inbox},
    id::{Description, Id, Namespace},
    operation::WaitGraph,
    primitive::Ordering,
    process::{Record, share},
    request::RawDescriptor,
    spin::SpinLock,
};

const TOP: usize = 2048;
const MIDDLE: usize = 2048;

type Middle = [AtomicPtr<Chunk>; MIDDLE];

/// All ids of one world: the whole OS process, or one simulated world.
///
/// Chunks of slots are lent to shards and come back when a runtime ends; generations go on, so ids
/// of two runtimes of one world never collide (I-4).
pub struct IdSpace {
    top: [AtomicPtr<Middle>; TOP],
    chunks: SpinLock<Chunks>,
    waits: WaitGraph,
    /// Whether any fiber was ever abandoned.
    has_lost: AtomicBool,
    /// The workers of this world, who are told of each fiber that is.
    workers: SpinLock<Vec<Arc<dyn Inbox>>>,
    generation_max: u16,
    /// The number of its first chunk.
    first: u32,
}

struct Chunks {
    made: u32,
    free: Vec<NonNull<Chunk>>,
}

// SAFETY: the pointers name chunks that live as long as the space and whose slots are atomics;
// who may change a slot is decided by its own word (I-4).
unsafe impl Send for Chunks {}

/// Where the chunks of simulated worlds begin: their keys have the highest bit.
const FIRST_OF_WORLD: u32 = 1 << (u32::BITS - 1 - Chunk::BITS);

const _: () = assert!(
    TOP * MIDDLE <= FIRST_OF_WORLD as usize,
    "the keys of the process stay in the lower half"
);

static OF_PROCESS: IdSpace = IdSpace::new();

impl IdSpace {
    /// An empty space with the keys of the lower half, as the OS process has them.
    #[expect(
        clippy::new_without_default,
        reason = "a const constructor for statics"
    )]
    pub const fn new() -> Self {
        Self::with_generations(u16::MAX)
    }

    /// An empty space for a simulated world. Its keys are those of the upper half, so that no id of
    /// it has the bits of one of the process's: an id that leaves its world, in a handle that is
    /// dropped outside of it, is unknown there instead of naming a stranger. Two simulated worlds
    /// do share bits, as they must: each gives the same ids in every run (I-6).
    pub const fn of_world() -> Self {
        Self::starting_at(FIRST_OF_WORLD, u16::MAX)
    }

    /// An empty space whose slots are retired after `generation_max` incarnations, so that tests
    /// can see it happen.
    ///
    /// # Panics
    /// When `generation_max` is 0.
    pub const fn with_generations(generation_max: u16) -> Self {
        Self::starting_at(0, generation_max)
    }

    const fn starting_at(first: u32, generation_max: u16) -> Self {
        assert!(generation_max > 0, "a slot needs at least one generation");
        Self {
            top: [const { AtomicPtr::new(ptr::null_mut()) }; TOP],
            chunks: SpinLock::new_static(Chunks {
                made: 0,
                free: Vec::new(),
            }),
            waits: WaitGraph::new(),
            has_lost: AtomicBool::new(false),
            workers: SpinLock::new_static(Vec::new()),
            generation_max,
            first,
        }
    }

    /// The space of this OS process.
    pub fn of_process() -> &'static Self {
        &OF_PROCESS
    }

    /// Which fibers of this world wait for which others.
    pub(crate) const fn waits(&self) -> &WaitGraph {
        &self.waits
    }

    pub(super) const fn generation_max(&self) -> u16 {
        self.generation_max
    }

    /// Enters what `id` names, so that it cannot be freed until the guard is dropped.
    ///
    /// # Errors
    /// When `id` names nothing, or nothing any more.
    #[inline]
    pub fn enter(&self, id: Id, worker: Option<u16>) -> Result<Entered<'_>, Stale> {
        let (chunk, entry) = self.find(id)?;
        let entered = entry.enter(id, worker);
        entered.map_err(|reason| refused(entry, id, reason))?;
        Ok(Entered {
            chunk,
            entry,
            key: id.key(),
        })
    }

    /// Takes up again what was entered and forgotten.
    ///
    /// # Safety
    /// An [`Entered`] of `id` was passed to `mem::forget`, and this is called once for it.
    pub(crate) unsafe fn entered(&self, id: Id) -> Entered<'_> {
        let (chunk, entry) = self
            .find(id)
            .expect("what somebody is inside of is not freed");
        Entered {
            chunk,
            entry,
            key: id.key(),
        }
    }

    /// Closes what `id` names: nobody enters it any more, and its shard frees it when the last one
    /// has left. Never waits; legal from any thread, once an incarnation.
    ///
    /// # Errors
    /// When `id` names nothing, or nothing any more; also on the second call. A fiber's is refused:
    /// it is closed at the fiber's end.
    pub fn close(&self, id: Id) -> Result<(), Stale> {
        if id.namespace() == Namespace::FIBER {
            self.describe(id)?;
            return Err(Stale::new(id, StaleReason::Runs));
        }
        self.close_for(id, Closing::Asked)
    }

    /// [`IdSpace::close`], and says why.
    pub(crate) fn close_for(&self, id: Id, why: Closing) -> Result<(), Stale> {
        let (chunk, entry) = self.find(id)?;
        entry
            .begin_close(id, why, None)
            .map_err(|reason| refused(entry, id, reason))?;
        hand_over(chunk, entry, id.key());
        Ok(())
    }

    /// [`IdSpace::close_for`] of an id that names `fiber`, which has ended. Whoever is inside may
    /// look at it until it has left.
    pub(crate) fn close_fiber(&self, id: Id, fiber: &Fiber, why: Closing) -> Result<(), Stale> {
        let (chunk, entry) = self.find(id)?;
        let mut kept = None;
        let closed = entry.begin_close(id, why, Some(&mut || kept = Some(fiber.clone())));
        if closed.map_err(|reason| Stale::new(id, reason))? {
            // The slot's from here on: its shard takes it up when it frees the slot.
            mem::forget(kept.take());
        }
        hand_over(chunk, entry, id.key());
        Ok(())
    }

    /// Closes what `id` names, and gives that out instead of ending it: it is the caller's, who
    /// names it anew, or it is lost. Nobody is inside.
    pub(crate) fn take_out(&self, id: Id) -> Result<Named, IoError> {
        debug_assert!(id.namespace().is_counted(), "a fiber stays where it is");
        let (chunk, entry) = self.find(id)?;
        entry.begin_move(id).map_err(|why| match why {
            NotMoved::Stale(reason) => IoError::from(refused(entry, id, reason)),
            NotMoved::Busy => IoErrorKind::Busy.into(),
        })?;
        let named = Named::moved(id.namespace(), entry.raw(), entry.object());
        hand_over(chunk, entry, id.key());
        Ok(named)
    }

    /// What `id` names, in words. It does not count as a use.
    ///
    /// # Errors
    /// When `id` names nothing, or nothing any more.
    pub fn describe(&self, id: Id) -> Result<Description, Stale> {
        let (_, entry) = self.find(id)?;
        loop {
            if let Some((word, owner)) = entry.peek(id).filter(|(word, _)| word.is_live()) {
                return Ok(Description {
                    id,
                    kind: id.namespace(),
                    owner,
                    users: word.inflight(),
                    is_closing: word.is_closing(),
                });
            }
            // It may have been opened since: then it is looked at again.
            if let Err(reason) = entry.check(entry.word(), id) {
                return Err(refused(entry, id, reason));
            }
        }
    }

    /// Closes the id of a fiber that will perhaps not come to its end, for its shard ends.
    pub(crate) fn close_fiber_id(&self, id: Id) {
        let fiber = self.enter(id, None).ok().and_then(|it| it.fiber());
        if let Some(fiber) = fiber {
            // Its own end may have come first.
            let _ = self.close_fiber(id, &fiber, Closing::Asked);
        }
    }

    /// Closes the id of a fiber that no worker will ever run: the one that has named it is perhaps
    /// gone, with its shard, and nobody may find a fiber that is about to be freed (I-4). One that
    /// waits for its operation, or has started, is leaked, and found as ever.
    pub fn close_unstarted(&self, fiber: &Fiber) {
        if let Some(id) = fiber.id().filter(|_| !fiber.has_home()) {
            // Its shard has perhaps closed it at its own end.
            let _ = self.close_fiber(id, fiber, Closing::Asked);
        }
    }

    /// Whether the fiber that `id` names, or named last, was abandoned.
    pub fn is_lost(&self, id: Id) -> bool {
        self.find(id).is_ok_and(|(_, entry)| {
            let word = entry.word();
            word.is_lost() && word.generation() == id.generation()
        })
    }

    /// Whether any fiber of this world was ever abandoned.
    pub fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::SeqCst)
    }

    /// The abandoned fiber that `id` names, or named last, and its process.
    pub(crate) fn lost_fiber(&self, id: Id) -> Option<(Fiber, Option<Id>)> {
        if !self.is_lost(id) {
            return None;
        }
        let (_, entry) = self.find(id).ok()?;
        let header = NonNull::new(entry.object().cast::<Header>())?;
        // SAFETY: its slot is never opened again, and its block is leaked, which comes before the
        // mark (I-4).
        Some((unsafe { header.as_ref() }.handle(), entry.owner()))
    }

    /// A fiber was abandoned, and its id is marked: every worker of this world is told, since
    /// fibers may wait there for what that one holds.
    pub(crate) fn tell_of_loss(&self) {
        self.has_lost.store(true, Ordering::SeqCst);
        // Cloned, so that nobody is rung up under the lock.
        let workers = self.workers.lock().clone();
        for worker in workers {
            worker.fiber_lost();
        }
    }

    /// From here on the worker behind `inbox` is told of losses.
    pub(crate) fn join_workers(&self, inbox: Arc<dyn Inbox>) {
        self.workers.lock().push(inbox);
    }

    pub(crate) fn leave_workers(&self, inbox: &Arc<dyn Inbox>) {
        let left = {
            let mut workers = self.workers.lock();
            let at = workers.iter().position(|other| Arc::ptr_eq(other, inbox));
            at.map(|at| workers.swap_remove(at))
        };
        drop(left);
    }

    /// Whether `id` names something that is not closing.
    #[inline]
    pub fn is_live(&self, id: Id) -> bool {
        let entry = self.entry(id.key());
        entry.is_some_and(|entry| entry.is_open_as(id))
    }

    #[inline]
    fn find(&self, id: Id) -> Result<(&Chunk, &Entry), Stale> {
        match self.chunk(id.key() >> Chunk::BITS) {
            Some(chunk) => Ok((chunk, &chunk.entries[id.key() as usize % Chunk::ENTRIES])),
            None => Err(unknown(id)),
        }
    }

    #[inline]
    fn chunk(&self, number: u32) -> Option<&Chunk> {
        // What is below the first one becomes too large.
        let number = number.wrapping_sub(self.first);
        let middle = self
            .top
            .get(number as usize / MIDDLE)?
            .load(Ordering::Acquire);
        // SAFETY: a non-null pointer was published by `publish` and lives as long as the space,
        // slots being retired, never unmapped (I-4).
        let middle = unsafe { middle.as_ref() }?;
        let chunk = middle[number as usize % MIDDLE].load(Ordering::Acquire);
        // SAFETY: as above (I-4).
        unsafe { chunk.as_ref() }
    }

    /// The slot of `id`, if it belongs to the shard behind `inbox`.
    pub(super) fn entry_of(&self, id: Id, inbox: NonNull<ShardInbox>) -> Option<&Entry> {
        let (chunk, entry) = self.find(id).ok()?;
        (chunk.inbox.load(Ordering::Relaxed) == inbox.as_ptr()).then_some(entry)
    }

    #[inline]
    pub(super) fn entry(&self, key: u32) -> Option<&Entry> {
        let chunk = self.chunk(key >> Chunk::BITS)?;
        Some(&chunk.entries[key as usize % Chunk::ENTRIES])
    }

    /// Lends a chunk to a shard; `None` when all 2^30 keys are in use.
    pub(super) fn take_chunk(&self, inbox: *mut ShardInbox) -> Option<NonNull<Chunk>> {
        let mut chunks = self.chunks.lock();
        let chunk = match chunks.free.pop() {
            Some(chunk) => chunk,
            None if chunks.made as usize == TOP * MIDDLE => return None,
            None => {
                let number = chunks.made;
                chunks.made += 1;
                self.publish(number)
            }
        };
        // SAFETY: chunks live as long as the space (I-4).
        unsafe { chunk.as_ref() }
            .inbox
            .store(inbox, Ordering::Release);
        Some(chunk)
    }

    /// Takes a chunk back whose slots are all dead.
    pub(super) fn give_chunk(&self, chunk: NonNull<Chunk>) {
        // SAFETY: chunks live as long as the space (I-4).
        unsafe { chunk.as_ref() }
            .inbox
            .store(ptr::null_mut(), Ordering::Release);
        self.chunks.lock().free.push(chunk);
    }

    /// Makes the space's chunk `number` and enters it in the directory; the caller holds the
    /// chunks' lock.
    fn publish(&self, number: u32) -> NonNull<Chunk> {
        let slot = &self.top[number as usize / MIDDLE];
        if slot.load(Ordering::Acquire).is_null() {
            let slots: Vec<AtomicPtr<Chunk>> = (0..MIDDLE).map(|_| AtomicPtr::default()).collect();
            let middle: Result<Box<Middle>, _> = slots.into_boxed_slice().try_into();
            let middle = middle.unwrap_or_else(|_| unreachable!("made with that length"));
            slot.store(Box::into_raw(middle), Ordering::Release);
        }
        let chunk = Chunk::boxed(self.first + number);
        let raw = Box::into_raw(chunk);
        // SAFETY: set just above or by an earlier call, never unset (I-4).
        let middle = unsafe { &*slot.load(Ordering::Acquire) };
        middle[number as usize % MIDDLE].store(raw, Ordering::Release);
        NonNull::new(raw).expect("a box is not null")
    }
}

impl Drop for IdSpace {
    fn drop(&mut self) {
        for top in &mut self.top {
            let middle = *top.get_mut();
            if middle.is_null() {
                continue;
            }
            // SAFETY: made by `Box::into_raw` in `publish`; `&mut self` proves the last use (I-4).
            let mut middle = unsafe { Box::from_raw(middle) };
            for chunk in middle
                .iter_mut()
                .map(|slot| *slot.get_mut())
                .filter(|slot| !slot.is_null())
            {
                // SAFETY: as above (I-4).
                drop(unsafe { Box::from_raw(chunk) });
            }
        }
    }
}

impl fmt::Debug for IdSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdSpace")
            .field("chunks", &self.chunks.lock().made)
            .finish_non_exhaustive()
    }
}

impl Chunk {
    fn boxed(number: u32) -> Box<Self> {
        // Field by field in its place: the caller may be a fiber with less stack than a chunk.
        let mut chunk = Box::<Self>::new_uninit();
        let place = chunk.as_mut_ptr();
        // SAFETY: a field of the box just made (I-4).
        let number_at = unsafe { &raw mut (*place).number };
        // SAFETY: as above, and nobody else knows it yet (I-4).
        unsafe { number_at.write(number) };
        // SAFETY: a field of the box just made (I-4).
        let inbox_at = unsafe { &raw mut (*place).inbox };
        // SAFETY: as above, and nobody else knows it yet (I-4).
        unsafe { inbox_at.write(AtomicPtr::new(ptr::null_mut())) };
        // SAFETY: a field of the box just made (I-4).
        let entries_at = unsafe { &raw mut (*place).entries }.cast::<Entry>();
        for index in 0..Self::ENTRIES {
            // SAFETY: within the array of that length (I-4).
            let entry_at = unsafe { entries_at.add(index) };
            // SAFETY: as above, and nobody else knows it yet (I-4).
            unsafe { entry_at.write(Entry::new()) };
        }
        // SAFETY: all three fields were written (I-4).
        unsafe { chunk.assume_init() }
    }
}

#[cold]
const fn unknown(id: Id) -> Stale {
    Stale::new(id, StaleReason::Unknown)
}

/// The refusal of `id`; names the owner whose death is why.
#[cold]
fn refused(entry: &Entry, id: Id, reason: StaleReason) -> Stale {
    let owner = match reason {
        StaleReason::OwnerDied => entry.peek(id).and_then(|(_, owner)| owner),
        _ => None,
    };
    Stale {
        owner,
        ..Stale::new(id, reason)
    }
}

/// Gives a closing, empty slot to the shard that frees it.
fn hand_over(chunk: &Chunk, entry: &Entry, key: u32) {
    let inbox = chunk.inbox.load(Ordering::Acquire);
    // SAFETY: a shard gives its chunks back only when all slots are free, and this one, marked as
    // handed over by the caller, is not freed before it is in the shard's list, so the chunk's
    // shard and its inbox are alive (I-4).
    let inbox = unsafe { inbox.as_ref() }.expect("a live slot belongs to a shard");
    inbox.push(entry, key);
}

/// The right to use what an id names; it is not freed while this exists.
pub struct Entered<'space> {
    chunk: &'space Chunk,
    entry: &'space Entry,
    key: u32,
}

impl Entered<'_> {
    /// The host's number.
    pub fn raw(&self) -> RawDescriptor {
        self.entry.raw()
    }

    /// The process that it belongs to.
    pub fn owner(&self) -> Option<Id> {
        self.entry.owner()
    }

    /// The fiber that it names.
    pub fn fiber(&self) -> Option<Fiber> {
        if self.entry.namespace() != Namespace::FIBER {
            return None;
        }
        let header = NonNull::new(self.entry.object().cast::<Header>())?;
        // SAFETY: a fiber that ends closes its id first, and if somebody is inside by then it stays
        // alive for that one, see `close_fiber` (I-4).
        Some(unsafe { header.as_ref() }.handle())
    }

    /// The process that it names.
    pub fn process(&self) -> Option<Arc<Record>> {
        let process = process_of(self.entry.namespace(), self.entry.object())?;
        // SAFETY: the slot's own reference, which is there until it is freed (I-4).
        Some(unsafe { share(process) })
    }

    /// The object that it names.
    pub fn object(&self) -> Option<Object> {
        let object = object_of(self.entry.namespace(), self.entry.object())?;
        // SAFETY: the slot's own box, which is there until it is freed (I-4).
        Some(Object::clone(unsafe { object.as_ref() }))
    }

    /// How many are inside, the caller included.
    pub fn users(&self) -> u64 {
        self.entry.word().inflight()
    }

    /// The runtime whose shard frees it, by its first process.
    pub fn runtime(&self) -> Option<Id> {
        let inbox = self.chunk.inbox.load(Ordering::Acquire);
        // SAFETY: a slot that somebody is inside of is not freed, so its shard, and with it the
        // inbox, is there (I-4).
        unsafe { inbox.as_ref() }.and_then(|inbox| inbox.runtime)
    }

    /// Whether somebody has begun to close it meanwhile.
    pub fn is_closing(&self) -> bool {
        self.entry.word().is_closing()
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if self.entry.exit() {
            hand_over(self.chunk, self.entry, self.key);
        }
    }
}

impl fmt::Debug for Entered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered")
            .field("id", &self.entry.id(self.key))
            .finish_non_exhaustive()
    }
}

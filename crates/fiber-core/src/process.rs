//! A lightweight process, as far as its fibers and ids know of it.
//!
//! A process owns its fibers and every id that they were given. What it is beyond that, its place
//! in the tree, who watches it and how it dies, is the scheduler's, in [`Record::life`].
//!
//! ```text
//! Running ──▶ Cancelled ──▶ Killed ──▶ Abandoned      the stage only rises; each
//!    └────────────┴────────────┴───────────┴──▶ Ended     may be left out
//! ```
//!
//! | stage | its fibers |
//! |---|---|
//! | `Running` | run |
//! | `Cancelled` | were asked to unwind; masks and handlers are respected |
//! | `Killed` | unwind at their next point, masked or not, and poison what they hold |
//! | `Abandoned` | are never resumed again, wherever they are: what they have is leaked |
//! | `Ended` | are gone |
//!
//! The first process of a runtime, to which everything belongs that belongs to no other, has no
//! record: it is not counted, and ends with the run.

use alloc::{boxed::Box, sync::Arc};
use core::{
    fmt,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    time::Duration,
};

use crate::{
    fiber::{AtEnd, ExitReason, ExitWatcher, Reason},
    id::Id,
    primitive::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, loom_fence},
    spin::SpinLock,
};

mod heads;
mod heap;
mod life;
#[cfg(all(test, loom))]
mod models;

use self::{heads::Heads, heap::Heap};
pub use self::{
    heap::{CountingAllocator, HEAP_LIMIT, is_heap_counted},
    life::Life,
};

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(clippy::exhaustive_enums, reason = "the scheduler drives it")]
pub enum Stage {
    /// It runs.
    Running,
    /// It was asked to end.
    Cancelled,
    /// It is made to end.
    Killed,
    /// What would not end never runs again.
    Abandoned,
    /// It has ended.
    Ended,
}

impl Stage {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Running,
            1 => Self::Cancelled,
            2 => Self::Killed,
            3 => Self::Abandoned,
            _ => Self::Ended,
        }
    }
}

/// How much a process may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Fibers, started or not.
    pub fibers: usize,
    /// Ids of descriptors and other things, fibers and processes aside.
    pub ids: usize,
    /// Bytes of stacks, as large as they may become, of fibers that have started.
    pub stack_bytes: usize,
    /// Bytes of the heap, where a [`CountingAllocator`] counts them.
    pub heap_bytes: usize,
}

impl Limits {
    /// No limits but those of the runtime.
    pub const NONE: Self = Self {
        fibers: usize::MAX,
        ids: usize::MAX,
        stack_bytes: usize::MAX,
        heap_bytes: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

/// A process is at one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process is at its limit of {limit} {what}")]
#[non_exhaustive]
pub struct LimitReached {
    /// Of what.
    pub what: &'static str,
    /// The limit.
    pub limit: usize,
}

/// What became of an attempt to add a fiber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "the scheduler tells of each")]
pub enum Refused {
    /// The process has ended, or is about to and has no fiber left.
    #[error("the process has ended")]
    Ended,
    /// It is at a limit.
    #[error(transparent)]
    Limit(LimitReached),
}

/// A process.
pub struct Record {
    /// 0 until it has one.
    id: AtomicU64,
    name: Option<Box<str>>,
    stage: AtomicU8,
    reason: SpinLock<Reason>,
    limits: Limits,
    /// `MEMBER` for each place in it, and `FIBER` for each fiber that counts against the limit.
    members: AtomicU64,
    /// `ID` for each that is named, and `CLOSING` for each that the host is yet to close.
    ids: AtomicU64,
    stack_bytes: AtomicUsize,
    abandoned: AtomicU32,
    parks: AtomicU64,
    requests: AtomicU64,
    cpu_ns: AtomicU64,
    heap: Heap,
    /// The first of its ids at each worker; touched by that worker only.
    heads: Heads,
    /// The workers (bits by index modulo 64) that have ever named something of it that is counted.
    ids_at: AtomicU64,
    life: Box<dyn Life>,
}

impl Record {
    /// A process that runs on so many workers, without a fiber yet: the first one is admitted with
    /// it, and must be launched or dropped.
    pub fn new(
        name: Option<Box<str>>,
        limits: Limits,
        workers: usize,
        life: Box<dyn Life>,
    ) -> (Arc<Self>, Membership) {
        let record = Arc::new(Self {
            id: AtomicU64::new(0),
            name,
            stage: AtomicU8::new(Stage::Running as u8),
            reason: SpinLock::new(Reason::default()),
            limits,
            members: AtomicU64::new(MEMBER + FIBER),
            ids: AtomicU64::new(0),
            stack_bytes: AtomicUsize::new(0),
            abandoned: AtomicU32::new(0),
            parks: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            heap: Heap::new(),
            heads: Heads::new(workers),
            ids_at: AtomicU64::new(0),
            life,
        });
        let first = Membership(Arc::clone(&record));
        (record, first)
    }

    /// The process's id; `None` before it was named.
    pub fn id(&self) -> Option<Id> {
        Id::from_bits(self.id.load(Ordering::Acquire))
    }

    pub(crate) fn set_id(&self, id: Id) {
        self.id.store(id.to_bits(), Ordering::Release);
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What it is beyond its fibers and ids: the scheduler's.
    pub fn life(&self) -> &dyn Life {
        &*self.life
    }

    /// The same of one that nobody else has any more.
    pub fn life_mut(&mut self) -> &mut dyn Life {
        &mut *self.life
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        loom_fence();
        Stage::of(self.stage.load(Ordering::SeqCst))
    }

    /// Raises the stage to this one; says whether it was lower. The first who gives a reason is
    /// heard. The caller then has every worker heed it, see
    /// [`Context::sweep`](crate::Context::sweep).
    pub fn raise(&self, stage: Stage, reason: &Reason) -> bool {
        let mut first = self.reason.lock();
        let before = self.stage.fetch_max(stage as u8, Ordering::SeqCst);
        if before == Stage::Running as u8 && stage > Stage::Running {
            *first = reason.clone();
        }
        before < stage as u8
    }

    /// Why it was asked to end.
    pub fn reason(&self) -> Reason {
        self.reason.lock().clone()
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many fibers it has.
    pub fn fibers(&self) -> usize {
        low_half(self.members.load(Ordering::Acquire))
    }

    /// How many ids it has, those of fibers and processes aside.
    pub fn ids(&self) -> usize {
        low_half(self.ids.load(Ordering::Relaxed))
    }

    /// How many ids it has, and had that the host is yet to close.
    pub fn ids_left(&self) -> usize {
        let ids = self.ids.load(Ordering::Relaxed);
        low_half(ids) + low_half(ids / CLOSING)
    }

    /// How many bytes its stacks may become.
    pub fn stack_bytes(&self) -> usize {
        self.stack_bytes.load(Ordering::Relaxed)
    }

    /// How many of its fibers were abandoned.
    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed) as usize
    }

    /// How often its fibers were switched out.
    pub fn parks(&self) -> u64 {
        self.parks.load(Ordering::Relaxed)
    }

    /// How many requests its fibers have made of the host.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Processor time that its fibers have used, from samples.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// Bytes that its fibers have allocated and not freed; `None` where nobody counts them. What
    /// one process allocates and another one frees is missing here for ever.
    pub fn heap_bytes(&self) -> Option<usize> {
        is_heap_counted().then(|| self.heap.bytes())
    }

    /// Whether the calling fiber is the only one that it has, and no place is left by another that
    /// has ended. Asked after [`Record::raise`]: whoever admits one later sees what was raised (as
    /// two that each store and then load, all of it `SeqCst`).
    pub fn is_alone(&self) -> bool {
        self.members.load(Ordering::SeqCst) == MEMBER + FIBER
    }

    /// Its fibers are gone: what is opened from now on is closed at once. Says whether it has no
    /// id, and had none that the host is yet to close; else [`Life::released`] tells of that.
    pub fn release(&self) -> bool {
        self.stage.store(Stage::Ended as u8, Ordering::SeqCst);
        self.ids.load(Ordering::SeqCst) == 0
    }

    /// Whether the host is yet to close something that its stale ids have named.
    pub fn has_closing(&self) -> bool {
        self.ids.load(Ordering::SeqCst) >= CLOSING
    }

    /// Admits one more fiber. Who is no fiber of the process, and finds it ending afterwards, sees
    /// to its end, see [`Record::is_alone`].
    ///
    /// # Errors
    /// At the limit, and when it has none left.
    pub fn admit(self: &Arc<Self>) -> Result<Membership, Refused> {
        let mut members = self.members.load(Ordering::Relaxed);
        loop {
            if members < MEMBER {
                return Err(Refused::Ended);
            }
            if low_half(members) >= self.limits.fibers {
                return Err(Refused::Limit(LimitReached {
                    what: "fibers",
                    limit: self.limits.fibers,
                }));
            }
            match self.members.compare_exchange_weak(
                members,
                members + MEMBER + FIBER,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(Membership(Arc::clone(self))),
                Err(seen) => members = seen,
            }
        }
    }

    /// Counts an id that is to be named at this worker.
    pub(crate) fn take_id(&self, worker: usize) -> Result<(), LimitReached> {
        let (limit, what) = (self.limits.ids, "ids");
        let bit = 1 << (worker % 64);
        // Before it is counted: who finds it counted finds the worker, too.
        if self.ids_at.load(Ordering::Relaxed) & bit == 0 {
            self.ids_at.fetch_or(bit, Ordering::SeqCst);
        }
        let taken = self
            .ids
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |ids| {
                (low_half(ids) < limit).then(|| ids + ID)
            });
        taken.map(drop).map_err(|_| LimitReached { what, limit })
    }

    pub(crate) fn give_id(self: &Arc<Self>) {
        self.subtract_ids(ID);
    }

    /// An id is stale, which makes room for another; what it named is yet to be closed.
    pub(crate) fn begin_closing(&self) {
        self.ids.fetch_add(CLOSING - ID, Ordering::SeqCst);
    }

    /// What an id had named is closed.
    pub(crate) fn end_closing(self: &Arc<Self>) {
        self.subtract_ids(CLOSING);
    }

    fn subtract_ids(self: &Arc<Self>, count: u64) {
        let before = self.ids.fetch_sub(count, Ordering::SeqCst);
        if before == count && self.stage() == Stage::Ended {
            self.life.released(self);
        }
    }

    pub(crate) fn take_stack(&self, bytes: usize) -> Result<(), LimitReached> {
        let limit = self.limits.stack_bytes;
        let taken = self
            .stack_bytes
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |taken| {
                taken.checked_add(bytes).filter(|taken| *taken <= limit)
            });
        let what = "bytes of stacks";
        taken.map(drop).map_err(|_| LimitReached { what, limit })
    }

    pub(crate) fn give_stack(&self, bytes: usize) {
        self.stack_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_park(&self) {
        self.parks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it has ids that were named at this worker, those of fibers included. Who names one
    /// looks at the stage afterwards: whoever raises that and then asks this misses none (as two
    /// that each store and then load, all of it `SeqCst`).
    pub fn has_ids_at(&self, worker: usize) -> bool {
        loom_fence();
        self.heads.at(worker).load(Ordering::SeqCst) != NO_KEY
    }

    /// Whether this worker has ever named something of it that is counted, so that the host may
    /// have to close something there.
    pub fn has_counted_at(&self, worker: usize) -> bool {
        self.ids_at.load(Ordering::SeqCst) & 1 << (worker % 64) != 0
    }

    /// Whether this worker, of so many, alone has ever named something of it that is counted.
    pub fn is_counted_only_at(&self, worker: usize, workers: usize) -> bool {
        workers <= 64 && self.ids_at.load(Ordering::SeqCst) & !(1 << worker) == 0
    }

    pub(crate) fn count_cpu(&self, nanos: u64) {
        self.cpu_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn heap(&self) -> &Heap {
        &self.heap
    }

    pub(crate) fn head(&self, worker: usize) -> &AtomicU32 {
        self.heads.at(worker)
    }
}

/// For its main fiber.
impl ExitWatcher for Record {
    fn result(self: Arc<Self>, at_end: AtEnd, wrong: Option<&ExitReason>) {
        self.life.main_ended(&self, at_end, wrong);
    }

    fn ended(&self) {}
}

pub(crate) const NO_KEY: u32 = u32::MAX;

const FIBER: u64 = 1;
const MEMBER: u64 = 1 << 32;

const ID: u64 = 1;
const CLOSING: u64 = 1 << 32;

/// The lower one of two counts in a word.
fn low_half(word: u64) -> usize {
    usize::try_from(word % (1 << 32)).expect("32 bits of it")
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
}

/// A fiber's place in its process: the process has a fiber less when this is dropped.
#[derive(Debug)]
pub struct Membership(Arc<Record>);

/// What is left of a fiber's place when the fiber does not count any more: until this is dropped
/// the process is not empty.
#[derive(Debug)]
pub(crate) struct Leaving(Arc<Record>);

impl Membership {
    /// The process.
    pub fn record(&self) -> &Arc<Record> {
        &self.0
    }

    /// The process has room for another fiber from here on.
    pub(crate) fn leave(self) -> Leaving {
        let this = ManuallyDrop::new(self);
        // SAFETY: the one reference that `this` holds, which is not dropped (I-4).
        let record = unsafe { ptr::read(&raw const this.0) };
        record.members.fetch_sub(FIBER, Ordering::AcqRel);
        Leaving(record)
    }
}

impl Record {
    fn give_member(self: &Arc<Self>, count: u64) {
        let before = self.members.fetch_sub(count, Ordering::AcqRel);
        if before / MEMBER == 1 {
            self.life.emptied(self);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.give_member(MEMBER + FIBER);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.give_member(MEMBER);
    }
}

/// Whose an id may be: a process, or, as `None`, the runtime's first one.
pub trait Owner {
    /// The process, if it is not the first one.
    fn record(&self) -> Option<&Arc<Record>>;
}

impl Owner for Arc<Record> {
    fn record(&self) -> Option<&Arc<Record>> {
        Some(self)
    }
}

impl<O: Owner> Owner for Option<O> {
    fn record(&self) -> Option<&Arc<Record>> {
        self.as_ref().and_then(O::record)
    }
}

impl<O: Owner> Owner for &O {
    fn record(&self) -> Option<&Arc<Record>> {
        (**self).record()
    }
}

/// Whose something is to be: a process that cannot end meanwhile, or, as `None`, the runtime's
/// first one.
pub(crate) type Whose = Option<NonNull<Record>>;

/// A pointer to a record, by which [`share`] reaches the counts beside it.
pub(crate) fn whose(record: &Arc<Record>) -> NonNull<Record> {
    NonNull::new(Arc::as_ptr(record).cast_mut()).expect("what is there has an address")
}

/// One more reference to the record that `whose` points to.
///
/// # Safety
/// The pointer is one of [`whose`] or [`Arc::into_raw`], and the record does not end meanwhile.
pub(crate) unsafe fn share(whose: NonNull<Record>) -> Arc<Record> {
    // SAFETY: by the caller's promise (I-4).
    unsafe { Arc::increment_strong_count(whose.as_ptr()) };
    // SAFETY: it was counted just now (I-4).
    unsafe { Arc::from_raw(whose.as_ptr()) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Counts how often it was told of.
    struct Emptied(Arc<AtomicUsize>);

    impl Life for Emptied {
        fn main_ended(&self, _: &Arc<Record>, _: AtEnd, _: Option<&ExitReason>) {}

        fn emptied(&self, _: &Arc<Record>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn released(&self, _: &Arc<Record>) {}
    }

    #[test]
    fn who_leaves_makes_room_at_once_and_the_process_is_empty_when_it_has_left() {
        let limits = Limits {
            fibers: 1,
            ..Limits::NONE
        };
        let emptied = Arc::new(AtomicUsize::new(0));
        let life = Box::new(Emptied(Arc::clone(&emptied)));
        let (record, first) = Record::new(None, limits, 1, life);
        assert!(matches!(record.admit(), Err(Refused::Limit(_))));
        let leaving = first.leave();
        drop(record.admit().expect("there is room"));
        let told = || emptied.load(Ordering::Relaxed);
        assert_eq!((record.fibers(), told()), (0, 0));
        drop(leaving);
        assert_eq!(told(), 1);
        assert!(matches!(record.admit(), Err(Refused::Ended)));
    }
}

//! Who holds what others wait for, and since which line of the program.
//!
//! A lock notes its holder by id, never by address: a guard may be forgotten and the fiber freed,
//! and an id never comes back to life (I-4). Noting costs two plain stores, in every build.

use core::{
    fmt, mem,
    panic::Location,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};

use crate::{
    context::Context,
    fiber::{Fiber, Header},
    id::Id,
};

/// Something that fibers hold while others wait for it.
pub trait Resource: Sync {
    /// What it is, for reports: "a mutex".
    fn kind(&self) -> &'static str;

    /// Tells of each holder that is known. Called under a lock: takes no lock but its own spin
    /// locks, and must not be slow.
    fn holders(&self, tell: &mut dyn FnMut(Holder));

    /// How many handles there are by which the wait could be ended, where they are counted and
    /// there is no other way: those of the other side of a channel. Their owners are not known. As
    /// quick as [`Resource::holders`].
    fn peers(&self) -> Option<usize> {
        None
    }

    /// The fiber whose end it is, if it is that.
    fn end_of(&self) -> Option<&Fiber> {
        None
    }

    /// Tells of those holders that keep the performer from it, whatever the others do that wait:
    /// of all of them, unless some leave room.
    fn obstacles(&self, tell: &mut dyn FnMut(Holder)) {
        self.holders(tell);
    }
}

/// What a performer waits for, and where in the program it does.
#[derive(Clone, Copy)]
#[expect(
    clippy::exhaustive_structs,
    reason = "implementors of Operation build it"
)]
pub struct Waits<'operation> {
    /// What it waits for.
    pub resource: &'operation dyn Resource,
    /// Where it began to wait.
    pub site: &'static Location<'static>,
    /// Whether nobody but its holders can end the wait: then a circle of such waits never ends. Not
    /// so for permits, which anybody may add.
    pub only_holders: bool,
}

impl fmt::Debug for Waits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waits({} at {})", self.resource.kind(), self.site)
    }
}

/// [`Waits`] of a fiber that is parked, in its header.
#[derive(Clone, Copy)]
pub(crate) struct StoredWaits {
    resource: NonNull<dyn Resource>,
    /// The fiber whose end that is.
    joined: Option<NonNull<Header>>,
    site: &'static Location<'static>,
    only_holders: bool,
    is_limited: bool,
}

impl StoredWaits {
    /// `is_limited`: the wait is over in time, whoever does nothing.
    ///
    /// # Safety
    /// What is waited for stays alive while this can be reached (I-12).
    #[inline]
    pub(crate) unsafe fn new(waits: Waits<'_>, is_limited: bool) -> Self {
        let resource = NonNull::from_ref(waits.resource);
        // SAFETY: the lifetime is forgotten, which the caller's promise stands in for (I-12).
        let resource = unsafe {
            mem::transmute::<NonNull<dyn Resource + '_>, NonNull<dyn Resource>>(resource)
        };
        Self {
            resource,
            joined: waits.resource.end_of().map(Fiber::as_raw),
            site: waits.site,
            only_holders: waits.only_holders,
            is_limited,
        }
    }

    /// The fiber whose end is waited for.
    ///
    /// # Safety
    /// As [`StoredWaits::get`].
    #[inline]
    pub(crate) unsafe fn joined<'a>(self) -> Option<&'a Header> {
        // SAFETY: what is waited for has a handle to the fiber, and lives by the caller's promise
        // (I-3, I-12).
        self.joined.map(|joined| unsafe { joined.as_ref() })
    }

    pub(crate) const fn is_limited(self) -> bool {
        self.is_limited
    }

    pub(crate) const fn only_holders(self) -> bool {
        self.only_holders
    }

    /// # Safety
    /// What is waited for lives as long as what this gives (I-12).
    pub(crate) unsafe fn get<'a>(self) -> Waits<'a> {
        Waits {
            // SAFETY: by the caller's promise (I-12).
            resource: unsafe { self.resource.as_ref() },
            site: self.site,
            only_holders: self.only_holders,
        }
    }
}

/// Who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The fiber; `None` if a plain thread holds it, or a fiber without an id.
    pub fiber: Option<Id>,
    /// Where in the program it was taken.
    pub since: &'static Location<'static>,
}

impl Holder {
    /// This fiber, since then.
    pub const fn new(fiber: Option<Id>, since: &'static Location<'static>) -> Self {
        Self { fiber, since }
    }

    /// The caller, from now on.
    #[inline]
    pub fn current(since: &'static Location<'static>) -> Self {
        let fiber = Context::with_current(|_, fiber| {
            fiber.has_held().set(true);
            fiber.id()
        });
        Self::new(fiber.flatten(), since)
    }

    /// [`Holder::current`] for one who is about to try to get it, and pays for that as by
    /// [`charge`](crate::park::charge): both in one.
    #[inline(always)]
    pub fn charged(since: &'static Location<'static>) -> Self {
        // SAFETY: used within this call (I-11).
        let Some((context, fiber)) = (unsafe { Context::here() }) else {
            return Self::new(None, since);
        };
        context.charge(fiber);
        context.rest_if_abandoned(fiber);
        fiber.has_held().set(true);
        Self::new(fiber.id(), since)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fiber {
            Some(fiber) => write!(f, "fiber {fiber}, since {}", self.since),
            None => write!(f, "a plain thread, since {}", self.since),
        }
    }
}

/// The one holder of a lock, if it is held.
///
/// Written by the holder, after it has got the lock and before it lets go; and by whoever hands the
/// lock over to it, before it can know. Others read it at any time and may read what has just
/// changed; they look again, under a lock of their own, before they rely on it.
pub struct HolderCell {
    fiber: AtomicU64,
    since: AtomicPtr<Location<'static>>,
}

impl HolderCell {
    /// Nobody.
    pub const fn new() -> Self {
        Self {
            fiber: AtomicU64::new(0),
            since: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The caller holds it from now on.
    #[inline]
    pub fn set(&self, since: &'static Location<'static>) {
        self.set_to(Holder::current(since));
    }

    /// This one holds it from now on, and is about to be told.
    #[inline]
    pub fn set_to(&self, holder: Holder) {
        let (fiber, since) = (holder.fiber.map_or(0, Id::to_bits), holder.since);
        self.fiber.store(fiber, Ordering::Relaxed);
        let since = ptr::from_ref(since).cast_mut();
        self.since.store(since, Ordering::Release);
    }

    /// Nobody holds it; said before it is let go.
    #[inline]
    pub fn clear(&self) {
        self.since.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Who holds it.
    pub fn get(&self) -> Option<Holder> {
        let since = self.since.load(Ordering::Acquire);
        // SAFETY: null, or from the `&'static` given to `set` (I-3).
        let since = unsafe { since.as_ref() }?;
        let fiber = Id::from_bits(self.fiber.load(Ordering::Relaxed));
        Some(Holder::new(fiber, since))
    }
}

impl Default for HolderCell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HolderCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(holder) => fmt::Display::fmt(&holder, f),
            None => f.write_str("nobody"),
        }
    }
}

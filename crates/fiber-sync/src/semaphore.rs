//! Permits, for as many at a time as there are.
//!
//! First come, first served, whatever the size of a request: a large one at the head of the queue
//! holds back smaller ones behind it until it is served, so it cannot starve. `try_acquire` does
//! not overtake either. One that gives up in the middle of the queue looks, under the same lock,
//! whether those behind it can be served now.
//!
//! It knows who took permits, and where. But permits are added by anybody, so that one that waits
//! for some is never known to wait for ever: a semaphore takes no part in the search for circles.
//! What a fiber has that was abandoned with its process is lost; `add_permits` makes up for it.

use alloc::sync::Arc;
use core::{
    cell::Cell,
    fmt,
    mem::ManuallyDrop,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    pin::Pin,
    ptr,
    time::Duration,
};

use fiber_core::{
    operation::{
        Holder, Match, Operation, Published, Resource, WaitCell, WaitList, WaitNode, Waits,
        perform, perform_until, try_perform,
    },
    spin::SpinLock,
    timeout::Elapsed,
};

use crate::{
    holders::{Holders, Place, Places},
    primitive::const_unless_loom,
};

/// A number of permits that fibers and threads take and give back.
///
/// ```
/// use fiber_sync::Semaphore;
///
/// let connections = Semaphore::new(2);
/// let both = connections.acquire_many(2);
/// assert!(connections.try_acquire().is_none());
/// drop(both);
/// assert_eq!(connections.available_permits(), 2);
/// ```
pub struct Semaphore {
    state: SpinLock<State>,
    holders: Holders,
}

#[derive(Debug)]
struct State {
    available: usize,
    places: Places,
    /// The value of a node points to its [`Request`].
    waiting: WaitList,
}

/// What one who waits wants; in its frame.
#[derive(Debug)]
struct Request {
    permits: usize,
    /// Written by whoever serves it.
    place: Cell<Place>,
}

impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

impl Semaphore {
    const_unless_loom! {
        /// A semaphore with `permits` permits.
        pub fn new(permits: usize) -> Self {
            Self {
                state: SpinLock::new(State {
                    available: permits,
                    places: Places::new(),
                    waiting: WaitList::new(),
                }),
                holders: Holders::new(),
            }
        }
    }

    /// Takes a permit, and gives it back when the guard is dropped.
    ///
    /// # Suspends
    /// Until those who came before have been served and a permit is there.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here without a permit, unless it was served already.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1)
    }

    /// Takes `permits` permits at once. More than there will ever be waits for ever, and holds back
    /// everybody behind.
    ///
    /// # Suspends
    /// Until those who came before have been served and enough permits are there.
    ///
    /// # Cancellation
    /// As [`Semaphore::acquire`].
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> SemaphorePermit<'_> {
        perform(self.acquire_operation(permits))
    }

    /// Takes a permit if one is there and nobody waits; `None` otherwise. Never suspends.
    #[track_caller]
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` permits if they are there and nobody waits; else `None`. Never suspends.
    #[track_caller]
    pub fn try_acquire_many(&self, permits: usize) -> Option<SemaphorePermit<'_>> {
        try_perform(self.acquire_operation(permits)).ok()
    }

    /// [`Semaphore::acquire`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Semaphore::acquire`].
    ///
    /// # Errors
    /// When the time is over.
    #[track_caller]
    pub fn acquire_timeout(&self, span: Duration) -> Result<SemaphorePermit<'_>, Elapsed> {
        self.acquire_many_timeout(1, span)
    }

    /// [`Semaphore::acquire_many`] that gives up after `span`.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire_many`], for `span` at the most.
    ///
    /// # Cancellation
    /// As [`Semaphore::acquire`].
    ///
    /// # Errors
    /// When the time is over.
    #[track_caller]
    pub fn acquire_many_timeout(
        &self,
        permits: usize,
        span: Duration,
    ) -> Result<SemaphorePermit<'_>, Elapsed> {
        perform_until(self.acquire_operation(permits), Some(span)).map_err(|_| Elapsed::new())
    }

    /// Taking `permits` permits at once, as an operation.
    #[track_caller]
    pub const fn acquire_operation(&self, permits: usize) -> AcquireOperation<'_> {
        AcquireOperation {
            semaphore: self,
            site: Location::caller(),
            request: Request {
                permits,
                place: Cell::new(Place::NONE),
            },
            node: WaitNode::new(),
        }
    }

    /// [`Semaphore::acquire_many`] for permits that keep the semaphore alive, and so may lie in
    /// anything and go to other fibers.
    ///
    /// # Suspends
    /// As [`Semaphore::acquire_many`].
    ///
    /// # Cancellation
    /// As [`Semaphore::acquire`].
    #[track_caller]
    pub fn acquire_owned(self: &Arc<Self>, permits: usize) -> OwnedSemaphorePermit {
        OwnedSemaphorePermit::new(Arc::clone(self), self.acquire_many(permits))
    }

    /// [`Semaphore::try_acquire_many`] for permits that keep the semaphore alive.
    #[track_caller]
    pub fn try_acquire_owned(self: &Arc<Self>, permits: usize) -> Option<OwnedSemaphorePermit> {
        let permit = self.try_acquire_many(permits)?;
        Some(OwnedSemaphorePermit::new(Arc::clone(self), permit))
    }

    /// Adds permits, new ones or some whose guard was forgotten, and serves those who wait. Never
    /// suspends.
    ///
    /// # Panics
    /// When there would be more than `usize::MAX`.
    pub fn add_permits(&self, permits: usize) {
        self.give_back(permits, Place::NONE);
    }

    /// Adds permits, of the holder in `place`.
    fn give_back(&self, permits: usize, place: Place) {
        self.holders.clear(place);
        let mut state = self.state.lock();
        state.places.give_back(place);
        let added = state.available.checked_add(permits);
        match added {
            Some(available) => {
                state.available = available;
                state.serve();
            }
            None => {
                drop(state);
                panic!("a semaphore holds at most usize::MAX permits");
            }
        }
    }

    /// How many permits are free right now.
    pub fn available_permits(&self) -> usize {
        self.state.lock().available
    }

    /// Tells of those who have permits, eight at the most, as far as one can tell from outside:
    /// that may change at any time.
    pub fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        self.holders.each(tell);
    }
}

impl Resource for Semaphore {
    fn kind(&self) -> &'static str {
        "a semaphore"
    }

    fn holders(&self, tell: &mut dyn FnMut(Holder)) {
        self.holders.each(tell);
    }
}

impl Request {
    /// The request that a node's value points to.
    ///
    /// # Safety
    /// The node is linked, in a list whose lock the caller holds, or was found there and is not
    /// committed yet (I-12).
    unsafe fn of<'request>(value: *mut ()) -> &'request Self {
        // SAFETY: it stays in place as long as the node does, by the caller's promise (I-12).
        unsafe { &*value.cast_const().cast() }
    }
}

impl State {
    /// Takes `permits` for one that has just come, and so comes after those who wait.
    fn take(&mut self, permits: usize) -> Option<Place> {
        let can = self.waiting.is_empty() && self.available >= permits;
        can.then(|| {
            self.available -= permits;
            self.places.take()
        })
    }

    /// Serves those who wait, in order, up to the first whose request is too large.
    fn serve(&mut self) {
        let available = &mut self.available;
        while let Match::Partner(waiter) = self.waiting.find_while(None, |value| {
            // SAFETY: the list calls with linked nodes, and its lock is held (I-12).
            unsafe { Request::of(value) }.permits <= *available
        }) {
            // SAFETY: it was found just now, and is committed below (I-12).
            let request = unsafe { Request::of(waiter.value()) };
            *available -= request.permits;
            request.place.set(self.places.take());
            waiter.commit(0);
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available_permits())
            .finish_non_exhaustive()
    }
}

/// Permits that were taken; given back when this is dropped. Std has no semaphore; this is shaped
/// as its guards, but may go to other fibers and threads.
#[derive(Debug)]
#[must_use = "the permits go back as soon as the guard is dropped"]
pub struct SemaphorePermit<'semaphore> {
    semaphore: &'semaphore Semaphore,
    held: Held,
}

/// A [`SemaphorePermit`] that keeps its semaphore alive.
#[derive(Debug)]
#[must_use = "the permits go back as soon as the guard is dropped"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    held: Held,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    permits: usize,
    place: Place,
}

impl SemaphorePermit<'_> {
    /// How many permits these are.
    pub const fn permits(&self) -> usize {
        self.held.permits
    }

    /// Keeps the permits for good: the semaphore has so many fewer.
    pub fn forget(mut self) {
        self.held.permits = 0;
    }
}

impl OwnedSemaphorePermit {
    /// What `permit` stands for, whose semaphore it is.
    fn new(semaphore: Arc<Semaphore>, permit: SemaphorePermit<'_>) -> Self {
        let held = ManuallyDrop::new(permit).held;
        Self { semaphore, held }
    }

    /// How many permits these are.
    pub const fn permits(&self) -> usize {
        self.held.permits
    }

    /// Keeps the permits for good: the semaphore has so many fewer.
    pub fn forget(mut self) {
        self.held.permits = 0;
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        let Held { permits, place } = self.held;
        self.semaphore.give_back(permits, place);
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        let Held { permits, place } = self.held;
        self.semaphore.give_back(permits, place);
    }
}

/// Takes permits.
#[derive(Debug)]
pub struct AcquireOperation<'semaphore> {
    semaphore: &'semaphore Semaphore,
    site: &'static Location<'static>,
    request: Request,
    node: WaitNode,
}

// SAFETY: it looks at the permits again under the lock under which it links (I-2), those who serve
// it unlink it, and `retract` unlinks it otherwise (I-12).
unsafe impl<'semaphore> Operation for AcquireOperation<'semaphore> {
    type Output = SemaphorePermit<'semaphore>;

    fn name(&self) -> &'static str {
        self.semaphore.kind()
    }

    fn waits(&self) -> Option<Waits<'_>> {
        Some(Waits {
            resource: self.semaphore,
            site: self.site,
            only_holders: false,
        })
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        let place = self.semaphore.state.lock().take(self.request.permits)?;
        self.request.place.set(place);
        Some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let mut state = this.semaphore.state.lock();
        let Some(own) = cell.claim_own() else {
            return Published::Waiting;
        };
        if let Some(place) = state.take(this.request.permits) {
            this.request.place.set(place);
            own.settle(base);
            return Published::Committed(0);
        }
        drop(own);
        let value = ptr::from_ref(&this.request).cast_mut().cast();
        // SAFETY: under the lock; node, request and cell stay until `retract`, by the caller's
        // promise (I-12).
        unsafe { state.waiting.push(node, cell, base, value) };
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            let mut state = self.semaphore.state.lock();
            state.waiting.remove(&self.node);
            // It may have been the large one that held the others back.
            state.serve();
        }
    }

    #[inline]
    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        let place = self.request.place.get();
        self.semaphore.holders.set(place, self.site);
        let permits = self.request.permits;
        SemaphorePermit {
            semaphore: self.semaphore,
            held: Held { permits, place },
        }
    }
}

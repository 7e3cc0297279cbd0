//! Permits, for as many at a time as there are.
//!
//! First come, first served, whatever the size of a request: a large one at the head of the queue
//! holds back smaller ones behind it until it is served, so it cannot starve. `try_acquire` does
//! not overtake either. One that gives up in the middle of the queue looks, under the same lock,
//! whether those behind it can be served now.

use core::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    ptr,
    time::Duration,
};

use fiber_core::{
    operation::{
        Match, Operation, Published, WaitCell, WaitList, WaitNode, perform, perform_until,
        try_perform,
    },
    spin::SpinLock,
    timeout::Elapsed,
};

use crate::primitive::const_unless_loom;

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
}

#[derive(Debug)]
struct State {
    available: usize,
    /// The value of a node is the number of permits that it wants.
    waiting: WaitList,
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
                    waiting: WaitList::new(),
                }),
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
    pub fn acquire_many(&self, permits: usize) -> SemaphorePermit<'_> {
        perform(self.acquire_operation(permits))
    }

    /// Takes a permit if one is there and nobody waits; `None` otherwise. Never suspends.
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` permits if they are there and nobody waits; else `None`. Never suspends.
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
    pub fn acquire_many_timeout(
        &self,
        permits: usize,
        span: Duration,
    ) -> Result<SemaphorePermit<'_>, Elapsed> {
        perform_until(self.acquire_operation(permits), Some(span)).map_err(|_| Elapsed::new())
    }

    /// Taking `permits` permits at once, as an operation.
    pub const fn acquire_operation(&self, permits: usize) -> AcquireOperation<'_> {
        AcquireOperation {
            semaphore: self,
            permits,
            node: WaitNode::new(),
        }
    }

    /// Adds permits, new ones or some whose guard was forgotten, and serves those who wait. Never
    /// suspends.
    ///
    /// # Panics
    /// When there would be more than `usize::MAX`.
    pub fn add_permits(&self, permits: usize) {
        let mut state = self.state.lock();
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
}

impl State {
    /// Takes `permits` for one that has just come, and so comes after those who wait.
    fn take(&mut self, permits: usize) -> bool {
        let can = self.waiting.is_empty() && self.available >= permits;
        if can {
            self.available -= permits;
        }
        can
    }

    /// Serves those who wait, in order, up to the first whose request is too large.
    fn serve(&mut self) {
        let available = &mut self.available;
        while let Match::Partner(waiter) = self
            .waiting
            .find_while(None, |wants| wants.addr() <= *available)
        {
            *available -= waiter.value().addr();
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

/// Permits that were taken; given back when this is dropped.
#[derive(Debug)]
#[must_use = "the permits go back as soon as the guard is dropped"]
pub struct SemaphorePermit<'semaphore> {
    semaphore: &'semaphore Semaphore,
    permits: usize,
}

impl SemaphorePermit<'_> {
    /// How many permits these are.
    pub const fn permits(&self) -> usize {
        self.permits
    }

    /// Keeps the permits for good: the semaphore has so many fewer.
    pub const fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.add_permits(self.permits);
    }
}

/// Takes permits.
#[derive(Debug)]
pub struct AcquireOperation<'semaphore> {
    semaphore: &'semaphore Semaphore,
    permits: usize,
    node: WaitNode,
}

// SAFETY: it looks at the permits again under the lock under which it links (I-2), those who serve
// it unlink it, and `retract` unlinks it otherwise (I-12).
unsafe impl<'semaphore> Operation for AcquireOperation<'semaphore> {
    type Output = SemaphorePermit<'semaphore>;

    fn name(&self) -> &'static str {
        "a semaphore"
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        self.semaphore.state.lock().take(self.permits).then_some(0)
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let mut state = this.semaphore.state.lock();
        let Some(own) = cell.claim_own() else {
            return Published::Waiting;
        };
        if state.take(this.permits) {
            own.settle(base);
            return Published::Committed(0);
        }
        drop(own);
        let wants = ptr::without_provenance_mut(this.permits);
        // SAFETY: under the lock; node and cell stay until `retract`, by the caller's promise
        // (I-12).
        unsafe { state.waiting.push(node, cell, base, wants) };
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

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) -> Self::Output {
        SemaphorePermit {
            semaphore: self.semaphore,
            permits: self.permits,
        }
    }
}

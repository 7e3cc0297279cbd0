//! Waiting until something about a mutex's value has changed.
//!
//! A wait is two steps: give the mutex away and wait to be notified, as one operation; then lock
//! again. The node is linked before the mutex is given away, so no notification that follows from a
//! change under the mutex is missed.
//!
//! | what ends the first step | then |
//! |---|---|
//! | a notification | lock again, masked; a cancel waits for the next point, the signal is used |
//! | the time | lock again; a cancel unwinds from there, no signal was taken |
//! | a cancel | unwind at once, without the mutex |
//!
//! A cancelled waiter does not come back for the mutex: nobody could tell, since its guard went
//! into the call, and one that holds the mutex may cancel and join it without a deadlock. That the
//! mutex must be locked again is also why a wait is no arm of a choice.

use core::{
    cell::Cell,
    fmt,
    panic::{Location, RefUnwindSafe, UnwindSafe},
    pin::Pin,
    ptr,
    time::Duration,
};

use fiber_core::{
    operation::{
        Match, Operation, Published, WaitCell, WaitList, WaitNode, perform, perform_until,
    },
    park::mask,
    spin::SpinLock,
    time::now,
};

use crate::{
    mutex::{Mutex, MutexGuard},
    poison::LockResult,
    primitive::const_unless_loom,
};

/// A condition variable, shaped as std's: first come, first notified, and no spurious wake-ups.
pub struct Condvar {
    waiting: SpinLock<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    list: WaitList,
    /// The address of the mutex of those who wait; 0 while nobody does.
    mutex: usize,
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

impl Condvar {
    const_unless_loom! {
        /// A condition variable for which nobody waits.
        pub fn new() -> Self {
            Self {
                waiting: SpinLock::new(Waiting {
                    list: WaitList::new(),
                    mutex: 0,
                }),
            }
        }
    }

    /// Unlocks the guard's mutex, waits to be notified, and locks it again.
    ///
    /// # Suspends
    /// Until it is notified, and then until the mutex is free.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds here and takes no notification along: one that has reached it is
    /// returned from, and the cancel waits for the next point.
    ///
    /// # Errors
    /// When a holder of the mutex panicked; the error has the guard. When the mutex could never be
    /// locked again, since its holder waits for the caller.
    ///
    /// # Panics
    /// When others wait here with a different mutex.
    #[track_caller]
    pub fn wait<'mutex, T: ?Sized>(
        &self,
        guard: MutexGuard<'mutex, T>,
    ) -> LockResult<MutexGuard<'mutex, T>> {
        let mutex = guard.mutex();
        perform(WaitOperation::new(self, guard));
        lock_masked(mutex)
    }

    /// [`Condvar::wait`] while `condition` says so.
    ///
    /// # Suspends
    /// As [`Condvar::wait`], perhaps several times.
    ///
    /// # Cancellation
    /// As [`Condvar::wait`].
    ///
    /// # Errors
    /// When a holder of the mutex panicked; the error has the guard. When the mutex could never be
    /// locked again, since its holder waits for the caller.
    ///
    /// # Panics
    /// When others wait here with a different mutex.
    #[track_caller]
    pub fn wait_while<'mutex, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'mutex, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'mutex, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// [`Condvar::wait`] that stops waiting to be notified after `span`.
    ///
    /// # Suspends
    /// Until it is notified or `span` has passed, and then until the mutex is free.
    ///
    /// # Cancellation
    /// As [`Condvar::wait`].
    ///
    /// # Errors
    /// When a holder of the mutex panicked; the error has the guard and whether the time is over.
    /// When the mutex could never be locked again, since its holder waits for the caller.
    ///
    /// # Panics
    /// When others wait here with a different mutex.
    #[track_caller]
    pub fn wait_timeout<'mutex, T: ?Sized>(
        &self,
        guard: MutexGuard<'mutex, T>,
        span: Duration,
    ) -> LockResult<(MutexGuard<'mutex, T>, WaitTimeoutResult)> {
        let mutex = guard.mutex();
        let notified = perform_until(WaitOperation::new(self, guard), Some(span)).is_ok();
        let locked = if notified {
            lock_masked(mutex)
        } else {
            mutex.lock()
        };
        let result = WaitTimeoutResult(!notified);
        match locked {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(error.map(|guard| (guard, result))),
        }
    }

    /// [`Condvar::wait_timeout`] while `condition` says so, for `span` in all. The result says that
    /// the time is over only if the condition still holds then.
    ///
    /// # Suspends
    /// As [`Condvar::wait_timeout`], perhaps several times.
    ///
    /// # Cancellation
    /// As [`Condvar::wait`].
    ///
    /// # Errors
    /// When a holder of the mutex panicked; the error has the guard and whether the time is over.
    /// When the mutex could never be locked again, since its holder waits for the caller.
    ///
    /// # Panics
    /// When others wait here with a different mutex.
    #[track_caller]
    pub fn wait_timeout_while<'mutex, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'mutex, T>,
        span: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'mutex, T>, WaitTimeoutResult)> {
        if !condition(&mut guard) {
            return Ok((guard, WaitTimeoutResult(false)));
        }
        let deadline = now() + span;
        loop {
            let left = deadline.saturating_since(now());
            if left == Duration::ZERO {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_timeout(guard, left)?.0;
            if !condition(&mut guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
        }
    }

    /// Wakes the one that waits longest, if anybody waits. Never suspends; the mutex need not be
    /// held.
    pub fn notify_one(&self) {
        self.waiting.lock().notify();
    }

    /// Wakes everybody who waits, in the order in which they came. Never suspends.
    pub fn notify_all(&self) {
        let mut waiting = self.waiting.lock();
        while waiting.notify() {}
    }
}

impl Waiting {
    fn notify(&mut self) -> bool {
        let Match::Partner(waiter) = self.list.find(None) else {
            return false;
        };
        waiter.commit(0);
        self.forget_mutex_if_empty();
        true
    }

    fn forget_mutex_if_empty(&mut self) {
        if self.list.is_empty() {
            self.mutex = 0;
        }
    }
}

/// Locks for one that has taken a signal: a cancel waits, so that the signal is used.
#[track_caller]
fn lock_masked<T: ?Sized>(mutex: &Mutex<T>) -> LockResult<MutexGuard<'_, T>> {
    let site = Location::caller();
    mask(|| mutex.lock_from(site))
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

/// Whether a wait has ended because its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over before a notification came.
    #[must_use]
    pub const fn timed_out(&self) -> bool {
        self.0
    }
}

/// Gives a mutex away and waits to be notified.
struct WaitOperation<'a, 'mutex, T: ?Sized> {
    condvar: &'a Condvar,
    guard: Cell<Option<MutexGuard<'mutex, T>>>,
    mutex: usize,
    node: WaitNode,
}

impl<'a, 'mutex, T: ?Sized> WaitOperation<'a, 'mutex, T> {
    fn new(condvar: &'a Condvar, guard: MutexGuard<'mutex, T>) -> Self {
        let mutex: *const Mutex<T> = guard.mutex();
        Self {
            condvar,
            mutex: mutex.addr(),
            guard: Cell::new(Some(guard)),
            node: WaitNode::new(),
        }
    }
}

// SAFETY: the node is linked while the mutex is held, under the list's lock, and notifiers take
// that lock (I-2); they unlink whom they notify, and `retract` unlinks the others (I-12).
unsafe impl<T: ?Sized> Operation for WaitOperation<'_, '_, T> {
    type Output = ();

    fn name(&self) -> &'static str {
        "a condition variable"
    }

    fn try_now(&mut self) -> Option<u16> {
        None
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        let this = self.into_ref().get_ref();
        // SAFETY: the node is pinned with the operation that it is a part of (I-12).
        let node = unsafe { Pin::new_unchecked(&this.node) };
        let mut waiting = this.condvar.waiting.lock();
        if waiting.mutex != 0 && waiting.mutex != this.mutex {
            drop(waiting);
            panic!("others wait on this condition variable with a different mutex");
        }
        waiting.mutex = this.mutex;
        // SAFETY: under the lock; node and cell stay until `retract`, by the caller's promise
        // (I-12).
        unsafe { waiting.list.push(node, cell, base, ptr::null_mut()) };
        drop(waiting);
        drop(this.guard.take());
        Published::Waiting
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        if winner.is_none() {
            let mut waiting = self.condvar.waiting.lock();
            waiting.list.remove(&self.node);
            waiting.forget_mutex_if_empty();
        }
    }

    unsafe fn finish(self: Pin<&mut Self>, _arm: u16) {}
}

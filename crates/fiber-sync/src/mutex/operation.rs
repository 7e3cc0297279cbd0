//! Locking, as something that one can block on.

use core::{fmt, panic::Location, pin::Pin};

use fiber_core::operation::{Deadlock, Operation, Published, WaitCell, Waits};

use super::{Mutex, MutexGuard};
use crate::{
    poison::LockResult,
    raw_lock::{Acquire, Patience},
};

/// Locks a mutex.
pub struct LockOperation<'mutex, T: ?Sized> {
    mutex: &'mutex Mutex<T>,
    acquire: Acquire<'mutex>,
}

impl<'mutex, T: ?Sized> LockOperation<'mutex, T> {
    pub(crate) const fn new(
        mutex: &'mutex Mutex<T>,
        site: &'static Location<'static>,
        patience: Patience,
    ) -> Self {
        Self {
            mutex,
            acquire: Acquire::new(&mutex.raw, &mutex.raw, site, patience),
        }
    }

    fn acquire(self: Pin<&mut Self>) -> Pin<&mut Acquire<'mutex>> {
        // SAFETY: pinned with the operation that it is a part of, and never moved out (I-12).
        unsafe { self.map_unchecked_mut(|this| &mut this.acquire) }
    }
}

// SAFETY: it does nothing but what `Acquire` does, which keeps the promises (I-2, I-12).
unsafe impl<'mutex, T: ?Sized> Operation for LockOperation<'mutex, T> {
    type Output = LockResult<MutexGuard<'mutex, T>>;

    fn name(&self) -> &'static str {
        self.acquire.name()
    }

    fn waits(&self) -> Option<Waits<'_>> {
        self.acquire.waits()
    }

    fn is_simple(&self) -> bool {
        self.acquire.is_simple()
    }

    #[inline]
    fn try_now(&mut self) -> Option<u16> {
        self.acquire.try_now()
    }

    unsafe fn publish(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        // SAFETY: the caller's promise is the same (I-12).
        unsafe { self.acquire().publish(cell, base) }
    }

    fn look_again(self: Pin<&mut Self>, cell: &WaitCell, base: u16) -> Published {
        self.acquire().look_again(cell, base)
    }

    fn retract(self: Pin<&mut Self>, winner: Option<u16>) {
        self.acquire().retract(winner);
    }

    #[inline]
    unsafe fn finish(self: Pin<&mut Self>, arm: u16) -> Self::Output {
        let mutex = self.mutex;
        // SAFETY: the caller's promise is the same (I-12).
        match unsafe { self.acquire().finish(arm) } {
            Ok(()) => Ok(mutex.locked()?),
            Err(error) => Err(error.map(|()| unreachable!("the raw lock is never poisoned"))),
        }
    }

    fn refuse(self: Pin<&mut Self>, deadlock: Deadlock) -> Self::Output {
        Err(deadlock.into())
    }
}

impl<T: ?Sized> fmt::Debug for LockOperation<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOperation").finish_non_exhaustive()
    }
}

//! The right to the value of a mutex.

use core::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use super::Mutex;
use crate::poison::{HeldSince, Poison};

/// The value of a [`Mutex`], until this is dropped. It stays on the thread that has locked, as
/// std's does; fibers do not leave their thread, so they may hold it while they are parked (I-11).
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<fiber_sync::MutexGuard<'static, u8>>();
/// ```
#[must_use = "the mutex is unlocked as soon as the guard is dropped"]
pub struct MutexGuard<'mutex, T: ?Sized> {
    mutex: &'mutex Mutex<T>,
    since: HeldSince,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives a shared value, and nothing of the thread that has locked (I-11).
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'mutex, T: ?Sized> MutexGuard<'mutex, T> {
    /// The guard of a caller that has just got the lock.
    #[inline]
    pub(super) fn new(mutex: &'mutex Mutex<T>) -> Self {
        Self {
            mutex,
            since: Poison::hold(),
            _not_send: PhantomData,
        }
    }

    /// The mutex that it has locked.
    pub(crate) const fn mutex(&self) -> &'mutex Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its holder has the lock (I-12).
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while its holder has the lock, and `&mut self` makes this
        // the only reference through it (I-12).
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.release(self.since);
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

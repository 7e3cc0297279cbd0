//! The right to the value of a mutex.

use alloc::sync::Arc;
use core::{marker::PhantomData, mem};

use super::Mutex;
use crate::{
    guard::changes_value,
    poison::{HeldSince, Poison},
};

/// The value of a [`Mutex`], until this is dropped. It stays on the thread that has locked, as
/// std's does; fibers do not leave their thread, so they may hold it while they are parked (I-11).
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<fiber_sync::MutexGuard<'static, u8>>();
/// ```
#[must_use = "the mutex is unlocked as soon as the guard is dropped"]
pub struct MutexGuard<'mutex, T: ?Sized> {
    lock: &'mutex Mutex<T>,
    since: HeldSince,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives a shared value, and nothing of the thread that has locked (I-11).
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

changes_value!(MutexGuard<'_, T>);

impl<'mutex, T: ?Sized> MutexGuard<'mutex, T> {
    /// The guard of a caller that has just got the lock.
    #[inline]
    pub(super) fn new(lock: &'mutex Mutex<T>) -> Self {
        Self {
            lock,
            since: Poison::hold(),
            _not_send: PhantomData,
        }
    }

    /// The mutex that it has locked.
    pub(crate) const fn mutex(&self) -> &'mutex Mutex<T> {
        self.lock
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.unlock(self.since);
    }
}

/// A [`MutexGuard`] that keeps its mutex alive. It stays on its thread, too.
///
/// ```
/// use std::sync::Arc;
/// use fiber_sync::Mutex;
///
/// let mutex = Arc::new(Mutex::new(1));
/// let mut guard = mutex.lock_owned().unwrap();
/// let weak = Arc::downgrade(&mutex);
/// drop(mutex);
/// *guard += 1;
/// assert_eq!(*guard, 2);
/// drop(guard);
/// assert!(weak.upgrade().is_none());
/// ```
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<fiber_sync::OwnedMutexGuard<u8>>();
/// ```
#[must_use = "the mutex is unlocked as soon as the guard is dropped"]
pub struct OwnedMutexGuard<T: ?Sized> {
    lock: Arc<Mutex<T>>,
    since: HeldSince,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives a shared value; the mutex is dropped by the owner of the guard, on
// the thread that has locked (I-11).
unsafe impl<T: ?Sized + Send + Sync> Sync for OwnedMutexGuard<T> {}

changes_value!(OwnedMutexGuard<T>);

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// The same right as that of `guard`, whose mutex it is.
    pub(super) fn new(lock: Arc<Mutex<T>>, guard: MutexGuard<'_, T>) -> Self {
        let since = guard.since;
        mem::forget(guard);
        Self {
            lock,
            since,
            _not_send: PhantomData,
        }
    }
}

impl<T: ?Sized> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        self.lock.unlock(self.since);
    }
}

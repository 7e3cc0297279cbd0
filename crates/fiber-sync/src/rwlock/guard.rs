//! The right to read the value of a lock, or to change it.

use alloc::sync::Arc;
use core::{
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    ptr,
};

use super::RwLock;
use crate::{
    guard::{changes_value, shows_value},
    holders::Place,
    poison::{HeldSince, Poison},
};

/// The value of an [`RwLock`], with other readers, until this is dropped. It stays on its thread,
/// as std's does.
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<fiber_sync::RwLockReadGuard<'static, u8>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockReadGuard<'lock, T: ?Sized> {
    lock: &'lock RwLock<T>,
    place: Place,
    _not_send: PhantomData<*const ()>,
}

/// The value of an [`RwLock`], alone, until this is dropped. It stays on its thread, as std's does.
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<fiber_sync::RwLockWriteGuard<'static, u8>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'lock, T: ?Sized> {
    lock: &'lock RwLock<T>,
    place: Place,
    since: HeldSince,
    _not_send: PhantomData<*const ()>,
}

/// A [`RwLockReadGuard`] that keeps its lock alive. It stays on its thread, too.
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<fiber_sync::OwnedRwLockReadGuard<u8>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct OwnedRwLockReadGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
    place: Place,
    _not_send: PhantomData<*const ()>,
}

/// A [`RwLockWriteGuard`] that keeps its lock alive. It stays on its thread, too.
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<fiber_sync::OwnedRwLockWriteGuard<u8>>();
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct OwnedRwLockWriteGuard<T: ?Sized> {
    lock: Arc<RwLock<T>>,
    place: Place,
    since: HeldSince,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives a shared value, and nothing of the thread that has locked (I-11).
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above (I-11).
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}
// SAFETY: as above; the lock is dropped by the owner of the guard, on its thread (I-11).
unsafe impl<T: ?Sized + Send + Sync> Sync for OwnedRwLockReadGuard<T> {}
// SAFETY: as above (I-11).
unsafe impl<T: ?Sized + Send + Sync> Sync for OwnedRwLockWriteGuard<T> {}

shows_value!(RwLockReadGuard<'_, T>);
changes_value!(RwLockWriteGuard<'_, T>);
shows_value!(OwnedRwLockReadGuard<T>);
changes_value!(OwnedRwLockWriteGuard<T>);

impl<'lock, T: ?Sized> RwLockReadGuard<'lock, T> {
    /// The guard of a caller that has just got the lock, and `place` with it.
    #[inline]
    pub(super) const fn new(lock: &'lock RwLock<T>, place: Place) -> Self {
        Self {
            lock,
            place,
            _not_send: PhantomData,
        }
    }
}

impl<'lock, T: ?Sized> RwLockWriteGuard<'lock, T> {
    /// The guard of a caller that has just got the lock, and `place` with it.
    #[inline]
    pub(super) fn new(lock: &'lock RwLock<T>, place: Place) -> Self {
        Self {
            lock,
            place,
            since: Poison::hold(),
            _not_send: PhantomData,
        }
    }

    /// Reads on, with those who wait to read; no writer comes in between. Never suspends.
    pub fn downgrade(self) -> RwLockReadGuard<'lock, T> {
        let guard = ManuallyDrop::new(self);
        guard.lock.raw.downgrade();
        RwLockReadGuard::new(guard.lock, guard.place)
    }
}

impl<T: ?Sized> OwnedRwLockReadGuard<T> {
    /// The same right as that of `guard`, whose lock it is.
    pub(super) fn new(lock: Arc<RwLock<T>>, guard: RwLockReadGuard<'_, T>) -> Self {
        let place = guard.place;
        mem::forget(guard);
        Self {
            lock,
            place,
            _not_send: PhantomData,
        }
    }
}

impl<T: ?Sized> OwnedRwLockWriteGuard<T> {
    /// The same right as that of `guard`, whose lock it is.
    pub(super) fn new(lock: Arc<RwLock<T>>, guard: RwLockWriteGuard<'_, T>) -> Self {
        let (place, since) = (guard.place, guard.since);
        mem::forget(guard);
        Self {
            lock,
            place,
            since,
            _not_send: PhantomData,
        }
    }

    /// Reads on, with those who wait to read; no writer comes in between. Never suspends.
    pub fn downgrade(self) -> OwnedRwLockReadGuard<T> {
        let guard = ManuallyDrop::new(self);
        guard.lock.raw.downgrade();
        OwnedRwLockReadGuard {
            // SAFETY: the guard is not dropped, so the reference that it owned moves (I-12).
            lock: unsafe { ptr::read(&raw const guard.lock) },
            place: guard.place,
            _not_send: PhantomData,
        }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock(self.place);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let holder = || self.lock.raw.holder(self.place);
        self.lock.poison.release(self.since, holder);
        self.lock.raw.unlock(self.place);
    }
}

impl<T: ?Sized> Drop for OwnedRwLockReadGuard<T> {
    fn drop(&mut self) {
        self.lock.raw.unlock(self.place);
    }
}

impl<T: ?Sized> Drop for OwnedRwLockWriteGuard<T> {
    fn drop(&mut self) {
        let holder = || self.lock.raw.holder(self.place);
        self.lock.poison.release(self.since, holder);
        self.lock.raw.unlock(self.place);
    }
}

//! A lock for a few instructions: wait lists, rare queues.
//!
//! Never held across a switch, and nothing under it blocks or calls out. A plain test-and-set
//! lock: with one holder for nanoseconds nothing better pays, and a waiter that spins for long
//! gives its time slice away through the host.

use core::{
    cell::{Cell, UnsafeCell},
    hint,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use crate::{env::hooks, primitive::Flag};

const SPINS_BEFORE_RELAX: u32 = 64;

/// A value under a spin lock.
#[derive(Debug)]
pub struct SpinLock<T> {
    locked: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value to one thread at a time, so sharing it needs only that the
// value may move between threads; this is where the lists of I-12 get their mutual exclusion.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// SAFETY: moving the lock moves the value, which may be moved; it borrows nothing (I-12).
unsafe impl<T: Send> Send for SpinLock<T> {}

impl<T: Default> Default for SpinLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> SpinLock<T> {
    /// A free lock around `value`.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self {
            locked: Flag::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// A free lock around `value`.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self {
            locked: Flag::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// A free lock in a static, which loom does not model.
    pub(crate) const fn new_static(value: T) -> Self {
        Self {
            locked: Flag::new_static(),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock, spinning.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        if !self.locked.try_set() {
            self.lock_contended();
        }
        SpinGuard {
            lock: self,
            _not_sync: PhantomData,
        }
    }

    #[cold]
    fn lock_contended(&self) {
        let mut spins = 0;
        loop {
            while self.locked.is_set() {
                relax(&mut spins);
            }
            if self.locked.try_set() {
                return;
            }
        }
    }

    /// The value, without locking: the borrow proves that nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// One step of waiting for another thread to leave a few-instruction window.
pub(crate) fn relax(spins: &mut u32) {
    *spins += 1;
    if spins.is_multiple_of(SPINS_BEFORE_RELAX) {
        #[cfg(loom)]
        loom::thread::yield_now();
        if let Some(hooks) = hooks() {
            (hooks.relax)();
            return;
        }
    }
    #[cfg(loom)]
    loom::thread::yield_now();
    hint::spin_loop();
}

/// The value, until this is dropped.
///
/// Shared between threads only if the value may be:
///
/// ```compile_fail
/// use fiber_core::spin::SpinLock;
/// fn shared<T: Sync>(_: &T) {}
/// let lock = SpinLock::new(core::cell::Cell::new(1));
/// shared(&lock.lock());
/// ```
#[derive(Debug)]
pub struct SpinGuard<'lock, T> {
    lock: &'lock SpinLock<T>,
    /// Gives the value away by reference, which the lock's own `Sync` does not stand for.
    _not_sync: PhantomData<Cell<()>>,
}

// SAFETY: through a shared guard only `&T` is reached (I-12).
unsafe impl<T: Sync> Sync for SpinGuard<'_, T> {}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while this thread holds the lock (I-12).
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while this thread holds the lock, and `&mut self` makes
        // this the only reference through it (I-12).
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.locked.clear();
    }
}

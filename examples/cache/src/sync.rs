//! The one lock of this crate, behind one name.
//!
//! A shard's lock is held for work on a map and for nothing else, so it is never held for long. It
//! is the fibers' own mutex because a simulator then decides who gets it first.

pub(crate) use fiber::sync::Mutex;
use fiber::sync::{LockError, MutexGuard};

/// Locks `mutex`, also after a holder panicked.
///
/// What the lock guards is made of single assignments to a map and to counters, and each of
/// them leaves the map whole; losing a shard because one connection died would be worse.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(LockError::into_inner)
}

//! The one lock of this crate, behind one name.
//!
//! A shard's lock is held for work on a map and for nothing else: whoever holds it never
//! blocks, so any mutex will do. Swapping the host's mutex for the fibers' happens here.

pub(crate) use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};

/// Locks `mutex`, also after a holder panicked.
///
/// What the lock guards is made of single assignments to a map and to counters, and each of
/// them leaves the map whole; losing a shard because one connection died would be worse.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

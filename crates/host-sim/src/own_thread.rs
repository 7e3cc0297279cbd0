//! A value that one OS thread owns, inside handles that the type system lets go anywhere.
//!
//! A simulated world is single-threaded, but the handles that lead to it must be `Send + Sync`,
//! because on other hosts they really are shared. So every access checks which thread asks: a
//! second OS thread would be nondeterminism that did not come through the env (I-6), and it is
//! told so instead of being let in.

use core::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU64, Ordering},
};

/// A value that only its maker's thread can reach.
pub(crate) struct OwnThread<T> {
    owner: u64,
    value: RefCell<T>,
}

// SAFETY: `with` is the only way to the value through a shared reference, and it refuses every
// thread but one; the value itself may be dropped anywhere, being `Send` (I-6).
unsafe impl<T: Send> Sync for OwnThread<T> {}

impl<T> OwnThread<T> {
    /// A value that the calling thread owns.
    pub(crate) fn new(value: T) -> Self {
        Self {
            owner: thread_number(),
            value: RefCell::new(value),
        }
    }

    /// Lends the value. `visit` must neither suspend its virtual thread nor come back here.
    ///
    /// # Panics
    /// On another OS thread than the owner's.
    #[inline]
    pub(crate) fn with<R>(&self, visit: impl FnOnce(&mut T) -> R) -> R {
        assert!(
            thread_number() == self.owner,
            "a simulated world was used from another OS thread than its own: what runs in a \
             simulation must not start threads, nor hand its handles to any"
        );
        visit(&mut self.value.borrow_mut())
    }
}

std::thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// A number of the calling thread that no other thread of the process ever has.
#[inline]
fn thread_number() -> u64 {
    let number = NUMBER.get();
    if number == 0 { first_number() } else { number }
}

#[cold]
fn first_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    NUMBER.set(number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_is_refused() {
        let cell = OwnThread::new(7);
        assert_eq!(cell.with(|value| *value), 7);
        let refused = std::thread::scope(|scope| {
            let other = scope.spawn(|| cell.with(|value| *value));
            other.join().is_err()
        });
        assert!(refused);
    }
}

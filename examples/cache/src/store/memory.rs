//! The memory limit, shared by all shards.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::Usage;

/// How many bytes are in use, and how many may be.
///
/// The count guards no other data, so relaxed operations are enough: each of them is one
/// step, and what is never exceeded is the number itself.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicUsize,
    max: usize,
}

impl Memory {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// Changes a claim from `old` to `new` bytes. Shrinking always succeeds.
    #[must_use]
    pub(crate) fn resize(&self, old: usize, new: usize) -> bool {
        let Some(more) = new.checked_sub(old) else {
            self.used.fetch_sub(old - new, Ordering::Relaxed);
            return true;
        };
        if more == 0 {
            return true;
        }
        let grow = |used: usize| used.checked_add(more).filter(|&used| used <= self.max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow)
            .is_ok()
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn usage(&self) -> Usage {
        let wide = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        Usage {
            items: 0,
            bytes: wide(self.used.load(Ordering::Relaxed)),
            bytes_max: wide(self.max),
        }
    }
}

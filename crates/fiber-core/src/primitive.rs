//! Atomics: `core`'s, or loom's when the models run. Nothing else in the crate chooses.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// What sequentially consistent accesses promise by themselves: one order of all of them. Loom
/// knows them as acquire and release only, so its models say it with a fence.
#[inline]
pub(crate) fn loom_fence() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// The flag of a spin lock.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

#[cfg(not(loom))]
impl Flag {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) const fn new_static() -> Self {
        Self::new()
    }

    #[inline]
    pub(crate) fn try_set(&self) -> bool {
        self.0
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The flag of a spin lock; `None` in a static, where loom's atomics cannot be. Models do not reach
/// those, and loom runs one thread at a time and switches only at its own atomics.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Flag(Option<AtomicBool>);

#[cfg(loom)]
impl Flag {
    pub(crate) fn new() -> Self {
        Self(Some(AtomicBool::new(false)))
    }

    pub(crate) const fn new_static() -> Self {
        Self(None)
    }

    pub(crate) fn try_set(&self) -> bool {
        let Some(flag) = &self.0 else { return true };
        flag.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    pub(crate) fn is_set(&self) -> bool {
        let Some(flag) = &self.0 else { return false };
        flag.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        if let Some(flag) = &self.0 {
            flag.store(false, Ordering::Release);
        }
    }
}

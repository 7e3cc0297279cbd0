//! Atomics: `core`'s, or loom's when the models run. Nothing else in the crate chooses.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
};

/// What sequentially consistent accesses promise by themselves: one order of all of them. Loom
/// knows them as acquire and release only, so its models say it with a fence.
#[inline]
pub(crate) fn loom_fence() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

//! Atomics: `core`'s, or loom's when the models run. Nothing else in the crate chooses.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// A constructor that is `const` but under loom, whose atomics cannot be.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $of:ty),*) -> Self $body:block) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        $vis const fn $name($($arg: $of),*) -> Self $body

        $(#[$meta])*
        #[cfg(loom)]
        $vis fn $name($($arg: $of),*) -> Self $body
    };
}

pub(crate) use const_unless_loom;

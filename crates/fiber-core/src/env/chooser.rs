//! Where a simulator takes the scheduler's decisions.

/// Decides what production leaves to chance and hardware: who runs next, whether a fiber is
/// preempted here, which worker steals from whom.
///
/// All nondeterminism of the runtime's own goes through this call (I-6). It runs on the worker
/// that asks, never under a lock of the runtime, and it must not park.
pub trait Chooser: Send + Sync {
    /// Picks a number below `n`; `n` is at least 1. 0 is always the production order.
    ///
    /// The answer should depend only on the seed, on `site`, and on how often that site has been
    /// asked, so that an edit elsewhere in the program does not shift it.
    fn choose(&self, site: Site, n: u32) -> u32;
}

/// A place in the program where something is decided, named so that logs can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(&'static str);

impl Site {
    /// Names a site; two sites with one name are one site.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// A stable 64-bit hash of the name (FNV-1a), the same in every build and process.
    pub const fn hash(self) -> u64 {
        let bytes = self.0.as_bytes();
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut index = 0;
        while index < bytes.len() {
            hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            index += 1;
        }
        hash
    }
}

//! Memory for fibers' stacks.

use alloc::vec::Vec;
use core::{mem, ptr::NonNull};

use crate::process::LimitReached;

/// How large a stack is: virtual size, of which a fiber pays for the pages that it touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StackClass {
    /// 16 KiB: for leaf code that has been measured.
    K16,
    /// 64 KiB: enough for most servers in release builds.
    K64,
    /// 256 KiB: the default, good for debug builds and unknown code.
    #[default]
    K256,
    /// 1 MiB.
    M1,
    /// 8 MiB: what a thread's main stack has.
    M8,
}

impl StackClass {
    /// Every class, smallest first.
    pub const ALL: [Self; 5] = [Self::K16, Self::K64, Self::K256, Self::M1, Self::M8];

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::K16 => 16 << 10,
            Self::K64 => 64 << 10,
            Self::K256 => 256 << 10,
            Self::M1 => 1 << 20,
            Self::M8 => 8 << 20,
        }
    }

    /// The position in [`StackClass::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One stack's memory: `limit..base`, growing down from `base`.
///
/// ```text
/// base   ─▶ ┌──────────────────────────┐  64-byte aligned, one past the highest byte
///           │ header: 32 words, core's │  which fiber runs here, for the overflow report
///           ├──────────────────────────┤
///           │ frames, growing down     │
/// limit  ─▶ ├──────────────────────────┤  lowest byte that may be touched
///           │ guard, the host's        │  touching it is reported, then the program aborts
///           └──────────────────────────┘
/// ```
///
/// Not `Copy`: whoever holds one owns the memory.
#[derive(Debug, PartialEq, Eq)]
pub struct StackMemory {
    base: NonNull<u8>,
    limit: NonNull<u8>,
    class: StackClass,
}

// SAFETY: it names memory that has no owner but this value, and memory has no thread (I-3).
unsafe impl Send for StackMemory {}

impl StackMemory {
    /// For debuggers.
    pub(crate) const LIMIT: usize = mem::offset_of!(Self, limit);

    /// Describes a stack.
    ///
    /// # Safety
    /// `limit..base` is readable and writable, used by nobody else, and stays so until the value
    /// is given back to [`Stacks::unmap_stack`]. Both ends are 64-byte aligned.
    pub const unsafe fn new(base: NonNull<u8>, limit: NonNull<u8>, class: StackClass) -> Self {
        Self { base, limit, class }
    }

    /// One past the highest byte.
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The lowest byte that may be touched.
    pub const fn limit(&self) -> NonNull<u8> {
        self.limit
    }

    /// The size class.
    pub const fn class(&self) -> StackClass {
        self.class
    }
}

/// A supplier of guarded stacks.
///
/// # Safety
/// Implementors promise what [`StackMemory::new`] asks for, and that an overflow past `limit`
/// never writes to memory of others: it hits a guard that is reported and aborts the process.
pub unsafe trait Stacks {
    /// Takes a stack. Its content is arbitrary; pages that were never touched cost nothing.
    ///
    /// *Thread*: any. *Cost*: amortised well under a microsecond; workers keep a cache on top.
    ///
    /// # Errors
    /// When the host has reached its limit; the error names the limit.
    fn map_stack(&self, class: StackClass) -> Result<StackMemory, StackError>;

    /// Gives a stack back. The host may keep it for the next [`Stacks::map_stack`].
    ///
    /// # Safety
    /// No frame on it is live, and no request points into it (I-3).
    unsafe fn unmap_stack(&self, memory: StackMemory);

    /// Gives many stacks back and leaves the vector empty. Workers return their surplus so: a host
    /// that can handle many at the price of one does.
    ///
    /// # Safety
    /// As for [`Stacks::unmap_stack`], for each of them.
    unsafe fn unmap_stacks(&self, stacks: &mut Vec<StackMemory>) {
        for memory in stacks.drain(..) {
            // SAFETY: the caller's promise (I-3).
            unsafe { self.unmap_stack(memory) };
        }
    }

    /// A stack of this class, which was taken, is never given back: frames on it stay for ever
    /// (I-3). Hosts that count do so.
    fn leak_stack(&self, class: StackClass) {
        let _ = class;
    }

    /// Makes a stack read as zeros, so that [`Stacks::stack_depth`] can tell later how much of it
    /// was used. False where the host cannot measure, as by default.
    ///
    /// *Cost*: a system call, and the page faults of using it again; for samples only.
    ///
    /// # Safety
    /// No frame on it is live, and nothing in it is needed (I-3).
    unsafe fn clear_stack(&self, memory: &StackMemory) -> bool {
        let _ = memory;
        false
    }

    /// How many bytes below `base` were used since the stack was cleared, at the deepest. What was
    /// touched and left zero at the very end of a stack's use may go unseen, and hosts may round
    /// up to a page.
    ///
    /// # Safety
    /// The stack was cleared by [`Stacks::clear_stack`] of this host, and no frame on it is live
    /// (I-3).
    unsafe fn stack_depth(&self, memory: &StackMemory) -> Option<usize> {
        let _ = memory;
        None
    }

    /// What the host has in stacks at this moment; zeros where it does not count.
    fn stack_stats(&self) -> StackStats {
        StackStats::default()
    }
}

/// A host's stacks in numbers, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackStats {
    /// In the order of [`StackClass::ALL`].
    pub classes: [ClassStats; StackClass::ALL.len()],
}

impl StackStats {
    /// The numbers of one class.
    pub const fn of(&self, class: StackClass) -> &ClassStats {
        &self.classes[class.index()]
    }

    /// How many stacks of all classes are with workers.
    pub fn in_use(&self) -> usize {
        self.classes.iter().map(|class| class.in_use).sum()
    }

    /// How many stacks of all classes are under abandoned fibers, for good.
    pub fn leaked(&self) -> usize {
        self.classes.iter().map(|class| class.leaked).sum()
    }
}

/// The stacks of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// With workers: under fibers, and in the workers' own caches.
    pub in_use: usize,
    /// Under fibers that were abandoned, for good.
    pub leaked: usize,
    /// Free, and some of their memory is kept for whoever comes next.
    pub warm: usize,
    /// Free, and all of their memory was given back to the system.
    pub cold: usize,
    /// Address space that is reserved for the class.
    pub mapped_bytes: usize,
    /// How many stacks' memory was given back to the system so far.
    pub trims: u64,
}

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The host's own limit of stacks is reached.
    #[error("no stack: {limit} are in use, the limit of this host; {remedy}")]
    Exhausted {
        /// The limit, in stacks.
        limit: usize,
        /// What the reader can do about it.
        remedy: &'static str,
    },
    /// The operating system refused more memory.
    #[error("no stack: the host is out of memory or address space (error {code})")]
    OutOfMemory {
        /// The host's error number.
        code: i32,
    },
    /// The fiber's process is at its own limit.
    #[error("no stack: {0}; raise its `Limits::stack_bytes`, or use a smaller class")]
    Process(LimitReached),
}

//! A fiber's stack while the fiber runs on it: the memory, and the header at its top.
//!
//! ```text
//! base        ─▶ ┌────────────────────────┐
//!                │ header, 64 bytes       │  magic word, the fiber's block, its layout
//! base − 64   ─▶ ├────────────────────────┤
//!                │ 192 bytes              │  what only a started fiber has
//! base − 256  ─▶ ├────────────────────────┤
//!                │ 0 to 192 bytes unused  │  the stack's colour
//!                ├────────────────────────┤  corosensei's frames start here
//!                │ …                      │
//! limit       ─▶ └────────────────────────┘
//! ```
//!
//! The header lets a host's fault handler say whose stack overflowed, knowing nothing but the
//! stack's address, and a debugger (`tools/gdb/fiber.py`) list the fibers.
//!
//! Stacks lie at multiples of large powers of two. If all frames began at the same distance from
//! there, what switches touch of a thousand stacks would compete for the same few places of the
//! processor's caches. So they begin a little lower on each stack than on its neighbour, in turns.

use core::{
    mem::offset_of,
    num::NonZeroUsize,
    panic::Location,
    ptr::{self, NonNull},
};

use corosensei::stack::valgrind::ValgrindStackRegistration;

pub use self::report::OverflowReport;
use crate::{
    env::StackMemory,
    fiber::{Header, Layout, Started},
    id::Id,
};

mod report;

const HEADER_BYTES: usize = 64;
const STARTED_BYTES: usize = 192;
/// A line of the cache, and how many of them the beginnings are spread over. Together they are a
/// part of a page that a fiber hardly misses.
const LINE_BYTES: usize = 64;
const COLOURS: usize = 4;
const MAGIC: u64 = 0x6669_6265_7221_0a0d;
const NAME_BYTES: usize = 48;

static LAYOUT: Layout = Layout::THIS;

/// The three words at the top of a stack.
#[repr(C)]
struct Top {
    magic: u64,
    fiber: *const Header,
    /// For debuggers.
    layout: *const Layout,
}

const _: () = assert!(
    size_of::<Top>() <= HEADER_BYTES,
    "the header fits its place"
);

const _: () = assert!(
    size_of::<Started>() <= STARTED_BYTES && align_of::<Started>() <= LINE_BYTES,
    "what a started fiber has fits its place"
);

/// A stack with its header written.
pub(crate) struct OwnedStack {
    memory: StackMemory,
    measured: bool,
    /// Tells valgrind, under which alone it does anything, that this is a stack.
    _registration: ValgrindStackRegistration,
}

impl OwnedStack {
    /// Prepares `memory` for `fiber`.
    pub(crate) fn new(memory: StackMemory, fiber: NonNull<Header>) -> Self {
        let top = Top {
            magic: MAGIC,
            fiber: fiber.as_ptr(),
            layout: &raw const LAYOUT,
        };
        // SAFETY: the memory is ours and 64-byte aligned (contract of `StackMemory::new`), and no
        // frame is live on it yet (I-3).
        unsafe { top_of(memory.base()).write(top) };
        let bytes = memory.base().addr().get() - memory.limit().addr().get();
        let registration = ValgrindStackRegistration::new(memory.limit().as_ptr(), bytes);
        Self {
            memory,
            measured: false,
            _registration: registration,
        }
    }

    /// Where what only a started fiber has goes: nothing else lies there as long as the stack is
    /// this fiber's.
    pub(crate) fn started_part(&self) -> NonNull<Started> {
        let place = top_of(self.memory.base()).wrapping_byte_sub(STARTED_BYTES);
        NonNull::new(place.cast()).expect("a stack does not lie at address 0")
    }

    /// Where in here the lowest address is, for debuggers.
    pub(crate) const LIMIT: usize = offset_of!(Self, memory) + StackMemory::LIMIT;

    /// The lowest address.
    pub(crate) fn limit(&self) -> usize {
        self.memory.limit().addr().get()
    }

    /// Says whether the memory was cleared, so that the host can tell how much of it is used.
    pub(crate) fn set_measured(&mut self, measured: bool) {
        self.measured = measured;
    }

    pub(crate) fn is_measured(&self) -> bool {
        self.measured
    }

    /// The same stack as corosensei takes it.
    ///
    /// # Safety
    /// This is there as long as what it gives, on which nobody else puts frames (I-3).
    pub(crate) unsafe fn frames(&self) -> Frames {
        Frames {
            base: begin(&self.memory),
            limit: self.memory.limit().addr(),
        }
    }

    /// The memory, with a header that names nobody.
    pub(crate) fn into_memory(self) -> StackMemory {
        let top = Top {
            magic: 0,
            fiber: ptr::null(),
            layout: &raw const LAYOUT,
        };
        // SAFETY: as in `new`: ours, aligned, and the last frame on it has returned (I-3).
        unsafe { top_of(self.memory.base()).write(top) };
        self.memory
    }
}

/// Where the frames of an [`OwnedStack`] are.
pub(crate) struct Frames {
    base: NonZeroUsize,
    limit: NonZeroUsize,
}

// SAFETY: base and limit bound memory that nobody else uses, with a guard below, as the host's
// `Stacks` promises; both are 64-byte aligned and at least 15 KiB apart. The `OwnedStack` that
// they are of is kept as long as this (I-3).
unsafe impl corosensei::stack::Stack for Frames {
    #[inline]
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    #[inline]
    fn limit(&self) -> NonZeroUsize {
        self.limit
    }
}

/// Where frames begin: below the header and what a started fiber has, and as far as the stack's
/// colour says.
pub(crate) fn begin(memory: &StackMemory) -> NonZeroUsize {
    let base = memory.base().addr().get();
    let colour = base / memory.class().bytes() % COLOURS;
    NonZeroUsize::new(base - HEADER_BYTES - STARTED_BYTES - colour * LINE_BYTES)
        .expect("a stack does not lie at address 0")
}

fn top_of(base: NonNull<u8>) -> *mut Top {
    base.as_ptr().wrapping_sub(HEADER_BYTES).cast()
}

/// Whose stack it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Owner {
    /// The fiber's id, if it has one.
    pub fiber: Option<Id>,
    /// Its process; `None` if that is the runtime's first one.
    pub process: Option<Id>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    name: [u8; NAME_BYTES],
    name_bytes: usize,
}

impl Owner {
    pub(crate) fn new(
        fiber: Option<Id>,
        process: Option<Id>,
        name: Option<&str>,
        spawned_at: &'static Location<'static>,
    ) -> Self {
        let text = name.unwrap_or_default().as_bytes();
        let name_bytes = text.len().min(NAME_BYTES);
        let mut name = [0; NAME_BYTES];
        name[..name_bytes].copy_from_slice(&text[..name_bytes]);
        Self {
            fiber,
            process,
            spawned_at,
            name,
            name_bytes,
        }
    }

    /// The fiber's name, cut to 48 bytes; empty if it has none.
    pub fn name(&self) -> &str {
        let bytes = &self.name[..self.name_bytes];
        match str::from_utf8(bytes) {
            Ok(name) => name,
            Err(cut) => str::from_utf8(&bytes[..cut.valid_up_to()]).unwrap_or_default(),
        }
    }
}

/// The fiber that runs on the stack with this base, if one does. Async-signal-safe: it reads, and
/// neither locks nor allocates.
///
/// # Safety
/// `base` is the base of a [`StackMemory`] that this host handed out and that is still mapped, and
/// the fiber on it is not being torn down by another thread: call it from the fault handler of the
/// thread that runs on this stack.
pub unsafe fn owner_of(base: NonNull<u8>) -> Option<Owner> {
    // SAFETY: the caller promises mapped, aligned memory (I-3).
    let top = unsafe { top_of(base).read() };
    if top.magic != MAGIC {
        return None;
    }
    // SAFETY: while the magic word stands the fiber's block is alive: it outlives its stack (I-3).
    let header = unsafe { top.fiber.as_ref() }?;
    Some(header.owner())
}

/// The lowest word of `bytes` bytes from `start` on that is not zero: how hosts find out how deep a
/// cleared stack was used.
///
/// # Safety
/// The memory is readable, nobody writes to it meanwhile, and `start` is aligned to 8 bytes.
pub unsafe fn first_used(start: NonNull<u8>, bytes: usize) -> Option<NonNull<u8>> {
    let words = start.cast::<u64>();
    (0..bytes / size_of::<u64>())
        // SAFETY: within the memory that the caller vouches for (I-3).
        .map(|index| unsafe { words.add(index) })
        // Volatile, for what lies there was written as another type.
        // SAFETY: as above: readable and aligned (I-3).
        .find(|word| unsafe { word.read_volatile() } != 0)
        .map(NonNull::cast)
}

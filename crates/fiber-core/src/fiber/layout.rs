//! Where a debugger finds what it shows of a fiber.
//!
//! A debugger that looks at a stopped process can call nothing, and release builds do not say how
//! types are laid out. So the top of each stack points to this table, which `tools/gdb/fiber.py`
//! reads; what it relies on beyond that it says itself.

/// Offsets in bytes: within a fiber's header, and within two parts of it that lie elsewhere.
#[repr(C)]
pub(crate) struct Layout {
    /// Changes whenever the meaning of a word does.
    pub(super) version: usize,
    /// Header: the id as a number; 0 for none.
    pub(super) id: usize,
    /// Header: the word that says whether it is parked.
    pub(super) wake: usize,
    /// Header: the address of what few fibers have; 0 for none.
    pub(super) rare: usize,
    /// Header: the address of what goes with its stack; 0 for none.
    pub(super) started: usize,
    /// What few fibers have: the name, as address and length; address 0 for none.
    pub(super) name: usize,
    /// With its stack: what it waits for, as address and length.
    pub(super) waiting_for: usize,
    /// With its stack: the lowest address of that.
    pub(super) stack_limit: usize,
    /// With its stack: the coroutine, which holds the stack pointer of a fiber that is switched
    /// out.
    pub(super) coroutine: usize,
    pub(super) coroutine_bytes: usize,
}

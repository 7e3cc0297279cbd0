//! Where a debugger finds what it shows of a fiber.
//!
//! A debugger that looks at a stopped process can call nothing, and release builds do not say how
//! types are laid out. So the top of each stack points to this table, which `tools/gdb/fiber.py`
//! reads; what it relies on beyond that it says itself.

/// Offsets within a fiber's header, in bytes.
#[repr(C)]
pub(crate) struct Layout {
    /// Changes whenever the meaning of a word does.
    pub(super) version: usize,
    /// The id as a number; 0 for none.
    pub(super) id: usize,
    /// The name: address and length; address 0 for none.
    pub(super) name: usize,
    /// What it waits for: address and length.
    pub(super) waiting_for: usize,
    /// The word that says whether it is parked.
    pub(super) wake: usize,
    /// The lowest address of its stack.
    pub(super) stack_limit: usize,
    /// The coroutine, which holds the stack pointer of a fiber that is switched out.
    pub(super) coroutine: usize,
    pub(super) coroutine_bytes: usize,
}

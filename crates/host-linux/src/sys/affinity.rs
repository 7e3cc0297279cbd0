//! On which processors the calling thread may run.

use core::mem::MaybeUninit;

use super::{Result, check};

/// A set of processors, as the kernel has it.
#[derive(Clone, Copy)]
pub(crate) struct Processors(libc::cpu_set_t);

impl Processors {
    /// Those of the calling thread.
    pub(crate) fn of_this_thread() -> Result<Self> {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: the kernel writes at most the size of the set, which is on this frame (I-3).
        check(unsafe {
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr())
        })?;
        // SAFETY: zeros are a set, the empty one, and the call has succeeded (I-3).
        Ok(Self(unsafe { set.assume_init() }))
    }

    /// Lets the calling thread run on these alone.
    pub(crate) fn confine_this_thread(&self) -> Result<()> {
        // SAFETY: the kernel reads the set, which is borrowed for the length of the call (I-3).
        check(unsafe {
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const self.0)
        })
        .map(drop)
    }

    /// Their numbers, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        let most = size_of::<libc::cpu_set_t>() * 8;
        // SAFETY: the number is below the size of the set, in bits (I-3).
        (0..most).filter(|&number| unsafe { libc::CPU_ISSET(number, &self.0) })
    }

    /// The set of one of them, counted around.
    pub(crate) fn only(&self, index: usize) -> Option<Self> {
        let count = self.numbers().count();
        let number = self.numbers().nth(index % count.max(1))?;
        let mut one = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: zeros are a set, the empty one (I-3).
        let one = unsafe { one.assume_init_mut() };
        // SAFETY: the number is that of a bit of such a set (I-3).
        unsafe { libc::CPU_SET(number, one) };
        Some(Self(*one))
    }
}

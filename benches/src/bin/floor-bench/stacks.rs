//! Stacks without guard pages, side by side in large mappings.

use alloc::rc::Rc;
use core::{cell::RefCell, num::NonZeroUsize, ptr};

use corosensei::stack::StackPointer;

const STACK_BYTES: usize = 64 << 10;
const SLAB_BYTES: usize = 64 << 20;

/// The stacks that nobody runs on. The slabs stay until the program ends.
#[derive(Clone, Default)]
pub(crate) struct Pool(Rc<RefCell<Vec<Stack>>>);

pub(crate) struct Stack {
    base: NonZeroUsize,
}

impl Pool {
    pub(crate) fn take(&self) -> Stack {
        let mut free = self.0.borrow_mut();
        if free.is_empty() {
            let slab = map();
            // The lowest one is taken first.
            let bases = (1..=SLAB_BYTES / STACK_BYTES).rev();
            let bases = bases.map(|number| slab.saturating_add(number * STACK_BYTES));
            free.extend(bases.map(|base| Stack { base }));
        }
        free.pop().expect("a slab has many")
    }

    pub(crate) fn give(&self, stack: Stack) {
        self.0.borrow_mut().push(stack);
    }
}

/// Memory for many stacks, of which only what is touched is taken.
fn map() -> NonZeroUsize {
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
    );
    // SAFETY: a new mapping, wherever there is room, touches nothing that exists.
    let slab = unsafe { libc::mmap(ptr::null_mut(), SLAB_BYTES, access, flags, -1, 0) };
    assert_ne!(slab, libc::MAP_FAILED, "there is no room for stacks");
    // SAFETY: the range is the new mapping; the advice changes only how it is backed.
    unsafe { libc::madvise(slab, SLAB_BYTES, libc::MADV_NOHUGEPAGE) };
    NonZeroUsize::new(slab.addr()).expect("no mapping is at 0")
}

// SAFETY: the range below `base` is a part of a mapping that stays and that no other stack has. It
// has no guard page: workloads here do not go as deep as its end, and nobody else runs on one.
unsafe impl corosensei::stack::Stack for Stack {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.base.get() - STACK_BYTES).expect("a mapping lies below its end")
    }
}

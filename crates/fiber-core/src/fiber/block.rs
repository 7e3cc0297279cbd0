//! The typed part of a fiber's block: the closure, later the result.

use alloc::boxed::Box;
use core::{cell::UnsafeCell, mem, ptr::NonNull};

use super::{
    exit::ExitReason,
    header::{Attributes, Fiber, Header},
    join::JoinHandle,
    runnable::Runnable,
};
use crate::env::Unwind;

/// What differs between fibers of different closures.
pub(crate) struct VTable {
    /// Runs the closure, on the fiber's stack, and stores what came of it.
    pub(crate) run: fn(NonNull<Header>, &dyn Unwind),
    /// Whether dropping the closure runs any code.
    pub(crate) drops_closure: bool,
    /// Ends an unstarted fiber: drops the closure, stores the reason.
    pub(crate) fail: fn(NonNull<Header>, ExitReason),
    /// Drops the stored result, if nobody took it.
    pub(crate) discard: fn(NonNull<Header>),
    /// Frees the block.
    pub(crate) free: fn(NonNull<Header>),
}

enum Slot<F, T> {
    Closure(F),
    Running,
    Result(Result<T, ExitReason>),
    Taken,
}

/// One fiber's memory. The header comes first, so that a pointer to it is a pointer to the block.
#[repr(C)]
pub(super) struct Block<F, T> {
    header: Header,
    slot: UnsafeCell<Slot<F, T>>,
}

impl<F: FnOnce() -> T, T> Block<F, T> {
    const VTABLE: &'static VTable = &VTable {
        run: Self::run,
        drops_closure: mem::needs_drop::<F>(),
        fail: Self::fail,
        discard: Self::discard,
        free: Self::free,
    };

    /// The slot of this block.
    ///
    /// Who may touch it is decided by the fiber's life: until it has finished the worker that has
    /// it, afterwards whoever holds the last claim, see `join`.
    fn replace(header: NonNull<Header>, slot: Slot<F, T>) -> Slot<F, T> {
        let block = header.cast::<Self>();
        // SAFETY: the vtable is reached only from a header inside of a block of this very type,
        // kept alive by the caller's reference (I-3).
        let block = unsafe { block.as_ref() };
        // SAFETY: one party at a time, as said above, and no reference outlives this line (I-11).
        let place = unsafe { &mut *block.slot.get() };
        mem::replace(place, slot)
    }

    fn run(header: NonNull<Header>, unwind: &dyn Unwind) {
        let Slot::Closure(body) = Self::replace(header, Slot::Running) else {
            unreachable!("a fiber is started once");
        };
        let mut body = Some(body);
        let mut value = None;
        let caught = unwind.catch(&mut || {
            let body = body.take().expect("the body is called once");
            value = Some(body());
        });
        let result = match (caught, value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => unreachable!("the body returned without a value"),
            // SAFETY: the runtime's reference keeps the block alive while it runs (I-3).
            (Err(payload), _) => Err(ExitReason::of(payload, unsafe { header.as_ref() })),
        };
        if matches!(result, Err(ExitReason::Panicked(_))) {
            // SAFETY: as above (I-3).
            unsafe { header.as_ref() }.note_panic();
        }
        Self::replace(header, Slot::Result(result));
    }

    fn fail(header: NonNull<Header>, reason: ExitReason) {
        let before = Self::replace(header, Slot::Result(Err(reason)));
        // SAFETY: who ends a fiber holds a reference to the block (I-3).
        let _inherited = unsafe { header.as_ref() }.inherited().take();
        drop(before);
    }

    fn discard(header: NonNull<Header>) {
        let slot = Self::replace(header, Slot::Taken);
        if let Slot::Result(Err(reason @ ExitReason::Panicked(_))) = &slot {
            // SAFETY: who discards a result holds a reference to the block (I-3).
            let fiber = unsafe { header.as_ref() };
            tracing::error!(
                target: "fiber::core",
                fiber = %fiber.handle(), spawned_at = %fiber.spawned_at(), %reason,
                "a detached fiber ended by a panic"
            );
        }
        drop(slot);
    }

    fn free(header: NonNull<Header>) {
        let block = header.cast::<Self>();
        // SAFETY: made by `Box::into_raw` in `Fiber::new`, and this was the last reference (I-3).
        drop(unsafe { Box::from_raw(block.as_ptr()) });
    }
}

/// Takes the result out of a finished fiber.
///
/// # Safety
/// The fiber's closure returns `T`, it has finished, and the caller holds the only claim.
pub(super) unsafe fn take_result<T>(
    header: NonNull<Header>,
    take: TakeResult<T>,
) -> Option<Result<T, ExitReason>> {
    take.0(header)
}

/// How to take a result of type `T` out of a block whose closure type is forgotten.
pub(super) struct TakeResult<T>(fn(NonNull<Header>) -> Option<Result<T, ExitReason>>);

impl<T> Clone for TakeResult<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for TakeResult<T> {}

impl<T> TakeResult<T> {
    fn of<F: FnOnce() -> T>() -> Self {
        Self(|header| match Block::<F, T>::replace(header, Slot::Taken) {
            Slot::Result(result) => Some(result),
            _ => None,
        })
    }
}

/// Makes fibers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Spawn;

impl Spawn {
    /// The right to run a new fiber of `body`, and the handle that waits for its result. It runs
    /// once a scheduler was given the right; until then it holds no stack.
    ///
    /// # Safety
    /// - If `body` is not `Send`, the fiber is started, or its `Runnable` dropped, on the calling
    ///   thread.
    /// - The handle is not shared before the fiber was launched.
    /// - If `body` or its result borrow, the fiber has finished (or is never resumed again, its
    ///   frames and what they borrow being leaked) before the borrow ends.
    pub unsafe fn fiber<F: FnOnce() -> T, T>(
        body: F,
        attributes: Attributes,
    ) -> (Runnable, JoinHandle<T>) {
        let block = Block {
            header: Header::new(attributes, Block::<F, T>::VTABLE),
            slot: UnsafeCell::new(Slot::<F, T>::Closure(body)),
        };
        let block = NonNull::from(Box::leak(Box::new(block)));
        let fiber = Fiber::from_raw(block.cast());
        fiber.header().set_this(block.cast());
        let handle = JoinHandle::new(fiber.clone(), TakeResult::of::<F>());
        (Runnable::from_raw(fiber.into_raw()), handle)
    }
}

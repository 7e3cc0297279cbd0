//! The typed part of a fiber's block: the closure, later the result.

use alloc::boxed::Box;
use core::{cell::UnsafeCell, mem, pin::Pin, ptr::NonNull};

use super::{
    attributes::Attributes, exit::ExitReason, handle::Fiber, header::Header, join::JoinHandle,
    memory, runnable::Runnable, watch::AtEnd, when::When,
};
use crate::{
    context::Context,
    env::Unwind,
    operation::{Operation, StoredWaits},
};

/// What differs between fibers of different closures.
pub(crate) struct VTable {
    /// Whether it can start, or has something to wait for first; see [`Body::begin`].
    pub(crate) begin: Option<fn(NonNull<Header>, &Context) -> bool>,
    /// What it waits for before it starts.
    pub(crate) waiting_for: fn(NonNull<Header>) -> &'static str,
    /// Who could end that, if it is known.
    pub(crate) waits: fn(NonNull<Header>) -> Option<StoredWaits>,
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

/// What a fiber is to run.
pub(super) trait Body {
    /// What comes of it.
    type Output;

    /// Whether it may have something to wait for before it can start.
    const WAITS: bool = false;

    /// Runs it, on the fiber's stack.
    fn call(self) -> Self::Output;

    /// What it waits for before it can start. Asked on its home worker, outside of any fiber, or
    /// by whoever has the fiber.
    fn waiting_for(&self) -> &'static str {
        "its first run"
    }

    /// Who could end that wait, if it is known. Asked as [`Body::waiting_for`]; what it gives is
    /// good for as long as it waits.
    fn waits(&self) -> Option<StoredWaits> {
        None
    }

    /// Whether it can start now. If not, the fiber is parked, without a stack, and is asked again
    /// when it was woken. Asked on its home worker, outside of any fiber.
    fn begin(self: Pin<&mut Self>, _header: &Header, _context: &Context) -> bool {
        true
    }
}

/// A closure.
struct Plain<F>(F);

impl<F: FnOnce() -> T, T> Body for Plain<F> {
    type Output = T;

    #[inline]
    fn call(self) -> T {
        (self.0)()
    }
}

enum Slot<B: Body> {
    Body(B),
    Running,
    /// The reason in a box, for few have one.
    Result(Result<B::Output, Box<ExitReason>>),
    Taken,
}

/// One fiber's memory. The header comes first, so that a pointer to it is a pointer to the block.
#[repr(C)]
pub(super) struct Block<B: Body> {
    header: Header,
    slot: UnsafeCell<Slot<B>>,
}

impl<B: Body> Block<B> {
    const VTABLE: &'static VTable = &VTable {
        begin: if B::WAITS { Some(Self::begin) } else { None },
        waiting_for: Self::waiting_for,
        waits: Self::waits,
        run: Self::run,
        drops_closure: mem::needs_drop::<B>(),
        fail: Self::fail,
        discard: Self::discard,
        free: Self::free,
    };

    /// The slot of this block.
    ///
    /// Who may touch it is decided by the fiber's life: until it has finished the worker that has
    /// it, afterwards whoever holds the last claim, see `join`.
    fn place(header: NonNull<Header>) -> *mut Slot<B> {
        let block = header.cast::<Self>();
        // SAFETY: the vtable is reached only from a header inside of a block of this very type,
        // kept alive by the caller's reference (I-3).
        let block = unsafe { block.as_ref() };
        block.slot.get()
    }

    fn replace(header: NonNull<Header>, slot: Slot<B>) -> Slot<B> {
        // SAFETY: one party at a time, as said above, and no reference outlives this line (I-11).
        let place = unsafe { &mut *Self::place(header) };
        mem::replace(place, slot)
    }

    fn begin(header: NonNull<Header>, context: &Context) -> bool {
        // SAFETY: only the worker that has the unstarted fiber reaches its slot (I-11).
        let Slot::Body(body) = (unsafe { &mut *Self::place(header) }) else {
            unreachable!("a fiber is started once");
        };
        // SAFETY: the block stays where it is, and the body leaves it after it has begun, when it
        // may be moved again (I-12).
        let body = unsafe { Pin::new_unchecked(body) };
        // SAFETY: the runtime's reference keeps the block alive (I-3).
        body.begin(unsafe { header.as_ref() }, context)
    }

    fn waiting_for(header: NonNull<Header>) -> &'static str {
        // SAFETY: only the worker that has the unstarted fiber reaches its slot (I-11).
        match unsafe { &*Self::place(header) } {
            Slot::Body(body) => body.waiting_for(),
            _ => "its first run",
        }
    }

    fn waits(header: NonNull<Header>) -> Option<StoredWaits> {
        // SAFETY: as in `waiting_for` (I-11).
        match unsafe { &*Self::place(header) } {
            Slot::Body(body) => body.waits(),
            _ => None,
        }
    }

    fn run(header: NonNull<Header>, unwind: &dyn Unwind) {
        let Slot::Body(body) = Self::replace(header, Slot::Running) else {
            unreachable!("a fiber is started once");
        };
        let mut body = Some(body);
        let mut value = None;
        let caught = unwind.catch(&mut || {
            let body = body.take().expect("the body is called once");
            value = Some(body.call());
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
        // SAFETY: as above (I-3).
        let fiber = unsafe { header.as_ref() };
        let drops = match &result {
            Ok(_) => mem::needs_drop::<B::Output>(),
            Err(reason) => matches!(reason, ExitReason::Panicked(_)),
        };
        let wrong = result.as_ref().err();
        let at_end = match drops || fiber.has_values() {
            true => AtEnd::Drops,
            false => AtEnd::Over,
        };
        fiber.tell_result(at_end, wrong);
        Self::replace(header, Slot::Result(result.map_err(Box::new)));
    }

    fn fail(header: NonNull<Header>, reason: ExitReason) {
        // SAFETY: who ends a fiber holds a reference to the block (I-3).
        let fiber = unsafe { header.as_ref() };
        let at_end = match fiber.rests() {
            true => AtEnd::Over,
            false => AtEnd::NeverRan,
        };
        fiber.tell_result(at_end, Some(&reason));
        let before = Self::replace(header, Slot::Result(Err(Box::new(reason))));
        if fiber.rests() {
            // Its frames are there, and may name what it inherited.
            return mem::forget(before);
        }
        let _inherited = fiber.inherited().take();
        drop(before);
    }

    fn discard(header: NonNull<Header>) {
        let slot = Self::replace(header, Slot::Taken);
        if let Slot::Result(Err(reason)) = &slot
            && let ExitReason::Panicked(panic) = &**reason
        {
            // SAFETY: who discards a result holds a reference to the block (I-3).
            let fiber = unsafe { header.as_ref() };
            panic.report(&fiber.handle());
        }
        drop(slot);
    }

    fn free(header: NonNull<Header>) {
        let block = header.cast::<Self>();
        // SAFETY: made by `Spawn::of`, and this was the last reference (I-3).
        unsafe { memory::free(block) };
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
    fn of<B: Body<Output = T>>() -> Self {
        Self(|header| match Block::<B>::replace(header, Slot::Taken) {
            Slot::Result(result) => Some(result.map_err(|reason| *reason)),
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
        Self::of(Plain(body), attributes)
    }

    /// [`Spawn::fiber`] that waits for `operation` before it starts, and holds no stack meanwhile;
    /// then it runs `body` with what that gave. The operation's guards run here and now.
    ///
    /// # Safety
    /// As [`Spawn::fiber`], and what is said of `body` there goes for `operation` too.
    pub unsafe fn fiber_when<O: Operation, F: FnOnce(O::Output) -> T, T>(
        operation: O,
        body: F,
        attributes: Attributes,
    ) -> (Runnable, JoinHandle<T>) {
        Self::of(When::new(operation, body), attributes)
    }

    fn of<B: Body<Output = T>, T>(body: B, attributes: Attributes) -> (Runnable, JoinHandle<T>) {
        // In parts, of which the plain ones stay in registers when memory is asked for.
        let Attributes {
            name,
            stack,
            priority,
            process,
            borrows,
            outlives,
            spawned_at,
            watcher,
        } = attributes;
        // The place first, so that the block is made there and not moved there.
        let block = memory::take::<Block<B>>();
        let made = Block {
            header: Header::new(
                Attributes {
                    name,
                    stack,
                    priority,
                    process,
                    borrows,
                    outlives,
                    spawned_at,
                    watcher,
                },
                Block::<B>::VTABLE,
            ),
            slot: UnsafeCell::new(Slot::Body(body)),
        };
        // SAFETY: memory for one, in which nothing is (I-3).
        unsafe { block.write(made) };
        let block: NonNull<Header> = block.cast();
        // For `Header::this`.
        block.as_ptr().expose_provenance();
        // Two references: the handle's and the runtime's.
        let handle = JoinHandle::new(Fiber::from_raw(block), TakeResult::of::<B>());
        (Runnable::from_raw(block), handle)
    }
}

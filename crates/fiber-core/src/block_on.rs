//! Futures on fibers: a fiber, or a plain thread, as the task that polls one.

use alloc::{sync::Arc, task::Wake};
use core::{
    future::Future,
    mem::ManuallyDrop,
    pin::{Pin, pin},
    ptr::NonNull,
    task::{self, Poll, RawWaker, RawWakerVTable, Waker},
};

use crate::{
    env::Unpark,
    fiber::Fiber,
    park::{current, park_until, thread_hooks, thread_park},
    primitive::{AtomicBool, Ordering},
};

/// Waits for a future, and gives its value: on a fiber others run meanwhile, on a plain thread the
/// thread is blocked.
///
/// The future is polled here, once more after each wake, and never leaves the caller's frame, so
/// that it may borrow and need not be `Send`. Where it needs a reactor of its own, that has to run
/// elsewhere. Nothing is allocated for it on a fiber. A poll may block, also by this function: no
/// wake is lost to what it waits for.
///
/// # Suspends
/// While the future is pending.
///
/// # Cancellation
/// A cancelled fiber unwinds where the future is pending, and drops it.
///
/// # Panics
/// On a plain thread of a program that has made no host, which could not block.
///
/// ```
/// # let env = fiber_core::script::ScriptEnv::new();
/// let answer = fiber_core::block_on(async { 6 * 7 });
/// assert_eq!(answer, 42);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let future = pin!(future);
    match current() {
        Some(fiber) => on_fiber(future, &fiber),
        None => on_thread(future),
    }
}

fn on_fiber<F: Future>(mut future: Pin<&mut F>, fiber: &Fiber) -> F::Output {
    let waker = Waker::from(fiber.clone());
    let mut task = task::Context::from_waker(&waker);
    loop {
        let heard = fiber.header().wakes();
        if let Poll::Ready(value) = future.as_mut().poll(&mut task) {
            return value;
        }
        park_until("a future", |fiber| {
            let is_woken = fiber.wakes() != heard;
            if is_woken {
                // It came with the wake, most likely.
                fiber.take_token();
            }
            is_woken
        });
    }
}

fn on_thread<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let thread = Arc::new(ThreadWaker {
        thread: (thread_hooks().unparker)(),
        is_woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&thread));
    let mut task = task::Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut task) {
            return value;
        }
        while !thread.is_woken.swap(false, Ordering::AcqRel) {
            thread_park(None);
        }
    }
}

/// Wakes a plain thread. Whatever blocks the thread takes the thread's token, so each waker says by
/// itself that it was used.
struct ThreadWaker {
    thread: Arc<dyn Unpark>,
    is_woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// A waker is a handle: waking is [`Fiber::unpark`], and is counted.
static FIBER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

impl From<Fiber> for Waker {
    fn from(fiber: Fiber) -> Self {
        let data = fiber.into_raw().as_ptr().cast_const().cast();
        // SAFETY: the functions of the table keep a waker's contract: each waker holds one
        // reference of the fiber's block, which any thread may use and drop (I-3).
        unsafe { Self::new(data, &FIBER) }
    }
}

/// The handle that a waker is made of.
///
/// # Safety
/// `data` comes from `Waker::from(Fiber)`, whose reference the caller borrows or takes over.
unsafe fn handle(data: *const ()) -> ManuallyDrop<Fiber> {
    // SAFETY: made from a pointer to a block, by the caller's promise (I-3).
    let header = unsafe { NonNull::new_unchecked(data.cast_mut().cast()) };
    ManuallyDrop::new(Fiber::from_raw(header))
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: called with the data of a live waker (I-3).
    let fiber = unsafe { handle(data) };
    let data = Fiber::clone(&fiber).into_raw().as_ptr().cast_const().cast();
    RawWaker::new(data, &FIBER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: called with the data of a waker that ends here (I-3).
    let fiber = unsafe { handle(data) };
    ManuallyDrop::into_inner(fiber).unpark_counted();
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: called with the data of a live waker (I-3).
    unsafe { handle(data) }.unpark_counted();
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: called with the data of a waker that ends here (I-3).
    let fiber = unsafe { handle(data) };
    drop(ManuallyDrop::into_inner(fiber));
}

//! Calls that would block the worker's thread, on a helper thread of the host's.
//!
//! The fiber parks, masked, in the frame that the call borrows from, until the helper has ended the
//! call: so the call may borrow the caller's locals, and nothing is lost to a cancel.
//!
//! ```text
//! fiber    a place in the pool ─▶ hand the job in ─▶ park … ─────────▶ value, or its panic
//! helper                            └─▶ run the call ─▶ store ─▶ done, wake ┘
//! ```

use alloc::{boxed::Box, sync::Arc};
use core::{cell::UnsafeCell, mem, time::Duration};

use crate::{
    context::Context,
    env::{Env, Job, OffloadFull, Payload, hooks},
    fiber::Fiber,
    operation::{perform, try_perform},
    park::sleep,
    primitive::{AtomicBool, AtomicUsize, Ordering},
};

/// How long one waits before one asks again for a thread that the system would not give.
const RETRY: Duration = Duration::from_millis(1);

/// Runs `call` on a helper thread of the host's while the calling fiber is parked and others run.
/// For calls that block the thread that they are made on: the file system, a C library, a long
/// computation. What `call` borrows stays borrowed until it has ended.
///
/// On a plain thread, and on a worker outside of its fibers, it just runs `call`.
///
/// # Suspends
/// Until `call` has ended. The host's pool has room for so many jobs, [`Room`](crate::env::Room)
/// says how many; those above wait for a place in the order in which they came. When the system
/// refuses the pool its first thread, one who has a place asks again every millisecond.
///
/// # Cancellation
/// A cancelled fiber unwinds while it waits for a place. Once `call` is with a helper it is run to
/// its end, and a cancel waits for the next suspension point.
///
/// # Panics
/// When `call` panics, with its payload; and inside of `no_suspend`.
pub fn blocking<F, T>(call: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let Some(env) = env_of_fiber("blocking") else {
        return call();
    };
    let place = perform(env.room().place_operation());
    let mut call = call;
    loop {
        match lend(&*env, call) {
            Ok(outcome) => {
                drop(place);
                return conclude(&*env, outcome);
            }
            Err(refused) => call = refused,
        }
        tracing::debug!(target: "fiber::core", "the host has no helper thread; asking again");
        sleep(RETRY);
    }
}

/// [`blocking`] that does not wait for room in the host's pool.
///
/// # Suspends
/// Until `call` has ended, if there is room.
///
/// # Errors
/// When the pool is full or has no thread; gives `call` back, which was not run.
///
/// # Panics
/// As [`blocking`].
pub fn try_blocking<F, T>(call: F) -> Result<T, HelpersBusy<F>>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let Some(env) = env_of_fiber("blocking") else {
        return Ok(call());
    };
    let Ok(place) = try_perform(env.room().place_operation()) else {
        return Err(HelpersBusy { call });
    };
    let outcome = lend(&*env, call).map_err(|call| HelpersBusy { call })?;
    drop(place);
    Ok(conclude(&*env, outcome))
}

/// The call has ended, and the place is free again: whoever was abandoned meanwhile comes to rest
/// only here.
fn conclude<T>(env: &dyn Env, outcome: Result<T, Payload>) -> T {
    Context::with_fiber("blocking", |context, fiber| {
        context.rest_if_abandoned(fiber);
    });
    match outcome {
        Ok(value) => value,
        Err(payload) => env.throw(payload),
    }
}

/// The host's helper threads have no room for another call.
#[derive(thiserror::Error)]
#[error("the host's helper pool is full: raise its limit, or use `blocking`, which waits for room")]
#[non_exhaustive]
pub struct HelpersBusy<F> {
    /// The call, which was not run.
    pub call: F,
}

impl<F> core::fmt::Debug for HelpersBusy<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HelpersBusy").finish_non_exhaustive()
    }
}

/// The world of the calling fiber; `None` where there is none to park.
fn env_of_fiber(what: &str) -> Option<crate::env::SharedEnv> {
    Context::with_current(|context, _| {
        context.assert_may_suspend(what);
        context.shared_env()
    })
}

/// What caller and helper share, in the caller's frame. Until it is done the helper alone touches
/// the cells, then the caller alone.
struct Work<F, T> {
    done: AtomicBool,
    call: UnsafeCell<Option<F>>,
    outcome: UnsafeCell<Option<Result<T, Payload>>>,
}

/// A helper's way to the work. When it goes, the work has ended: run, or dropped by the host.
struct Ticket<'work, F, T> {
    work: &'work Work<F, T>,
    env: &'work dyn Env,
    fiber: Fiber,
    helped: Arc<AtomicUsize>,
}

// SAFETY: it lets another thread run the call and store its value, both of which may be sent, while
// the caller waits (I-3).
unsafe impl<F: Send, T: Send> Send for Ticket<'_, F, T> {}

impl<F: FnOnce() -> T, T> Ticket<'_, F, T> {
    fn run(self) {
        // SAFETY: it is not done, so the helper alone touches the cell (I-3).
        let call = unsafe { &mut *self.work.call.get() }.take();
        let (mut call, mut value) = (call, None);
        let caught = self.env.catch(&mut || {
            let call = call.take().expect("a job is run once");
            value = Some(call());
        });
        let outcome = caught.map(|()| value.expect("the call has returned"));
        // SAFETY: as above (I-3).
        unsafe { *self.work.outcome.get() = Some(outcome) };
    }
}

impl<F, T> Drop for Ticket<'_, F, T> {
    fn drop(&mut self) {
        self.work.done.store(true, Ordering::Release);
        // The frame may be gone; what follows is our own.
        self.fiber.header().wake();
        // It says that nothing of it is touched.
        self.helped.fetch_sub(1, Ordering::Release);
    }
}

/// The caller's frame is with a helper: to unwind out of it would take it away under the helper's
/// hands, so the program ends instead (I-3). Only a bug of ours, or of a host, gets here.
struct LentOut;

impl Drop for LentOut {
    fn drop(&mut self) {
        // Dropped by unwinding only, where a second panic aborts.
        panic!("a fiber unwound out of a blocking call that a helper had not ended");
    }
}

/// Has a helper run `call` and waits for it, whatever the fiber is asked to do meanwhile; gives
/// `call` back if the host did not run it.
fn lend<F, T>(env: &dyn Env, call: F) -> Result<Result<T, Payload>, F>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let work = Work {
        done: AtomicBool::new(false),
        call: UnsafeCell::new(Some(call)),
        outcome: UnsafeCell::new(None),
    };
    let (fiber, helped) = Context::with_fiber("blocking", |context, fiber| {
        (fiber.handle(), context.helpers().count())
    });
    let ticket = Ticket {
        work: &work,
        env,
        fiber,
        helped,
    };
    let lent = LentOut;
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || ticket.run());
    // SAFETY: only the lifetime changes; this frame is left only after the ticket has said that it
    // is done, by which it touches it last, and to unwind it ends the program (I-3).
    let job = unsafe { mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
    match env.offload(job) {
        Ok(()) => Context::with_fiber("blocking", |context, fiber| {
            while !work.done.load(Ordering::Acquire) {
                context.park(fiber, "a blocking call");
            }
        }),
        Err(OffloadFull { job }) => drop(job),
    }
    mem::forget(lent);
    let call = work.call.into_inner();
    let outcome = work.outcome.into_inner();
    outcome.ok_or_else(|| call.expect("it was not run"))
}

/// The blocking calls of one worker's fibers.
#[derive(Debug)]
pub(crate) struct Helpers {
    /// Jobs that may still touch a frame of theirs, or have yet to wake it: their worker is not
    /// quiet meanwhile.
    with_helpers: Arc<AtomicUsize>,
}

impl Helpers {
    pub(crate) fn new() -> Self {
        Self {
            with_helpers: Arc::new(AtomicUsize::new(0)),
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.with_helpers.load(Ordering::Acquire)
    }

    fn count(&self) -> Arc<AtomicUsize> {
        self.with_helpers.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.with_helpers)
    }

    /// Waits until no helper touches a frame of this worker's fibers any more; how many still do
    /// after `grace`.
    pub(crate) fn drain(&self, grace: Duration) -> usize {
        let mut left = grace;
        loop {
            let with_helpers = self.with_helpers.load(Ordering::Acquire);
            if with_helpers == 0 || left.is_zero() {
                return with_helpers;
            }
            if let Some(hooks) = hooks() {
                (hooks.park)(Some(RETRY));
            }
            left = left.saturating_sub(RETRY);
        }
    }
}

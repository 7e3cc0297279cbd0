//! The handle to a fiber.

use core::{fmt, mem::ManuallyDrop, panic::Location, ptr::NonNull};

use super::{bands::Priority, exit::ExitReason, header::Header, reason::Reason};
use crate::{
    context::Context, error::Stale, id::Id, operation::LatchOperation, primitive::Ordering,
    registry::IdSpace,
};

/// A handle to a fiber: it can be woken and cancelled through it, from any thread. Cloning costs a
/// reference count.
pub struct Fiber(NonNull<Header>);

// SAFETY: through a handle only the atomics and what is fixed before launch are reached; the cells
// of the home worker are behind crate-private calls made there (I-11).
unsafe impl Send for Fiber {}
// SAFETY: as above (I-11).
unsafe impl Sync for Fiber {}

impl Fiber {
    /// Takes over the reference that `header` was counted for.
    pub(crate) const fn from_raw(header: NonNull<Header>) -> Self {
        Self(header)
    }

    /// Gives the reference away as a pointer.
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    pub(crate) const fn as_raw(&self) -> NonNull<Header> {
        self.0
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the handle holds a reference count on the block (I-3).
        unsafe { self.0.as_ref() }
    }

    /// The fiber's id, once it was launched.
    pub fn id(&self) -> Option<Id> {
        self.header().id()
    }

    /// The fiber of this id, of the world that the caller is in.
    ///
    /// # Errors
    /// When there is none, or it has ended.
    pub fn of_id(id: Id) -> Result<Self, Stale> {
        let found = Context::with(|context| {
            let space = match context {
                Some(context) => context.id_space(),
                None => IdSpace::of_process(),
            };
            space.enter(id, None).map(|entered| entered.fiber())
        })?;
        found.ok_or_else(|| Stale::wrong_kind(id))
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<&str> {
        self.header().name()
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.header().spawned_at()
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        self.header().priority()
    }

    /// Whether it has ended, in whatever way, so that joining it would not wait.
    pub fn is_finished(&self) -> bool {
        self.header().exit.is_open()
    }

    /// Whether it has ended by a panic that no handle was told of.
    pub fn has_unseen_panic(&self) -> bool {
        self.header().panicked.load(Ordering::Acquire) && !self.header().is_joined()
    }

    /// Whether its handle was dropped, so that nobody will ever be told how it has ended.
    pub fn is_detached(&self) -> bool {
        self.header().is_detached()
    }

    /// The operation that waits until it has ended, in whatever way.
    #[must_use = "an operation does nothing until it is performed"]
    pub fn exit_operation(&self) -> LatchOperation<'_> {
        self.header().exit.wait_operation("join")
    }

    /// Whether it is not cancelled because the run is over, see
    /// [`Attributes::outlives`](super::Attributes::outlives).
    pub fn outlives_main(&self) -> bool {
        self.header().outlives()
    }

    /// Whether it has run at all.
    pub fn is_started(&self) -> bool {
        self.header().is_started()
    }

    /// Whether it waits for an operation before it starts, see [`Spawn::fiber_when`], or has
    /// started: then it lives on one worker. Asked by whoever has the right to run it.
    ///
    /// [`Spawn::fiber_when`]: super::Spawn::fiber_when
    pub(crate) fn has_home(&self) -> bool {
        self.header().home.get().is_some()
    }

    /// Makes the fiber's next [`park`](crate::park::park) return, or the current one; as
    /// [`std::thread::Thread::unpark`], with one token. Legal at any time, from any thread.
    ///
    /// [`std::thread::Thread::unpark`]: https://doc.rust-lang.org/std/thread/struct.Thread.html
    pub fn unpark(&self) {
        self.header().token.store(true, Ordering::Release);
        self.header().wake();
    }

    /// [`Fiber::unpark`] by a waker: whoever waits for a future tells it from other tokens, which
    /// others may take.
    pub(crate) fn unpark_counted(&self) {
        self.header().wakes.fetch_add(1, Ordering::Release);
        self.unpark();
    }

    /// Asks the fiber to unwind: at its next unmasked park or checkpoint, and at every one after
    /// that, so that a loop around `catch_unwind` cannot swallow it. Never waits, never allocates,
    /// and is no suspension point, also on oneself. Twice is as good as once; after the end, by
    /// whatever it came, it changes nothing; and it makes no difference whether anybody waits.
    ///
    /// One that has not started never runs: its closure is dropped. One that is masked goes on
    /// until it leaves its masks. One that computes without end, or waits in a call of the system,
    /// is not reached.
    pub fn cancel(&self) {
        self.header().cancel(Reason::default());
    }

    /// [`Fiber::cancel`], and says why; heard if nobody has cancelled it before. Text that is no
    /// literal is allocated.
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.header().cancel(reason.into());
    }

    /// As [`Fiber::cancel_with`], and masks do not help: the fiber unwinds at its next suspension
    /// point even there. What it holds is poisoned. What nothing can end, such as the wait of a
    /// scope for its fibers, goes on.
    pub fn kill(&self, reason: impl Into<Reason>) {
        self.header().kill(reason.into());
    }

    /// Whether it was killed.
    pub fn is_killed(&self) -> bool {
        self.header().is_killed()
    }

    /// Why it was cancelled; `None` if it was not.
    pub fn cancel_reason(&self) -> Option<Reason> {
        self.header().cancel_reason()
    }

    /// Ends a fiber that was not started: drops its closure, which is the user's code.
    pub(crate) fn fail(&self, reason: ExitReason) {
        (self.header().vtable.fail)(self.0, reason);
    }
}

impl Clone for Fiber {
    fn clone(&self) -> Self {
        self.header().refs.add();
        Self(self.0)
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        if self.header().refs.release() {
            (self.header().vtable.free)(self.0);
        }
    }
}

impl PartialEq for Fiber {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Fiber {}

impl fmt::Debug for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.id()) {
            (Some(name), Some(id)) => write!(f, "'{name}' ({id})"),
            (Some(name), None) => write!(f, "'{name}'"),
            (None, Some(id)) => write!(f, "{id}"),
            (None, None) => f.write_str("a fiber"),
        }
    }
}

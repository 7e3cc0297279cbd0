//! Timer nodes: what a fiber leaves with its worker's wheel while it waits.

use core::{
    cell::Cell,
    fmt,
    marker::PhantomPinned,
    pin::Pin,
    ptr::{self, NonNull},
};

use crate::{context::Context, env::Instant, fiber::Header};

/// One deadline of one fiber, in the fiber's frame. It stays on its fiber's worker.
pub struct TimerNode {
    deadline: Cell<Instant>,
    fired: Cell<bool>,
    armed: Cell<bool>,
    fiber: Cell<*const Header>,
    /// The wheel's own: links and place.
    links: TimerLinks,
    _pinned: PhantomPinned,
}

/// What the wheel keeps in a node.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "plain links for the scheduler's wheel"
)]
pub struct TimerLinks {
    /// The node before this one in its slot.
    pub prev: Cell<*const TimerNode>,
    /// The node after this one in its slot.
    pub next: Cell<*const TimerNode>,
    /// The slot, as the wheel numbers them.
    pub slot: Cell<u32>,
}

impl TimerNode {
    /// A node that is not armed.
    pub const fn new() -> Self {
        Self::at(Instant::NEVER)
    }

    /// A node that is not armed, for this moment.
    pub const fn at(deadline: Instant) -> Self {
        Self {
            deadline: Cell::new(deadline),
            fired: Cell::new(false),
            armed: Cell::new(false),
            fiber: Cell::new(ptr::null()),
            links: TimerLinks {
                prev: Cell::new(ptr::null()),
                next: Cell::new(ptr::null()),
                slot: Cell::new(0),
            },
            _pinned: PhantomPinned,
        }
    }

    /// When it is due.
    pub fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// The wheel's links.
    pub fn links(&self) -> &TimerLinks {
        &self.links
    }

    /// Called by the wheel, at the node's worker, when the deadline has passed and the node was
    /// taken out: the fiber looks at its condition again.
    pub fn expire(&self) {
        self.armed.set(false);
        self.fired.set(true);
        // SAFETY: an armed node lies in a frame of its fiber, which is suspended in it and so
        // alive (I-12).
        if let Some(fiber) = unsafe { self.fiber.get().as_ref() } {
            fiber.wake();
        }
    }

    /// Takes it out of the wheel of its worker, which is `context`, if it is in there.
    pub(crate) fn disarm(&self, context: &Context) {
        if self.armed.replace(false) {
            // SAFETY: armed at this worker, and neither expired nor disarmed since, as its `armed`
            // has just said (I-12).
            unsafe { context.schedule().disarm(self) };
        }
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.fired.get()
    }
}

impl Default for TimerNode {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TimerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerNode")
            .field("deadline", &self.deadline.get())
            .field("armed", &self.armed.get())
            .finish_non_exhaustive()
    }
}

/// An armed node; disarmed when this is dropped, in whatever way the frame is left (I-12).
pub(crate) struct Armed<'frame> {
    node: Pin<&'frame TimerNode>,
    context: &'frame Context,
}

impl<'frame> Armed<'frame> {
    /// Arms `node` for the running `fiber`.
    pub(crate) fn new(
        node: Pin<&'frame TimerNode>,
        context: &'frame Context,
        fiber: &'frame Header,
        deadline: Instant,
    ) -> Self {
        node.deadline.set(deadline);
        node.fiber.set(fiber);
        node.fired.set(false);
        node.armed.set(true);
        // SAFETY: pinned in the calling fiber's frame, and disarmed by `drop` before that frame is
        // left, on the same worker (I-11, I-12).
        unsafe { context.schedule().arm(NonNull::from_ref(node.get_ref())) };
        Self { node, context }
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.node.disarm(self.context);
    }
}

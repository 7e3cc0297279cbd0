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
    /// The wheel's own: where in its table this one is.
    place: Cell<u32>,
    _pinned: PhantomPinned,
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
            place: Cell::new(0),
            _pinned: PhantomPinned,
        }
    }

    /// When it is due.
    pub fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// Where the wheel has it, as [`TimerNode::set_place`] has said.
    pub fn place(&self) -> u32 {
        self.place.get()
    }

    /// Notes where the wheel has it.
    pub fn set_place(&self, place: u32) {
        self.place.set(place);
    }

    /// Takes it out of the wheel of its worker, which is `context`, if it is in there.
    pub(crate) fn disarm(&self, context: &Context) {
        if self.armed.replace(false) {
            // SAFETY: armed at this worker, and neither expired nor disarmed since, as its `armed`
            // has just said (I-12).
            unsafe { context.schedule().disarm(self) };
        }
    }

    /// Whose it is.
    fn fiber(&self) -> Option<&Header> {
        // SAFETY: an armed node lies in a frame or the block of its fiber, which is suspended in
        // its wait and so alive (I-12).
        unsafe { self.fiber.get().as_ref() }
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

/// Called by the wheel's worker when the deadlines of these nodes have passed and they were taken
/// out: their fibers look at their conditions again.
///
/// # Safety
/// Each was armed at this worker, and nothing has run since that could have disarmed it (I-12).
pub unsafe fn expire(nodes: &[NonNull<TimerNode>]) {
    for node in nodes {
        // SAFETY: an armed node stays in place, by the caller's promise (I-12).
        let node = unsafe { node.as_ref() };
        node.armed.set(false);
        node.fired.set(true);
        // Fetched for all before the first is woken, which no load is done ahead of.
        if let Some(fiber) = node.fiber() {
            fiber.look_at();
        }
    }
    for node in nodes {
        // SAFETY: as above: a wake runs nothing of its fiber (I-12).
        if let Some(fiber) = unsafe { node.as_ref() }.fiber() {
            fiber.wake();
        }
    }
}

/// A wait may last longer by one of so many parts of it.
const PARTS: u64 = 64;

/// The first moment not before `deadline` that all waits of about that length have in common: later
/// by `slack` nanoseconds at the most, and by a small part of the time from `now` on.
#[inline]
pub(crate) fn round(deadline: Instant, now: Instant, slack: u64) -> Instant {
    let (at, now) = (deadline.as_nanos(), now.as_nanos());
    let later = (at.saturating_sub(now) / PARTS).min(slack);
    let Some(bits) = later.checked_ilog2() else {
        return deadline;
    };
    let below = (1 << bits) - 1;
    let up = at.checked_add(below);
    up.map_or(deadline, |up| Instant::from_nanos(up & !below))
}

/// An armed node; disarmed when this is dropped, in whatever way the frame is left (I-12).
pub(crate) struct Armed<'frame> {
    node: Pin<&'frame TimerNode>,
    context: &'frame Context,
}

impl<'frame> Armed<'frame> {
    /// Arms `node` for the running `fiber`, and for `deadline` or a bit later, see
    /// [`Clock::slack`](crate::env::Clock::slack).
    pub(crate) fn new(
        node: Pin<&'frame TimerNode>,
        context: &'frame Context,
        fiber: &'frame Header,
        deadline: Instant,
    ) -> Self {
        node.deadline.set(context.end_of_wait(deadline));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(deadline: u64, now: u64, slack: u64) -> u64 {
        let at = Instant::from_nanos;
        round(at(deadline), at(now), slack).as_nanos()
    }

    #[test]
    fn a_wait_ends_never_early_and_at_most_a_64th_or_the_slack_later() {
        let slack = 1_000_000;
        for bits in 0..64 {
            for now in [0, 1, 12_345, (1 << bits) - 1] {
                let deadline = (1_u64 << bits).wrapping_mul(3) / 2;
                let late = rounded(deadline, now, slack) - deadline;
                assert!(
                    late <= deadline.saturating_sub(now) / 64,
                    "{deadline} {late}"
                );
                assert!(late <= 1_000_000, "{deadline} {late}");
            }
        }
    }

    #[test]
    fn waits_of_about_a_second_end_together_and_short_ones_by_themselves() {
        let slack = 1_000_000;
        let second = |nanos| rounded(1_000_000_000 + nanos, nanos, slack);
        assert_eq!(second(1_000), second(100_000));
        assert_eq!(rounded(1_000_060, 1_000_000, slack), 1_000_060);
    }

    #[test]
    fn without_slack_each_wait_ends_at_its_own_moment() {
        for deadline in [0, 1, 999_999_999, u64::MAX - 1, u64::MAX] {
            assert_eq!(rounded(deadline, 0, 0), deadline);
        }
        assert_eq!(rounded(u64::MAX, 0, u64::MAX), u64::MAX);
    }
}
